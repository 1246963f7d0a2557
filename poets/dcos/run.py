"""The scheduler on this machine: every task of the options, each as its own process.

    work_dir/
        fetched/poets-1.0.0.zip       job_url, if it was a download
        worker-0/                     sandbox: the job unpacked,
            poets-1.0.0/poets/…         where the task starts
            stdout, stderr              its output
            tf-volume/                  its log_dir without a shared_filesystem
        worker-1/ …

The run is over when the workers have ended, or one task has failed: the others are
then stopped. No process outlives it, however it ends.
"""

import logging
import os
import queue
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from poets.dcos.environment import task_environment
from poets.dcos.fetch import fetch, place
from poets.dcos.options import Options
from poets.dcos.plan import COMPLETE, ERROR, PENDING, render_plan
from poets.dcos.processes import TaskProcess
from poets.dcos.secrets import keytab_of, placed
from poets.dcos.tasks import Task, cluster_of, tasks_of
from poets.errors import ConfigError

log = logging.getLogger(__name__)

GRACE_S = 5.0
"""Between SIGTERM and SIGKILL."""

Emit = Callable[[str, str, str], None]
"""Called with a task's name, `stdout` or `stderr`, and a line, from other threads."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the deploy plan as text, and whether no task failed."""

    plan: str
    succeeded: bool


def run(
    options: Options,
    work_dir: Path,
    emit: Emit,
    secrets_dir: str | None = None,
    grace_s: float = GRACE_S,
) -> Outcome:
    """Runs the service that the options describe, and waits for its end.

    Args:
      options: without errors (`poets.dcos.validate`).
      work_dir: an existing, empty folder, as `open_work_dir` returns it.
      emit: takes each line of each task.
      secrets_dir: the folder with the secrets that the options name.
      grace_s: what a task has to end by itself when it is stopped.

    Raises:
      ConfigError: if the job or a secret is missing or is not what it should be.
      StorageError: if the job cannot be downloaded.
      KeyboardInterrupt: on Ctrl-C, after all tasks were stopped.
    """
    options = _on_this_machine(options)
    keytab = keytab_of(options, secrets_dir)
    tasks = tasks_of(options)
    job_file = fetch(options["service.job_url"], work_dir / "fetched")
    sandboxes = {task: work_dir / task.name for task in tasks}
    for sandbox in sandboxes.values():
        place(job_file, sandbox)
        (sandbox / "tf-volume").mkdir(exist_ok=True)
    if options["service.use_tensorboard"]:
        log.warning("the TensorBoard task of DC/OS is not started here")
    with reserved_ports(len(tasks)) as ports:
        cluster = cluster_of(tasks, [f"127.0.0.1:{port}" for port in ports])
        environments = {
            task: _environment(options, task, cluster, sandbox)
            for task, sandbox in sandboxes.items()
        }
        with placed(keytab, sandboxes.values()):
            codes = _run_tasks(environments, sandboxes, emit, grace_s)
    return _outcome(tasks, codes, sandboxes)


def open_work_dir(path: str | None) -> Path:
    """Returns the empty folder for a run: the one named, or a new temporary one.

    Raises:
      ConfigError: if it is not empty or cannot be made.
    """
    if path is None:
        return Path(tempfile.mkdtemp(prefix="poets-dcos-"))
    folder = Path(path).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise ConfigError(
            f"cannot use --sandbox {path!r}: {error.strerror}; name a folder that can "
            "be written"
        ) from error
    if names:
        raise ConfigError(
            f"cannot use --sandbox {path!r}: it holds {names[0]!r}, and each run gets "
            "new sandboxes; name an empty folder"
        )
    return folder


@contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """Holds free ports that only a server with SO_REUSEADDR, as gRPC's, can bind.

    The sockets stay bound but do not listen, so nobody else is given their ports in
    the seconds that TensorFlow takes to start.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for held in sockets:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(("", 0))
        yield [held.getsockname()[1] for held in sockets]


def _on_this_machine(options: Options) -> Options:
    """Returns the options with relative paths seen from the current folder."""
    shared = options["service.shared_filesystem"]
    if not shared or urlsplit(shared).scheme:
        return options
    given = options.given | {"service.shared_filesystem": os.path.abspath(shared)}
    return replace(options, given=given)


def _environment(
    options: Options, task: Task, cluster: Mapping[str, list[str]], sandbox: Path
) -> dict[str, str]:
    """Returns this machine's environment with the task's on top."""
    job_dir = str(sandbox / options["service.job_path"])
    inherited = os.environ.get("PYTHONPATH")
    own = {
        "PYTHONPATH": os.pathsep.join(filter(None, [job_dir, inherited])),
        "PYTHONUNBUFFERED": "1",
        # TensorFlow's remarks on the machine and its GPUs; errors stay.
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
    }
    return (
        dict(os.environ)
        | task_environment(options, task, dict(cluster), str(sandbox))
        | own
    )


def _run_tasks(
    environments: Mapping[Task, Mapping[str, str]],
    sandboxes: Mapping[Task, Path],
    emit: Emit,
    grace_s: float,
) -> dict[Task, int]:
    """Returns task -> exit code, for the tasks that ended by themselves."""
    command = [sys.executable, str(Path(__file__).with_name("task.py"))]
    ended: queue.SimpleQueue[tuple[Task, int]] = queue.SimpleQueue()
    running: dict[Task, TaskProcess] = {}
    waiters = []
    codes: dict[Task, int] = {}

    def on_line(task: Task) -> Callable[[str, str], None]:
        return lambda stream, text: emit(task.name, stream, text)

    def wait(task: Task, process: TaskProcess) -> None:
        ended.put((task, process.wait()))

    try:
        for task, environment in environments.items():
            process = TaskProcess.start(
                command, environment, sandboxes[task], on_line(task)
            )
            running[task] = process
            waiter = threading.Thread(target=wait, args=(task, process), daemon=True)
            waiter.start()
            waiters.append(waiter)
        while any(not task.serves for task in running.keys() - codes.keys()):
            task, code = ended.get()
            codes[task] = code
            if code:
                break
    finally:
        left = [process for task, process in running.items() if task not in codes]
        stoppers = [
            threading.Thread(target=process.stop, args=(grace_s,)) for process in left
        ]
        for thread in stoppers:
            thread.start()
        for thread in [*stoppers, *waiters]:
            thread.join()
    return codes


def _outcome(
    tasks: list[Task], codes: Mapping[Task, int], sandboxes: Mapping[Task, Path]
) -> Outcome:
    errors = [
        f"{task.name} {_ending(code)}, see {sandboxes[task] / 'stderr'}"
        for task, code in codes.items()
        if code
    ]
    statuses = {}
    for task in tasks:
        if task in codes:
            statuses[task] = ERROR if codes[task] else COMPLETE
        else:  # a parameter server, done with the workers; or stopped after a failure
            statuses[task] = PENDING if errors else COMPLETE
    return Outcome(render_plan(statuses, errors), not errors)


def _ending(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    name = signal.Signals(-code).name
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"
