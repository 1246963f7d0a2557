"""A Python process of ours that is told, and tells, in lines of JSON.

    with Child("poets.features.process") as child:
        child.send({"part": ...})
        child.receive()             {"unread": ...}

Plain processes, not `multiprocessing`: its spawn imports the host's main module again,
and a DC/OS wrapper without a guard would run twice.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

PACKAGE_PARENT = str(Path(__file__).resolve().parents[1])

Self = TypeVar("Self", bound="Child")


class ChildDiedError(Exception):
    """A process ended before it replied; the message says how."""


class Child:
    """A running process; it is ended with the body.

    Args:
      module: what it runs, found where this process finds it.
      environment: variables it has besides those of this process; None for one that
        it has not.
    """

    def __init__(self, module: str, environment: Mapping[str, str | None]) -> None:
        path = os.pathsep.join([PACKAGE_PARENT, *filter(None, sys.path)])
        variables = {**os.environ, "PYTHONPATH": path, **environment}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={name: value for name, value in variables.items() if value is not None},
            encoding="utf-8",
        )

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def send(self, request: Mapping[str, Any]) -> None:
        """Tells it something.

        Raises:
          ChildDiedError: if it has ended.
        """
        try:
            self._process.stdin.write(json.dumps(request) + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        except OSError as error:
            raise ChildDiedError(self.death()) from error

    def receive(self) -> dict[str, Any]:
        """Waits for what it says next.

        Raises:
          ChildDiedError: if it ended instead.
        """
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line.endswith("\n"):
            raise ChildDiedError(self.death())
        reply: dict[str, Any] = json.loads(line)
        return reply

    def kill(self) -> None:
        """Ends it now; what it is writing is lost, and nothing else."""
        self._process.kill()

    def stop(self) -> None:
        """Ends it as `kill` does, and waits until it has ended."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):  # what was not sent cannot be flushed
                stream.close()  # type: ignore[union-attr]

    def death(self) -> str:
        """Waits until it has ended, and returns how: signal or code, last line."""
        status = self._process.wait()
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").strip().splitlines()
        how = signal.Signals(-status).name if status < 0 else f"exit code {status}"
        return f"{how}{': ' if text else ''}{text[-1] if text else ''}"
