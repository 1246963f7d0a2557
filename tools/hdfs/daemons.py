"""Starts and stops a daemon, which is identified by its pid file.

    run/namenode.pid      the process id, while it runs
    log/namenode.log      its output; later starts append to it

A daemon outlives the program that started it. Its command line contains a mark, the
path of its pid file. Only processes with that mark are signalled, because after a crash
the id in a pid file may belong to another process.
"""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tools.hdfs.configuration import HdfsError

STOP_TIMEOUT_S = 20.0
PORT_TIMEOUT_S = 3.0
# Below the ports that systems assign to outgoing connections, so that no connection
# takes the port of a daemon that is down.
PORTS = range(10240, 32768)
EXEC_POLLS = 200
LOG_TAIL_LINES = 12
START_LINE = "---- started "


@dataclass(frozen=True)
class Daemon:
    """A daemon in the folder of an HDFS.

    Attributes:
      name: such as `namenode` or `datanode-0`.
      folder: the folder with `run/` and `log/`.
      command: its command line; `MARK` in it is replaced by the mark.
      environment: all variables of the process.
      ports: use -> port that it listens on.
    """

    name: str
    folder: Path
    command: Sequence[str]
    environment: Mapping[str, str]
    ports: Mapping[str, int]

    MARK = "{mark}"

    @property
    def pid_file(self) -> Path:
        """The file with the process id."""
        return self.folder / "run" / f"{self.name}.pid"

    @property
    def log(self) -> Path:
        """The file with the daemon's output."""
        return self.folder / "log" / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """The id of the process if it runs and has the mark, else None."""
        try:
            pid = int(self.pid_file.read_text())
        except (OSError, ValueError):
            return None
        return pid if str(self.pid_file) in command_line(pid) else None

    def start(self) -> None:
        """Starts the process unless it runs; does not wait until it is ready.

        Raises:
          HdfsError: if another process uses one of its ports.
        """
        if self.pid is not None:
            return
        for use, port in self.ports.items():
            # Threads of a process that was just killed may hold it for a moment.
            if not wait_until(partial(is_free, port), PORT_TIMEOUT_S):
                raise HdfsError(
                    f"cannot start {self.name}: port {port} ({use}) is in use by "
                    "another process; stop that one, or use a new folder"
                )
        for path in (self.pid_file, self.log):
            path.parent.mkdir(parents=True, exist_ok=True)
        command = [part.replace(self.MARK, str(self.pid_file)) for part in self.command]
        # The shell exits at once and leaves the daemon to init: so it survives this
        # process, and becomes no zombie.
        script = 'pid_file=$1; shift; "$@" </dev/null & echo $! >"$pid_file"'
        with self.log.open("ab") as log:
            log.write(f"{START_LINE}{time.ctime()}\n".encode())
            log.flush()
            subprocess.run(
                ["/bin/sh", "-c", script, "sh", str(self.pid_file), *command],
                stdout=log,
                stderr=log,
                env=dict(self.environment),
                cwd=self.folder,
                start_new_session=True,
                check=True,
            )

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """Ends the process with SIGTERM, then SIGKILL; returns whether it ran.

        Raises:
          HdfsError: if it still exists after SIGKILL.
        """
        ran = self._signal(signal.SIGTERM)
        if not wait_until(lambda: self.pid is None, timeout_s):
            self.kill()
        self.pid_file.unlink(missing_ok=True)
        return ran

    def kill(self) -> None:
        """Ends the process with SIGKILL, as in a crash, and waits until it is gone.

        Raises:
          HdfsError: if it still exists after 10 s.
        """
        self._signal(signal.SIGKILL)
        if not wait_until(lambda: self.pid is None, 10):
            raise HdfsError(
                f"cannot end {self.name}: process {self.pid} ignores SIGKILL; look at "
                f"{str(self.log)!r}"
            )
        self.pid_file.unlink(missing_ok=True)

    def _signal(self, number: int) -> bool:
        pid = self.pid
        if pid is None:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def said(self) -> str:
        """Returns the log since the last start."""
        try:
            return self.log.read_text(errors="replace").rpartition(START_LINE)[2]
        except OSError:
            return ""

    def last_errors(self) -> str:
        """Returns the last error lines since the last start, or else the last lines."""
        lines = self.said().splitlines()[1:] or ["(no output)"]
        signs = (" ERROR ", " FATAL ", "Exception", "Error:", "Caused by")
        errors = [line for line in lines if any(sign in line for sign in signs)]
        return "\n".join((errors or lines)[-LOG_TAIL_LINES:])


def command_line(pid: int) -> str:
    """Returns the command line of a process, "" if it does not run."""
    if not Path("/proc/self").exists():
        asked = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    process = Path(f"/proc/{pid}")
    for _ in range(EXEC_POLLS):
        try:
            if line := (process / "cmdline").read_bytes():
                return line.replace(b"\0", b" ").decode(errors="replace")
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return ""
        if state in "ZX":
            return ""
        time.sleep(0.005)  # it is within exec, and has no command line yet
    return ""


def wait_until(
    ready: Callable[[], bool], timeout_s: float, poll_s: float = 0.1
) -> bool:
    """Returns whether `ready()` became true within `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll_s)
    return True


def free_ports(count: int) -> list[int]:
    """Returns unused ports of loopback.

    Raises:
      HdfsError: if there are not enough.
    """
    found: list[int] = []
    for port in random.sample(PORTS, 200 + 10 * count):
        if len(found) < count and is_free(port):
            found.append(port)
    if len(found) < count:
        raise HdfsError(
            f"cannot find {count} free ports of 127.0.0.1 between {PORTS.start} and "
            f"{PORTS.stop}; stop something that listens there"
        )
    return found


def is_free(port: int) -> bool:
    """Returns whether a daemon could listen on a port of loopback."""
    with socket.socket() as probe:
        # Like the JVM, so that lingering connections of an ended daemon do not matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def is_listening(host: str, port: int) -> bool:
    """Returns whether an address accepts a connection within 1 s."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False
