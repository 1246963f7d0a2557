"""The program of the TensorBoard task: runs TensorBoard on a local folder.

    /shared/run                        ──> tensorboard --logdir /shared/run
    hdfs://default/run  ──> logs/ …    ──> tensorboard --logdir logs

TensorBoard can read neither `hdfs://` nor storages that require a Kerberos ticket. The
event files of a remote folder are copied into the sandbox every few seconds.
"""

import contextlib
import importlib.util
import logging
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType

from poets.dcos.task import LOG_FORMAT, end_with_scheduler
from poets.errors import ConfigError, PoetsError, StorageError
from poets.storage import is_local, open_storage
from poets.storage.follow import Follower

HOST = "127.0.0.1"

EVENT_FILES = "*tfevents*"
"""The pattern by which TensorBoard recognizes event files."""

FOLLOW_EVERY_S = 5.0

log = logging.getLogger(__name__)


def command_of(log_dir: str, port: int) -> list[str]:
    """Returns the command of the task; its folder, on any storage, need not exist yet.

    Raises:
      ConfigError: if TensorBoard is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "service.use_tensorboard: tensorboard is not installed; "
            "pip install 'poets[tensorboard]'"
        )
    return [sys.executable, "-m", __name__, log_dir, str(port)]


def main() -> int:
    """Shows the folder in `argv` until stopped; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
    log_dir, port = sys.argv[1:]
    signal.signal(signal.SIGTERM, _stop)  # so that temporary files are removed
    threading.Thread(target=end_with_scheduler, daemon=True).start()
    try:
        filesystem, path = open_storage(log_dir)
        if is_local(filesystem):
            return show(path, port)
        return show_copy(Follower(log_dir, str(Path("logs")), EVENT_FILES), port)
    except PoetsError as error:
        log.error("%s", error)
        return error.exit_code


def show(folder: str, port: str) -> int:
    """Runs TensorBoard on a local folder; returns its exit code."""
    with _tensorboard(folder, port) as process:
        return process.wait()


def show_copy(follower: Follower, port: str) -> int:
    """Runs TensorBoard on a copy and keeps it up to date; returns its exit code."""
    with _tensorboard(str(follower.target), port) as process:
        while process.poll() is None:
            try:
                follower.update()
            except StorageError as error:
                log.warning("%s; trying again in %g s", error, FOLLOW_EVERY_S)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(FOLLOW_EVERY_S)
        return process.returncode


def _tensorboard(folder: str, port: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", folder]
    options = ["--host", HOST, "--port", port]
    return subprocess.Popen([*command, *options], stdin=subprocess.DEVNULL)


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    raise SystemExit(main())
