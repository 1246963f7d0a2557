"""Starts, restarts and stops the tasks of one run.

    steps ─────> processes ──┬── exit code 0 ───────> COMPLETE
                    ▲        ├── failed ───────> PENDING ──┐
                    │        │     └── too often ──────────┼──> ERROR, the run ends
                    └────────┼─────────────────────────────┘
                             └── the workers are done: the others are stopped

A restarted task keeps its name, sandbox, address and output. If TensorBoard fails, the
other tasks continue and its error is reported at the end.
"""

import logging
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from poets.dcos.plan import COMPLETE, ERROR, PENDING, STARTING, step_line
from poets.dcos.processes import TaskProcess, mark
from poets.dcos.restarts import Kill, Restarts, ending
from poets.dcos.tasks import Task
from poets.errors import PoetsError

log = logging.getLogger(__name__)

GRACE_S = 5.0
"""The time between SIGTERM and SIGKILL."""

Emit = Callable[[str, str, str], None]
"""Called with a task's name, `stdout` or `stderr`, and a line, from other threads."""


@dataclass
class PlanStep:
    """A task, how to start it, and its state.

    Attributes:
      task: the task.
      command: the program and its arguments.
      environment: all variables of the process.
      sandbox: its working directory.
      restarts: counts its failures.
      status: as in the deploy plan.
      error: why it is not restarted, or "".
      process: the running process, or None.
      started_s: its start, by the monotonic clock.
      killed: whether `--kill` killed the process.
    """

    task: Task
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    sandbox: Path
    restarts: Restarts
    status: str = PENDING
    error: str = ""
    process: TaskProcess | None = None
    started_s: float = 0.0
    killed: bool = False

    def change(self, status: str, why: str) -> None:
        """Sets the status and logs it."""
        self.status = status
        log.info("%s: %s", step_line(self.task, status), why)


class Supervisor:
    """Runs the tasks of one service from start to end."""

    def __init__(
        self,
        steps: Sequence[PlanStep],
        emit: Emit,
        kills: Sequence[Kill] = (),
        grace_s: float = GRACE_S,
    ):
        """Takes a step for each task, and some arguments of `poets.dcos.run.run`."""
        self._steps = steps
        self._emit = emit
        self._grace_s = grace_s
        self._kills = list(kills)
        self._ended: queue.SimpleQueue[tuple[PlanStep, int]] = queue.SimpleQueue()
        self._waiters: list[threading.Thread] = []

    def run(self) -> None:
        """Runs all tasks until the workers have ended or one has failed too often.

        Afterwards each step has its task's result. No process is left running, even
        after an exception.

        Raises:
          PoetsError: if a process cannot be started.
        """
        try:
            for step in self._steps:
                self._start(step, "started")
            self._watch()
        finally:
            self._stop()

    def _failed(self) -> bool:
        """Returns whether a task of the cluster has failed too often."""
        return any(s.status == ERROR and s.task.pod.job for s in self._steps)

    def _working(self) -> bool:
        return not self._failed() and any(
            step.process and not step.task.serves for step in self._steps
        )

    def _start(self, step: PlanStep, why: str, mark_with: str = "") -> None:
        def on_line(stream: str, text: str) -> None:
            self._emit(step.task.name, stream, text)

        try:
            if mark_with:
                mark(step.sandbox, mark_with)
            step.process = process = TaskProcess(
                step.command, step.environment, step.sandbox, on_line
            )
        except OSError as error:
            raise PoetsError(
                f"cannot start {step.task.name}: {error.strerror}: {error.filename!r}"
            ) from error
        step.started_s, step.killed = time.monotonic(), False
        step.change(COMPLETE if step.task.serves else STARTING, why)
        waiter = threading.Thread(
            target=lambda: self._ended.put((step, process.wait())), daemon=True
        )
        waiter.start()
        self._waiters.append(waiter)

    def _watch(self) -> None:
        began_s = time.monotonic()
        while self._working():
            left_s = None
            if self._kills:
                at_s = began_s + self._kills[0].after_s
                left_s = max(0.0, at_s - time.monotonic())
            try:
                step, code = self._ended.get(timeout=left_s)
            except queue.Empty:
                self._kill(self._kills.pop(0))
            else:
                self._on_end(step, code)
        for kill in self._kills:
            log.warning("--kill %s: the run ended before that", kill)

    def _kill(self, kill: Kill) -> None:
        step = next(step for step in self._steps if step.task == kill.task)
        if step.process is None:
            log.warning("--kill %s: the task had already ended", kill)
            return
        log.info("--kill %s: killing it", kill)
        step.killed = True
        step.process.kill()

    def _on_end(self, step: PlanStep, code: int) -> None:
        """Records the end of a task; restarts it if it failed and may be restarted."""
        step.process = None
        if code == 0:
            step.change(COMPLETE, "ended")
        elif step.killed and code == -signal.SIGKILL:
            self._restart(step, "was killed by --kill", "")
        elif step.restarts.again(code, time.monotonic() - step.started_s):
            nth = f" {step.restarts.failures} of {step.restarts.limit}"
            self._restart(step, ending(code), nth)
        else:
            step.error = ending(code)
            if before := step.restarts.failures - 1:
                step.error += f" after {before} restart{'s' * (before != 1)}"
            step.change(ERROR, step.error)

    def _restart(self, step: PlanStep, why: str, nth: str) -> None:
        step.change(PENDING, why)
        restart = f"restart{nth}"
        self._start(step, restart, f"{step.task.name} {why}; {restart}")

    def _stop(self) -> None:
        left = [step for step in self._steps if step.process]
        stoppers = [
            threading.Thread(target=step.process.stop, args=(self._grace_s,))
            for step in left
            if step.process
        ]
        for thread in stoppers:
            thread.start()
        for thread in [*stoppers, *self._waiters]:
            thread.join()
        done = all(s.status == COMPLETE for s in self._steps if not s.task.serves)
        for step in left:
            step.change(COMPLETE if done else PENDING, "stopped")
