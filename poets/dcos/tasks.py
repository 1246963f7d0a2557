"""Lists the tasks of a service, from its options, and builds their cluster."""

from collections.abc import Mapping
from dataclasses import dataclass

from poets.dcos.options import Options


@dataclass(frozen=True)
class Pod:
    """A kind of task.

    Attributes:
      name: as in the deploy plan and in task names.
      section: the options file's section with its count and resources.
      job: the tasks' job in the TensorFlow cluster; "" for TensorBoard.
    """

    name: str
    section: str
    job: str


GPU_WORKER = Pod("gpuworker", "gpu_worker", "gpu_worker")
WORKER = Pod("worker", "worker", "worker")
PARAMETER_SERVER = Pod("parameter-server", "parameter_server", "ps")
TENSORBOARD = Pod("tensorboard", "tensorboard", "")

PODS = (GPU_WORKER, WORKER, PARAMETER_SERVER)
"""The pods in the TensorFlow cluster, in the order of the deploy plan."""


@dataclass(frozen=True)
class Task:
    """One process of the job: task `index` of its pod."""

    pod: Pod
    index: int

    @property
    def name(self) -> str:
        """The name shown to the user: `worker-0`."""
        return f"{self.pod.name}-{self.index}"

    @property
    def serves(self) -> bool:
        """Whether the task runs until the workers are done, and is then stopped."""
        return self.pod in (PARAMETER_SERVER, TENSORBOARD)


def tasks_of(options: Options) -> list[Task]:
    """Returns all tasks of the service, in the order of the deploy plan."""
    tasks = [
        Task(pod, index)
        for pod in PODS
        for index in range(options[f"{pod.section}.count"])
    ]
    if options["service.use_tensorboard"]:
        tasks.append(Task(TENSORBOARD, 0))
    return tasks


def cluster_of(addresses: Mapping[Task, str]) -> dict[str, list[str]]:
    """Returns job -> addresses, for `tf.train.ClusterSpec`; TensorBoard has none."""
    cluster: dict[str, list[str]] = {}
    for task, address in addresses.items():
        if task.pod.job:
            cluster.setdefault(task.pod.job, []).append(address)
    return cluster
