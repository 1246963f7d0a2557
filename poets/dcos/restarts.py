"""Decides whether an ended task is restarted, and parses `--kill`, which tests that.

    exit code 0               done
    exit code 2               the user's mistake, not restarted
    any other, or a signal    restarted in place, at most 3 times in a row
    killed by --kill          restarted, without counting

DC/OS restarts a failed task in place as long as the service exists (the SDK's
`recovery` plan; version 0.42 neither counts nor backs off). Here the number of
restarts is limited, so that a failing job ends.
"""

import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from poets.dcos.tasks import Task
from poets.errors import ConfigError, format_problems, nearest

MAX_RESTARTS = 3

STEADY_S = 60.0
"""If a task ran this long, its earlier failures no longer count."""

USERS_MISTAKE = 2
"""The exit code of a job that would fail again."""

MOMENT = re.compile(r"(?P<name>.+)@(?P<after_s>\d+(\.\d+)?)s?")


@dataclass
class Restarts:
    """How often one task may fail in a row: `limit` is 0 or more restarts."""

    limit: int = MAX_RESTARTS
    failures: int = 0

    def again(self, code: int, ran_s: float) -> bool:
        """Counts a failure; returns whether to restart the task.

        Args:
          code: the exit code, or the negative number of the signal that killed it.
          ran_s: how long it ran.
        """
        if ran_s >= STEADY_S:
            self.failures = 0
        self.failures += 1
        return code != USERS_MISTAKE and self.failures <= self.limit


@dataclass(frozen=True)
class Kill:
    """A task to kill, `after_s` seconds after all tasks were started."""

    task: Task
    after_s: float

    def __str__(self) -> str:
        return f"{self.task.name}@{self.after_s:g}s"


def parse_kills(texts: Iterable[str], tasks: Sequence[Task]) -> list[Kill]:
    """Parses the values of `--kill`, such as `worker-1@30s`; returns them by time.

    Tasks are named as in the plan, or as in the cluster (`ps-0`).

    Raises:
      ConfigError: lists every text that is malformed or names no task.
    """
    known = {f"{task.pod.job}-{task.index}": task for task in tasks if task.pod.job}
    known |= {task.name: task for task in tasks}
    kills, problems = [], []
    for text in texts:
        if (found := MOMENT.fullmatch(text)) is None:
            problems.append(f"{text!r} is not TASK@SECONDSs, such as worker-1@30s")
        elif (name := found["name"]) not in known:
            names = ", ".join(task.name for task in tasks)
            problems.append(
                f"{text!r} names no task{nearest(name, known)}; the tasks are {names}"
            )
        else:
            kills.append(Kill(known[name], float(found["after_s"])))
    if problems:
        raise ConfigError(format_problems("wrong --kill", problems))
    return sorted(kills, key=lambda kill: kill.after_s)


def ending(code: int) -> str:
    """Describes an exit code in words."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        name = f"signal {-code}"
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"
