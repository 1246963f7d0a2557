"""Children of fine-tuning that start in milliseconds, in tasks of a nursery.

    task ──fork──> brood (waits, with TensorFlow imported) ──fork──> ──fork──> a child

A child imports TensorFlow for 4 s, and then makes steps for one. In a task that calls
`fork_children` before it uses TensorFlow, children are forked from a process in that
state. They are the task's own children, run the same program, and are told, heard and
killed as ever.
"""

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from poets.fine_tuning import process
from poets.fine_tuning.steps import STEP
from poets.system import child
from tests.forked import Task, _adopting_orphans
from tests.retraining import children_of

NAME = "tuner"  # of the processes, as /proc/PID/comm has it
PR_SET_NAME = 15  # prctl(2)


def tuners_of(pid: int) -> list[int]:
    """Returns the children of a task that fine-tune."""
    found = []
    for each in children_of(pid):
        with contextlib.suppress(FileNotFoundError):  # it has ended since
            if Path(f"/proc/{each}/comm").read_text().strip() == NAME:
                found.append(each)
    return found


def fork_children(hold: Path | None = None) -> None:
    """Has this task fork its children of fine-tuning; others start as ever.

    Args:
      hold: while this file is there, the first worker's child waits after as many
        steps as it says, with its checkpoint just written.
    """
    if hold is not None:
        process._Checkpoints = _holding(hold)
    if not Path("/proc/self/fd/0").exists():
        os.open(os.devnull, os.O_RDONLY)  # becomes 0, which a socket must not be
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        _brood(theirs)
    theirs.close()

    earlier = child.subprocess

    def popen(args, **options):
        if args[-1] != process.__name__:
            return earlier.Popen(args, **options)
        return _Forked(ours, options["stderr"], options["env"])

    child.subprocess = SimpleNamespace(Popen=popen, PIPE=subprocess.PIPE)


def _holding(hold):
    class Checkpoints(process._Checkpoints):
        def after(self, steps, last):
            super().after(steps, last)
            if hold.exists() and steps.state()[STEP] == int(hold.read_text()):
                while hold.exists():
                    time.sleep(0.01)

    return Checkpoints


class _Forked(Task):
    """The part of `subprocess.Popen` that `poets.system.child` uses."""

    def __init__(self, brood, stderr, env):
        read, write = os.pipe()
        heard, said = os.pipe()
        with _adopting_orphans():
            files = [read, said, stderr.fileno()]
            socket.send_fds(brood, [json.dumps(env).encode()], files)
            os.close(read)
            os.close(said)
            pid = int(brood.recv(100))
            assert brood.recv(100) == b"gone"  # its parent: it is ours now
        super().__init__(pid, Path(os.devnull))
        self.stdin = os.fdopen(write, "w", encoding="utf-8")
        self.stdout = os.fdopen(heard, encoding="utf-8")


def _brood(server):
    """Forks children until the task ends; never returns."""
    while True:
        try:
            data, files, _, _ = socket.recv_fds(server, 1 << 20, 3)
        except OSError:  # the task was killed
            os._exit(0)
        if not data:
            os._exit(0)
        if (between := os.fork()) == 0:
            if (pid := os.fork()) == 0:
                server.close()
                _run(json.loads(data), files)
            with contextlib.suppress(OSError):  # the task was killed meanwhile
                server.send(b"%d" % pid)
            os._exit(0)
        for each in files:
            os.close(each)
        os.waitpid(between, 0)
        with contextlib.suppress(OSError):
            server.send(b"gone")


def _run(environment, files):
    ctypes.CDLL(None).prctl(PR_SET_NAME, NAME.encode(), 0, 0, 0)
    for target, each in enumerate(files):
        os.dup2(each, target)
        os.close(each)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    try:
        process.main()
    finally:
        os._exit(1)
