"""Tasks of the local scheduler that start in milliseconds, forked by a nursery.

A task imports TensorFlow for 3 s and then runs the job. A forked one runs the same file
with the same variables, in a session and a sandbox of its own, and imports the job, be
it another poets, from its sandbox. Other commands are started as usual.
"""

import os
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest

from poets.dcos import processes
from tests.forked import Task

CODE = """
import os, runpy, sys
stdin, sandbox, program = sys.argv[1:]
os.setsid()
os.chdir(sandbox)
os.dup2(os.open(stdin, os.O_RDONLY), 0)
for name in [name for name in sys.modules if name.partition(".")[0] == "poets"]:
    del sys.modules[name]
sys.path[:] = [os.path.dirname(program), *filter(None, sys.path)]
sys.argv = [program]
runpy.run_path(program, run_name="__main__")
"""


class _Forked(Task):
    """The part of `subprocess.Popen` that `TaskProcess` uses."""

    def __init__(self, nursery, program, sandbox, environment):
        pipes = [os.pipe() for _ in range(3)]
        (theirs, ours), (read_out, out), (read_err, err) = pipes
        argv = [f"/proc/{os.getpid()}/fd/{theirs}", str(sandbox), program]
        log, output = (
            SimpleNamespace(fileno=lambda fd=fd: fd, name=os.devnull)
            for fd in (err, out)
        )
        task = nursery.start(CODE, environment, log, argv, output)
        super().__init__(task.pid, task.log)
        self._waiting = threading.Lock()  # the scheduler's threads wait at once
        while self.poll() is None and os.getpgid(self.pid) != self.pid:
            time.sleep(0.001)  # it cannot be stopped as a group before it is one
        os.close(out)
        os.close(err)
        self.stdin = os.fdopen(ours, "wb")
        self.stdout, self.stderr = os.fdopen(read_out, "rb"), os.fdopen(read_err, "rb")
        self._theirs = theirs

    def poll(self):
        with self._waiting:
            return super().poll()

    def wait(self, timeout=None):
        code = super().wait(1e9 if timeout is None else timeout)
        with self._waiting:
            if self._theirs is not None:
                os.close(self._theirs)
                self._theirs = None
        return code


@pytest.fixture
def forked_tasks(nursery, monkeypatch):
    """Has the scheduler fork its tasks."""

    def popen(command, *, env, cwd, **options):
        *_, program = command
        if not program.endswith("/poets/dcos/task.py"):
            return subprocess.Popen(command, env=env, cwd=cwd, **options)
        return _Forked(nursery, program, cwd, env)

    stand_in = SimpleNamespace(
        Popen=popen,
        PIPE=subprocess.PIPE,
        TimeoutExpired=subprocess.TimeoutExpired,
    )
    monkeypatch.setattr(processes, "subprocess", stand_in)
