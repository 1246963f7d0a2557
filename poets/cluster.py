"""Which task of the job this process is.

DC/OS hands the hook a TensorFlow server whose definition names the jobs (`ps`,
`worker`, `gpu_worker`), this task's job and its index. Without a server the process
is alone. Nothing here imports TensorFlow or waits for another task.
"""

from dataclasses import dataclass
from typing import Any

from poets.errors import ConfigError

WORKER_JOBS = ("chief", "master", "worker", "gpu_worker")


@dataclass(frozen=True)
class Cluster:
    """This task's place among the tasks.

    Attributes:
      job: "ps" or one of WORKER_JOBS.
      task_index: index among the tasks of the same job.
      worker_index: index among all workers of all worker jobs; 0 is the chief.
      num_workers: workers of all worker jobs; at least 1.
    """

    job: str = "worker"
    task_index: int = 0
    worker_index: int = 0
    num_workers: int = 1

    @property
    def is_ps(self) -> bool:
        """Whether this task is a parameter server."""
        return self.job == "ps"

    @property
    def is_chief(self) -> bool:
        """Whether this task does what is done once: head, exports, results."""
        return not self.is_ps and self.worker_index == 0

    @property
    def name(self) -> str:
        """The task's name, as in "worker:0"."""
        return f"{self.job}:{self.task_index}"


def cluster_of(server: Any) -> Cluster:
    """Returns this task's place in the cluster of a TensorFlow server.

    Args:
      server: `tf.distribute.Server`, or None for a process that is alone.

    Raises:
      ConfigError: if the server's definition does not contain its own task.
    """
    if server is None:
        return Cluster()
    definition = server.server_def
    tasks = {job.name: sorted(job.tasks) for job in definition.cluster.job}
    job, index = definition.job_name or "worker", definition.task_index
    if job in ("local", "localhost"):  # Server.create_local_server(), by version
        return Cluster()
    if index not in tasks.get(job, []):
        found = ", ".join(f"{name}: {len(of)} tasks" for name, of in tasks.items())
        raise ConfigError(
            f"this task is {job}:{index}, which its own cluster does not have: found "
            f"{found or 'no tasks'}; give the server a cluster that holds it"
        )
    workers = [(name, task) for name in WORKER_JOBS for task in tasks.get(name, [])]
    if job == "ps":
        return Cluster(job, index, -1, len(workers))
    if job not in WORKER_JOBS:
        raise ConfigError(
            f"this task's job is {job!r}; known are ps, {', '.join(WORKER_JOBS)}"
        )
    return Cluster(job, index, workers.index((job, index)), len(workers))
