"""Runs a Python child process that exchanges lines of JSON with this one.

    with Child("poets.features.process") as child:
        child.send({"part": ...})
        child.receive()             {"unread": ...}

It does not use `multiprocessing`, which imports the main module again in a spawned
process: a DC/OS wrapper without a guard would run twice.
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

Self = TypeVar("Self", bound="Child")


def child_environment() -> dict[str, str]:
    """Returns the variables for a Python process that finds the modules of this one.

    It finds this package itself, and not `poets/poets.py`, the module for DC/OS, which
    imports all that a job needs; and nothing that lies in the current folder by chance.
    """
    path = [str(Path(__file__).resolve().parents[2]), *filter(None, sys.path)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONSAFEPATH": "1",  # of Python 3.11
    }


class ChildDiedError(Exception):
    """A process ended before it replied; the message is its signal or exit code."""


class Child:
    """A running process, which is killed at the end of the body.

    Args:
      module: what it runs, found on this process's path.
      environment: its variables besides those of this process; None removes one.
    """

    def __init__(self, module: str, environment: Mapping[str, str | None]) -> None:
        variables = {**child_environment(), **environment}
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
        """Sends it a line.

        Raises:
          ChildDiedError: if it has ended.
        """
        try:
            self._process.stdin.write(json.dumps(request) + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        except OSError as error:
            raise ChildDiedError(self.death()) from error

    def receive(self) -> dict[str, Any]:
        """Waits for its next line.

        Raises:
          ChildDiedError: if it ended instead.
        """
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line.endswith("\n"):
            raise ChildDiedError(self.death())
        reply: dict[str, Any] = json.loads(line)
        return reply

    def kill(self) -> None:
        """Kills it; only what it is writing is lost."""
        self._process.kill()

    def stop(self) -> None:
        """Kills it, and waits until it has ended."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):  # unsent lines cannot be flushed
                stream.close()  # type: ignore[union-attr]

    def death(self) -> str:
        """Waits until it has ended; returns its signal or exit code, and last line."""
        status = self._process.wait()
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").strip().splitlines()
        how = signal.Signals(-status).name if status < 0 else f"exit code {status}"
        return f"{how}{': ' if text else ''}{text[-1] if text else ''}"
