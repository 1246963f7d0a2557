"""Tasks that start in milliseconds: forked from a process that has imported TensorFlow.

    test ──> nursery (imports once) ──fork──> ──fork──> the task, a child of the test

A task of the job imports TensorFlow for 3 s, and then works for one. A forked one runs
the same code in a process of its own, which may be killed and waited for as any other.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest

ROOT = Path(__file__).parents[1]
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
POLL_S = 0.005
NURSERY = """
import atexit, contextlib, json, os, socket, sys, tempfile, traceback
import poets.cli, poets.fine_tuning.supervise, poets.job, poets.retraining, poets.sweeps
import poets.features.engine_litert, poets.features.process
from tests.children import EXTRACTOR, fork_brood, fork_children

def run(request, out, log):
    os.dup2(out, 1), os.dup2(log, 2)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[:0] = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.argv = request["argv"]
    tempfile.tempdir = None  # TMPDIR is another one now
    code = 1
    try:
        fork_children(fork_brood(), EXTRACTOR)
        sys.modules.pop("sitecustomize", None)  # there may be another one now
        with contextlib.suppress(ImportError):
            import sitecustomize  # as python does
        exec(compile(request["code"], "task", "exec"), {"__name__": "__main__"})
        code = 0
    except SystemExit as exit:
        code = exit.code or 0
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()  # removes temporary files, as the end of python does
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)

server = socket.socket(fileno=0)
while True:
    data, fds, _, _ = socket.recv_fds(server, 1 << 20, 2)
    if not data:
        break
    if (between := os.fork()) == 0:
        if (task := os.fork()) == 0:
            server.close()
            run(json.loads(data), *fds)
        server.send(b"%d" % task)
        os._exit(0)
    os.close(fds[0]), os.close(fds[1])
    os.waitpid(between, 0)
    server.send(b"gone")
"""


class Task:
    """A running task, with the part of `subprocess.Popen` that tests use.

    Attributes:
      log: the file with what it prints.
    """

    def __init__(self, pid: int, log: Path) -> None:
        self.pid, self.log = pid, log
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Returns the exit code, or the negative signal; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float = 600) -> int:
        """Returns the exit code once it has ended."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"task {self.pid}", timeout)
            time.sleep(POLL_S)
        return code

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kills it, unless it has ended."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """A process that has imported what tasks need, and forks them."""

    def __init__(self) -> None:
        self._socket, served = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with served:
            self._process = subprocess.Popen(
                [sys.executable, "-c", NURSERY], stdin=served, cwd=ROOT
            )

    def start(
        self,
        code: str,
        environment: Mapping[str, str],
        log: BinaryIO,
        argv: Sequence[str] = (),
        out: BinaryIO | None = None,
    ) -> Task:
        """Runs code in a new process, as `python -c` does.

        Args:
          code: Python.
          environment: all its variables.
          log: where its output goes, both streams.
          argv: its arguments.
          out: where its standard output goes instead.
        """
        request = {"code": code, "argv": ["-c", *argv], "environment": {**environment}}
        with _adopting_orphans():
            data = json.dumps(request).encode()
            files = [(out or log).fileno(), log.fileno()]
            socket.send_fds(self._socket, [data], files)
            task = int(self._socket.recv(100))
            assert self._socket.recv(100) == b"gone"  # its parent: it is ours now
        return Task(task, Path(log.name))

    def close(self) -> None:
        """Ends it; the tasks go on."""
        self._socket.close()
        self._process.wait(300)


@contextlib.contextmanager
def _adopting_orphans() -> Iterator[None]:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    running = Nursery()
    yield running
    running.close()
