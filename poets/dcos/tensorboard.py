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
from types import FrameType

from poets.dcos.task import end_with_scheduler
from poets.errors import ConfigError, PoetsError, StorageError
from poets.storage import is_local, open_storage
from poets.storage.follow import Follower
from poets.system.logs import log_to_stderr

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
    log_to_stderr()
    log_dir, port = sys.argv[1:]
    signal.signal(signal.SIGTERM, _stop)  # so that temporary files are removed
    threading.Thread(target=end_with_scheduler, daemon=True).start()
    try:
        filesystem, path = open_storage(log_dir)
        if is_local(filesystem):
            return show(path, port, None)
        follower = Follower(log_dir, "logs", EVENT_FILES)
        return show(str(follower.target), port, follower)
    except PoetsError as error:
        log.error("%s", error)
        return error.exit_code


def show(folder: str, port: str, follower: Follower | None) -> int:
    """Runs TensorBoard on a local folder, of which a follower may add to the files.

    Returns:
      Its exit code.
    """
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", folder]
    command += ["--host", HOST, "--port", port]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        while process.poll() is None:
            try:
                if follower:
                    follower.update()
            except StorageError as error:
                log.warning("%s; trying again in %g s", error, FOLLOW_EVERY_S)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(FOLLOW_EVERY_S)
        return process.returncode


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    raise SystemExit(main())
