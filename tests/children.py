"""Child processes of the job, forked instead of started.

    task ──> brood (has imported the program) ──fork──> ──fork──> a child of the task

Such a process imports for 0.6 s, and in a test computes for less. A forked one runs the
same program, is a child of the process that asked for it, and is read, killed and
waited for as usual. The tests of the processes themselves, in tests/features, start
real ones.
"""

import contextlib
import ctypes
import fcntl
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

from poets.system import child

ROOT = Path(__file__).parents[1]
EXTRACTOR, TUNER = "poets.features.process", "poets.fine_tuning.process"
NAMES = {EXTRACTOR: b"extractor", TUNER: b"tuner"}  # as /proc/PID/comm has them
PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 15, 36  # prctl(2)
BROOD = f"""
import importlib, socket
import {EXTRACTOR}, poets.features.engine_litert
from tests.children import serve
serve(socket.socket(fileno=0))
"""


def start_brood() -> tuple[socket.socket, "subprocess.Popen[bytes]"]:
    """Starts a brood for this process, which may have threads."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-c", BROOD], stdin=theirs, cwd=ROOT, env=environment
        )
    return ours, process


def fork_brood() -> socket.socket:
    """Forks a brood from this process, which has no threads yet."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        serve(theirs)
    theirs.close()
    return ours


def fork_children(brood: socket.socket, *programs: str) -> None:
    """Has children that run some programs forked by a brood, while that lives."""

    def popen(args, **options):
        if args[-1] in programs:
            with contextlib.suppress(OSError):  # a test may have killed the brood
                return _Forked(brood, args[-1], options["stderr"], options["env"])
        return subprocess.Popen(args, **options)

    child.subprocess = SimpleNamespace(Popen=popen, PIPE=subprocess.PIPE)


def start_children() -> None:
    """Has the processes of this one started in the ordinary way again."""
    child.subprocess = subprocess


def serve(server: socket.socket) -> None:
    """Forks children until the one that asks for them ends; never returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from a terminal it is the task's
    while True:
        try:
            data, files, _, _ = socket.recv_fds(server, 1 << 20, 3)
        except OSError:
            os._exit(0)
        if not data:
            os._exit(0)
        if (between := os.fork()) == 0:
            if (pid := os.fork()) == 0:
                server.close()
                _run(*json.loads(data), files)
            with contextlib.suppress(OSError):
                server.send(b"%d" % pid)
            os._exit(0)
        for each in files:
            os.close(each)
        os.waitpid(between, 0)
        with contextlib.suppress(OSError):
            server.send(b"gone")


def _run(
    program: str, folder: str, environment: dict[str, str], files: list[int]
) -> None:
    os.chdir(folder)
    ctypes.CDLL(None).prctl(PR_SET_NAME, NAMES[program], 0, 0, 0)
    files = [fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in files]  # none is 0 to 2
    for target, each in enumerate(files):
        os.dup2(each, target)
        os.close(each)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    tempfile.tempdir = None  # TMPDIR is another one now
    try:
        sys.modules.pop("sitecustomize", None)  # there may be another one now
        with contextlib.suppress(ImportError):
            importlib.import_module("sitecustomize")
        importlib.import_module(program).main()
        os._exit(0)
    finally:
        os._exit(1)


@contextlib.contextmanager
def _adopting_orphans():
    """Makes this process the parent of processes whose own parent ends."""
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


_forking = threading.Lock()


class _Forked:
    """The part of `subprocess.Popen` that `poets.system.child` uses."""

    def __init__(self, brood, program, stderr, environment):
        read, write = os.pipe()
        heard, said = os.pipe()
        try:
            with _forking, _adopting_orphans():
                files = [read, said, stderr.fileno()]
                request = json.dumps([program, os.getcwd(), environment]).encode()
                socket.send_fds(brood, [request], files)
                self.pid = int(brood.recv(100) or b"none")
                assert brood.recv(100) == b"gone"  # its parent: it is ours now
        except (OSError, ValueError) as error:
            os.close(write)
            os.close(heard)
            raise OSError("the brood is gone") from error
        finally:
            os.close(read)
            os.close(said)
        self.returncode = None
        self.stdin = os.fdopen(write, "w", encoding="utf-8")
        self.stdout = os.fdopen(heard, encoding="utf-8")

    def wait(self):
        if self.returncode is None:
            status = 9  # of one that Ctrl-C kept us from hearing of
            with contextlib.suppress(ChildProcessError):
                _, status = os.waitpid(self.pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def kill(self):
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, 9)
