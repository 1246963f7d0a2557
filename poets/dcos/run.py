"""The local scheduler: runs every task of the options as a process.

    work_dir/
        fetched/poets-1.0.0.zip       the download of job_url
        worker-0/                     sandbox, the task's working directory
            poets-1.0.0/poets/…         the job, unpacked
            stdout, stderr              its output
            tf-volume/                  its log_dir without a shared_filesystem
        worker-1/ …
        tensorboard-0/                if service.use_tensorboard

The run ends when the workers have ended, or when a task has failed too often. The other
tasks are then stopped. No process outlives the run, even if it fails.
"""

import logging
import os
import socket
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from poets.dcos.environment import task_environment
from poets.dcos.fetch import fetch, place
from poets.dcos.options import Options
from poets.dcos.plan import render_plan
from poets.dcos.restarts import MAX_RESTARTS, Kill, Restarts
from poets.dcos.secrets import keytab_of, placed
from poets.dcos.supervise import GRACE_S, Emit, PlanStep, Supervisor
from poets.dcos.tasks import TENSORBOARD, Task, cluster_of, tasks_of
from poets.dcos.tensorboard import HOST, command_of
from poets.dcos.validate import VOLUME
from poets.errors import ConfigError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """The result of a run: the deploy plan as text, and whether no task failed."""

    plan: str
    succeeded: bool


def run(
    options: Options,
    work_dir: Path,
    emit: Emit,
    secrets_dir: str | None = None,
    grace_s: float = GRACE_S,
    max_restarts: int = MAX_RESTARTS,
    kills: Sequence[Kill] = (),
) -> Outcome:
    """Runs the service that the options describe, until it ends.

    Args:
      options: options that `poets.dcos.validate` has accepted.
      work_dir: an existing, empty folder, as returned by `open_work_dir`.
      emit: called with each line of each task.
      secrets_dir: the folder with the secrets that the options name.
      grace_s: how long a stopped task has before it is killed.
      max_restarts: how often a failing task is restarted, in a row.
      kills: tasks to kill, sorted by time.

    Raises:
      ConfigError: if the job, a secret, a port or TensorBoard is missing or unusable.
      StorageError: if the job cannot be downloaded.
      PoetsError: if a process cannot be started.
      KeyboardInterrupt: on Ctrl-C, after stopping all tasks.
    """
    options = _on_this_machine(options)
    keytab = keytab_of(options, secrets_dir)
    tasks = tasks_of(options)
    wanted = [
        options["tensorboard.port"] if task.pod is TENSORBOARD else 0 for task in tasks
    ]
    with reserved_ports(wanted) as ports:
        at = dict(zip(tasks, ports, strict=True))
        steps = _steps(options, at, work_dir, max_restarts)
        job_file = fetch(options["service.job_url"], work_dir / "fetched")
        for step in steps:
            if step.task.pod is not TENSORBOARD:
                place(job_file, step.sandbox)
            (step.sandbox / VOLUME).mkdir(parents=True, exist_ok=True)
        with placed(keytab, [step.sandbox for step in steps]):
            Supervisor(steps, emit, kills, grace_s).run()
    errors = [
        f"{step.task.name} {step.error}, see {step.sandbox / 'stderr'}"
        for step in steps
        if step.error
    ]
    statuses = {step.task: step.status for step in steps}
    return Outcome(render_plan(statuses, errors), not errors)


def open_work_dir(path: str | None) -> Path:
    """Returns the empty folder for a run: `path`, or a new temporary folder.

    Raises:
      ConfigError: if it is not empty or cannot be created.
    """
    if path is None:
        return Path(tempfile.mkdtemp(prefix="poets-dcos-"))
    folder = Path(path).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise ConfigError(
            f"cannot use --sandbox {path!r}: {error.strerror}; name a writable folder"
        ) from error
    if names:
        raise ConfigError(
            f"cannot use --sandbox {path!r}: it holds {names[0]!r}, and each run gets "
            "new sandboxes; name an empty folder"
        )
    return folder


@contextmanager
def reserved_ports(wanted: Iterable[int]) -> Iterator[list[int]]:
    """Reserves ports for servers that set SO_REUSEADDR, such as gRPC's.

    The sockets stay bound but do not listen, so the system assigns their ports to no
    other program during the seconds that TensorFlow takes to start or restart.

    Args:
      wanted: port numbers; 0 takes any free port.

    Raises:
      ConfigError: if a port is not free.
    """
    with ExitStack() as stack:
        ports = []
        for port in wanted:
            held = stack.enter_context(socket.socket())
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                held.bind(("", port))
            except OSError as error:
                raise ConfigError(
                    f"cannot use the port {port} of this machine: {error.strerror}; "
                    "name another, or --set tensorboard.port=0 for any free port"
                ) from error
            ports.append(held.getsockname()[1])
        yield ports


def _on_this_machine(options: Options) -> Options:
    """Returns the options with paths relative to the current folder made absolute."""
    shared = options["service.shared_filesystem"]
    if not shared or urlsplit(shared).scheme:
        return options
    given = options.given | {"service.shared_filesystem": os.path.abspath(shared)}
    return replace(options, given=given)


def _steps(
    options: Options, ports: Mapping[Task, int], work_dir: Path, max_restarts: int
) -> list[PlanStep]:
    """Returns the step of each task, with its command and environment.

    Raises:
      ConfigError: if TensorBoard is enabled but not installed.
    """
    cluster = cluster_of({task: f"127.0.0.1:{port}" for task, port in ports.items()})
    hook = [sys.executable, str(Path(__file__).with_name("task.py"))]
    steps = []
    for task, port in ports.items():
        sandbox = work_dir / task.name
        command, path = hook, str(sandbox / options["service.job_path"])
        if task.pod is TENSORBOARD:
            # Without a shared file system, show the volumes of all tasks.
            log_dir = options["service.shared_filesystem"] or str(work_dir)
            command = command_of(log_dir, port)
            path = str(Path(__file__).parents[2])
            log.info("TensorBoard shows %s at http://%s:%d/", log_dir, HOST, port)
        if inherited := os.environ.get("PYTHONPATH"):
            path += os.pathsep + inherited
        own = {
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            # Hides TensorFlow's remarks on the machine and its GPUs, but no errors.
            "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
        }
        given = task_environment(options, task, cluster, str(sandbox))
        environment = {**os.environ, **given, **own}
        restarts = Restarts(max_restarts)
        steps.append(PlanStep(task, command, environment, sandbox, restarts))
    return steps
