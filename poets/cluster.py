"""Finds this process's place among the tasks of its job.

    DC/OS         the hook's `server` names the jobs, this task's job and its index
    Kubernetes    TF_CONFIG has the same: {"cluster": {"chief": ["host:port"], ...},
                  "task": {"type": "worker", "index": 1}}
    neither       a single process

Nothing here imports TensorFlow or waits for another task.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from poets.errors import ConfigError

WORKER_JOBS = ("chief", "master", "worker", "gpu_worker")
"""Workers are numbered in this order, whatever their order in the cluster."""

OTHER_JOBS = ("ps", "evaluator")
"""Tasks that have no share of the work."""

VARIABLE = "TF_CONFIG"


@dataclass(frozen=True)
class Cluster:
    """This task's place among the tasks.

    Attributes:
      job: one of OTHER_JOBS or WORKER_JOBS.
      task_index: index among the tasks of the same job.
      worker_index: index among the workers of all worker jobs; 0 is the chief, -1 not
        a worker.
      num_workers: workers of all worker jobs; at least 1.
      num_hosts: the machines that their addresses name; at least 1.
      host: where the other tasks reach this one; "" if unknown.
    """

    job: str = "worker"
    task_index: int = 0
    worker_index: int = 0
    num_workers: int = 1
    num_hosts: int = field(default=1, compare=False)
    host: str = field(default="", compare=False)

    @property
    def is_ps(self) -> bool:
        """Whether this task is a parameter server."""
        return self.job == "ps"

    @property
    def is_worker(self) -> bool:
        """Whether this task has a share of the work."""
        return self.job in WORKER_JOBS

    @property
    def is_chief(self) -> bool:
        """Whether this task does what only one does: head, exports, results."""
        return self.is_worker and self.worker_index == 0

    @property
    def name(self) -> str:
        """The task's name, as in "worker:0"."""
        return f"{self.job}:{self.task_index}"


ALONE = Cluster()
"""A process without other tasks."""


def cluster_of(server: Any, environ: Mapping[str, str] = os.environ) -> Cluster:
    """Returns this task's place in its cluster.

    Args:
      server: `tf.distribute.Server`, or None.
      environ: may hold TF_CONFIG.

    Raises:
      ConfigError: if the server or TF_CONFIG does not describe a cluster with this
        task in it, or they contradict each other.
    """
    text = environ.get(VARIABLE, "").strip()
    of_variable = _of_variable(text) if text else None
    of_server = _of_server(server) if server is not None else None
    if of_server and of_variable and of_server != of_variable:
        raise ConfigError(
            f"the server says that this task is {of_server.name} of "
            f"{of_server.num_workers} workers, and {VARIABLE} says {of_variable.name} "
            f"of {of_variable.num_workers}; unset {VARIABLE} or make them agree"
        )
    return of_server or of_variable or Cluster()


def _of_server(server: Any) -> Cluster:
    definition = server.server_def
    tasks = {job.name: dict(job.tasks) for job in definition.cluster.job}
    job, index = definition.job_name or "worker", definition.task_index
    if job in ("local", "localhost"):  # Server.create_local_server(), by version
        return Cluster()
    return _place(tasks, job, index, "this task's server")


def _of_variable(text: str) -> Cluster:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigError(
            f"{VARIABLE} is not JSON: {error}; found {text[:80]!r}"
        ) from error
    match value:
        case {"cluster": dict(jobs), "task": {"type": str(job), "index": index}}:
            pass
        case {"cluster": _, "task": _}:
            raise ConfigError(
                f'{VARIABLE} names no task: give "task": {{"type": "worker", '
                f'"index": 0}}; found {value["task"]!r}'
            )
        case _:
            raise ConfigError(
                f'{VARIABLE} is not an object with "cluster" and "task"; found '
                f"{text[:80]!r}"
            )
    if not all(isinstance(addresses, list) for addresses in jobs.values()):
        raise ConfigError(
            f"{VARIABLE}: each job of its cluster is a list of addresses; found "
            f"{jobs!r}"
        )
    if isinstance(index, str) and index.isdecimal():  # as some launchers write it
        index = int(index)
    if not isinstance(index, int) or isinstance(index, bool):
        raise ConfigError(f"{VARIABLE}: a task's index is a number; found {index!r}")
    tasks = {name: dict(enumerate(map(str, of))) for name, of in jobs.items()}
    if not jobs and index == 0:  # the training operator writes this for one replica
        return Cluster()
    return _place(tasks, job, index, VARIABLE)


def _place(
    tasks: Mapping[str, Mapping[int, str]], job: str, index: int, source: str
) -> Cluster:
    """Returns the place of a task among `tasks`, job -> index -> address."""
    if job not in (*WORKER_JOBS, *OTHER_JOBS):
        raise ConfigError(
            f"{source}: this task's job is {job!r}; known are "
            f"{', '.join((*OTHER_JOBS, *WORKER_JOBS))}"
        )
    found = ", ".join(f"{name}: {len(of)} tasks" for name, of in tasks.items())
    # An evaluator is outside the cluster, which need not name it.
    if job != "evaluator" and index not in tasks.get(job, {}):
        raise ConfigError(
            f"{source}: this task is {job}:{index}, which its own cluster does not "
            f"have: found {found or 'no tasks'}; name a cluster that holds it"
        )
    chiefs = sum(len(tasks.get(name, [])) for name in ("chief", "master"))
    if chiefs > 1:
        raise ConfigError(f"{source}: a cluster has one chief or master; found {found}")
    workers = {
        (name, task): _host(address)
        for name in WORKER_JOBS
        for task, address in sorted(tasks.get(name, {}).items())
    }
    if not workers:
        raise ConfigError(f"{source}: a cluster has a worker; found {found}")
    number = list(workers).index((job, index)) if job in WORKER_JOBS else -1
    return Cluster(
        job=job,
        task_index=index,
        worker_index=number,
        num_workers=len(workers),
        num_hosts=len(set(workers.values())),
        host=_host(tasks.get(job, {}).get(index, "")),
    )


def _host(address: str) -> str:
    return address.rpartition(":")[0]
