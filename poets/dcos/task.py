"""The program of a task: starts a TensorFlow server, then calls the job's hook.

    environment ──> server ──> job_name.main(server, log_dir, context)

`poets dcos run` starts this file by its path. It must not import poets, because the
job in the sandbox may be another version of poets, or another package.
"""

import importlib
import json
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from importlib.machinery import PathFinder
from typing import Any

LOG_FORMAT = "[%(asctime)s|%(name)s|%(levelname)s]: %(message)s"

log = logging.getLogger("task")


class JobError(Exception):
    """The job cannot be found or started."""

    exit_code = 2


def main() -> int:
    """Runs the task that the environment describes; returns its exit code."""
    # Python put this file's folder first, but its modules are not the job's.
    sys.path.remove(os.path.dirname(os.path.abspath(__file__)))
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
    threading.Thread(target=end_with_scheduler, daemon=True).start()
    try:
        context = json.loads(os.environ.get("JOB_CONTEXT", "").strip() or "{}")
        place = json.loads(os.environ["POETS_CLUSTER"])
        hook = load_hook(
            os.path.join(os.environ["MESOS_SANDBOX"], os.environ["JOB_PATH"]),
            os.environ["JOB_NAME"],
        )
        server = start_server(**place)
        log.info("%s is %s", os.environ["TASK_NAME"], server.target)
        hook(server, log_dir(), context)
        if place["job_name"] == "ps":
            server.join()
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if not isinstance(code, int):
            raise
        log.error("%s", error)
        return code or 1
    return 0


def load_hook(
    job_dir: str, job_name: str
) -> Callable[[Any, str, dict[str, Any]], object]:
    """Imports the job's module and returns its `main`.

    Args:
      job_dir: the first folder of PYTHONPATH.
      job_name: a module in it, dotted if it is inside a package.

    Raises:
      JobError: if the module is not in `job_dir`, even if it can be imported from
        elsewhere, or has no `main`.
    """
    if not os.path.isdir(job_dir):
        sandbox = os.environ["MESOS_SANDBOX"]
        raise JobError(
            f"service.job_path {os.environ['JOB_PATH']!r} is not a folder of the "
            f"sandbox, which has {_names(sandbox)}"
        )
    if PathFinder.find_spec(job_name.partition(".")[0], [job_dir]) is None:
        raise JobError(
            f"service.job_name {job_name!r} is not a module in {job_dir!r}, which has "
            f"{_names(job_dir)}"
        )
    hook = getattr(importlib.import_module(job_name), "main", None)
    if hook is None:
        raise JobError(
            f"service.job_name {job_name!r} has no function main(server, log_dir, "
            "context)"
        )
    return hook


def start_server(
    cluster: dict[str, list[str]], job_name: str, task_index: int, gpus: int
) -> Any:
    """Returns a started `tf.distribute.Server`, like the package's wrapper."""
    tf = _import_tensorflow()
    return tf.distribute.Server(
        tf.train.ClusterSpec(cluster),
        job_name=job_name,
        task_index=task_index,
        config=tf.compat.v1.ConfigProto(device_count={"GPU": gpus}),
    )


def _import_tensorflow() -> Any:
    """Imports TensorFlow; shows its C++ output on stderr only if the import fails."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            return importlib.import_module("tensorflow")
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def log_dir() -> str:
    """Returns the shared file system, or the task's own volume."""
    volume = os.path.join(os.environ["MESOS_SANDBOX"], "tf-volume")
    return os.environ.get("SHARED_FILESYSTEM") or volume


def _names(folder: str) -> str:
    names = [name for name in sorted(os.listdir(folder)) if name[0] not in "._"]
    return ", ".join(repr(name) for name in names[:20]) or "nothing in it"


def end_with_scheduler() -> None:
    """Ends this task's process group when the scheduler ends, even if it was killed."""
    while os.read(sys.stdin.fileno(), 4096):
        continue
    os.killpg(0, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
