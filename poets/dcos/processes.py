"""Runs a task as a process in its sandbox, captures its output, and stops it.

    task ──> stdout ──> sandbox/stdout, on_line("stdout", text)
         └─> stderr ──> sandbox/stderr, on_line("stderr", text)

Each task leads its own process group, which is killed when the task ends. A task that
is restarted in the same sandbox appends to its output files.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

LINE_BYTES = 65_536
"""Longer lines are passed on in pieces."""

LAST_LINES_S = 10.0
"""How long to read the pipes of an ended task. A child that left the process group may
keep them open for ever."""

STREAMS = ("stdout", "stderr")

OnLine = Callable[[str, str], None]


class TaskProcess:
    """A running task; `stop` ends it, `wait` waits for its end."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        sandbox: Path,
        on_line: OnLine,
    ) -> None:
        """Starts a command in its sandbox, which gets the files `stdout` and `stderr`.

        `on_line` is called with the stream's name and each line, from other threads.
        """
        self._process = process = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=sandbox,
            # Only this process holds it open, so the task notices when it is gone.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._pumps = [
            threading.Thread(
                target=_pump, args=(stream, sandbox / name, name, on_line), daemon=True
            )
            for name, stream in zip(
                STREAMS, (process.stdout, process.stderr), strict=True
            )
        ]
        for pump in self._pumps:
            pump.start()

    def wait(self) -> int:
        """Waits until the task ends, and kills the rest of its process group.

        Returns:
          The exit code, or the negative number of the signal that killed it.
        """
        code = self._process.wait()
        self.kill()
        for pump in self._pumps:
            pump.join(LAST_LINES_S)
        if self._process.stdin:
            self._process.stdin.close()
        return code

    def stop(self, grace_s: float) -> None:
        """Ends the task's process group: SIGTERM, then SIGKILL after `grace_s`."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Ends the task's process group by SIGKILL."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return  # the group is empty, or (macOS) has only its dead leader


def mark(sandbox: Path, text: str) -> None:
    """Appends a line of the scheduler to the output files of an ended task."""
    for name in STREAMS:
        with (sandbox / name).open("a+b") as kept:
            if size := kept.seek(0, os.SEEK_END):
                kept.seek(size - 1)
                if kept.read() != b"\n":
                    kept.write(b"\n")  # the task was killed within a line
            kept.write(f"--- {text} ---\n".encode())


def _pump(stream: IO[bytes], place: Path, name: str, on_line: OnLine) -> None:
    with stream, place.open("ab", buffering=0) as sink:
        while line := stream.readline(LINE_BYTES):
            sink.write(line)
            on_line(name, line.decode(errors="replace").rstrip("\r\n"))
