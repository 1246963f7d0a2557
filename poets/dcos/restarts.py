"""When a task that ended is started again, and when one is killed to see that it is.

    exit code 0               done
    exit code 2               the user's mistake: never again
    any other, or a signal    again, in place, at most 3 times in a row
    killed by --kill          again

On DC/OS a failed task is launched again in place as long as the service is there (the
SDK's `recovery` plan; that of 0.42 neither counts nor backs off). Here a job that
fails by itself again and again comes to an end.
"""

import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from poets.dcos.tasks import Task
from poets.errors import ConfigError, format_problems, nearest

MAX_RESTARTS = 3

STEADY_S = 60.0
"""A task that ran as long as this has come up; its earlier failures are forgotten."""

USERS_MISTAKE = 2
"""An exit code: what was asked for cannot be done, now or later."""

MOMENT = re.compile(r"(?P<name>.+)@(?P<after_s>\d+(\.\d+)?)s?")


@dataclass
class Restarts:
    """How often one task may fail in a row.

    Attributes:
      limit: restarts, 0 or more.
      steady_s: after this time a task's failure is the first one again.
      failures: in a row, so far.
    """

    limit: int = MAX_RESTARTS
    steady_s: float = STEADY_S
    failures: int = 0

    def again(self, code: int, ran_s: float) -> bool:
        """Takes note of a failure; returns whether the task is to be started again.

        Args:
          code: the exit code, or minus the number of the signal that killed it.
          ran_s: how long it had run.
        """
        if ran_s >= self.steady_s:
            self.failures = 0
        self.failures += 1
        return code != USERS_MISTAKE and self.failures <= self.limit


@dataclass(frozen=True)
class Kill:
    """One task is to be killed, `after_s` seconds after all tasks were started."""

    task: Task
    after_s: float

    def __str__(self) -> str:
        return f"{self.task.name}@{self.after_s:g}s"


def parse_kills(texts: Iterable[str], tasks: Sequence[Task]) -> list[Kill]:
    """Returns what `--kill worker-1@30s` asks for, the first one first.

    Args:
      texts: each a task's name, in the plan or in the cluster (`ps-0`), and seconds.
      tasks: of the run.

    Raises:
      ConfigError: names every text that is wrong or names no task.
    """
    known = {f"{task.pod.job}-{task.index}": task for task in tasks if task.pod.job}
    known |= {task.name: task for task in tasks}
    kills, problems = [], []
    for text in texts:
        if (found := MOMENT.fullmatch(text)) is None:
            problems.append(f"{text!r} is no task and seconds, as worker-1@30s")
        elif (name := found["name"]) not in known:
            names = ", ".join(task.name for task in tasks)
            problems.append(
                f"{text!r} names no task{nearest(name, known)}; there are {names}"
            )
        else:
            kills.append(Kill(known[name], float(found["after_s"])))
    if problems:
        raise ConfigError(format_problems("wrong --kill", problems))
    return sorted(kills, key=lambda kill: kill.after_s)


def ending(code: int) -> str:
    """Returns what an exit code says, in words."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        name = f"signal {-code}"
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"
