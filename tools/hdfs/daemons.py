"""One daemon: started, looked after and stopped by its own pid file.

    run/namenode.pid      the process, for as long as it runs
    log/namenode.log      everything it said; a later start adds to it

A daemon outlives the program that started it. Its command line carries a mark, the
path of its pid file, and no process without that mark is ever signalled: after a crash
the number in a pid file may belong to somebody else.
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
# Below the ports that systems give to outgoing connections: while a daemon is down,
# nobody gets its port by chance.
PORTS = range(10240, 32768)
EXEC_POLLS = 200
LOG_TAIL_LINES = 12
START_LINE = "---- started "


@dataclass(frozen=True)
class Daemon:
    """A process with a name in the folder of an HDFS.

    Attributes:
      name: as `namenode` or `datanode-0`.
      folder: holds `run/` and `log/`.
      command: what runs; `MARK` in it becomes the mark.
      environment: the variables of the process, all of them.
      ports: use -> port, of those it listens on.
    """

    name: str
    folder: Path
    command: Sequence[str]
    environment: Mapping[str, str]
    ports: Mapping[str, int]

    MARK = "{mark}"

    @property
    def pid_file(self) -> Path:
        """Where the number of the process is."""
        return self.folder / "run" / f"{self.name}.pid"

    @property
    def log(self) -> Path:
        """Where everything that the daemon says is kept."""
        return self.folder / "log" / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """The process if it runs, and is ours."""
        try:
            pid = int(self.pid_file.read_text())
        except (OSError, ValueError):
            return None
        return pid if str(self.pid_file) in command_line(pid) else None

    def start(self) -> None:
        """Starts the process unless it runs; does not wait until it serves.

        Raises:
          HdfsError: if somebody else listens on one of its ports, or nothing starts.
        """
        if self.pid is not None:
            return
        for use, port in self.ports.items():
            # Of one that was just killed, threads may still hold it for a moment.
            if not wait_until(partial(is_free, port), PORT_TIMEOUT_S):
                raise HdfsError(
                    f"cannot start {self.name}: port {port} ({use}) is in use by "
                    "another process; stop that one, or use a new folder"
                )
        for path in (self.pid_file, self.log):
            path.parent.mkdir(parents=True, exist_ok=True)
        command = [part.replace(self.MARK, str(self.pid_file)) for part in self.command]
        # The shell leaves at once, so that the daemon is nobody's child: it is not
        # ended with us and does not stay behind as a zombie of ours.
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
        """Ends the process, kindly at first; returns whether it ran.

        Raises:
          HdfsError: if it is still there after `timeout_s` and SIGKILL.
        """
        ran = self._signal(signal.SIGTERM)
        if not wait_until(lambda: self.pid is None, timeout_s):
            self.kill()
        self.pid_file.unlink(missing_ok=True)
        return ran

    def kill(self) -> None:
        """Ends the process at once, as a crash does, and waits until it is gone.

        Raises:
          HdfsError: if it is still there after 10 s.
        """
        self._signal(signal.SIGKILL)
        if not wait_until(lambda: self.pid is None, 10):
            raise HdfsError(
                f"cannot end {self.name}: process {self.pid} does not go; look at "
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
        """Returns the last lines that tell of an error, else the last, of this run."""
        lines = self.said().splitlines()[1:] or ["(it said nothing)"]
        signs = (" ERROR ", " FATAL ", "Exception", "Error:", "Caused by")
        telling = [line for line in lines if any(sign in line for sign in signs)]
        return "\n".join((telling or lines)[-LOG_TAIL_LINES:])


def command_line(pid: int) -> str:
    """Returns the command line of a process, "" if there is none or it has ended."""
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
        time.sleep(0.005)  # it is just becoming another program, and has none yet
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
    """Returns different ports of loopback on which nobody listens.

    Raises:
      HdfsError: if so many cannot be found.
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
        # As the JVM binds: connections that linger after a daemon's end are no matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def is_listening(host: str, port: int) -> bool:
    """Returns whether somebody takes connections at an address, within 1 s."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False
