"""Parses worker logs into runs: steps, accuracy, bottlenecks, warnings and errors.

    bytes ──> lines ──> task, form, level, text ──> WorkerLog
              cleaned     repeats folded              runs, problems

It knows the messages of both generations of `retrain.py` and of this package, behind
any prefix. DC/OS shows each TensorFlow line twice, in two forms; `poets dcos run` adds
the task's name; printed lines have no prefix. The log is read in one pass, and the
memory used depends on the limits below, not on the length of the log.
"""

import math
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from poets.head.evaluate import Accuracy

MAX_STEPS = 4096  # steps kept per run unless all are requested; retrain logs 400
MAX_RUNS = 64  # runs kept, the latest
MAX_PROBLEMS = 200  # kinds of warnings and errors kept, the first
MAX_TEXT = 300  # characters of a warning
MAX_LINE_BYTES = 1 << 16  # a longer line is read in pieces
REPEAT_WINDOW = 6  # lines between the two forms of one message

_ESCAPE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours and cursor moves
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # window titles and links
)
# "worker-0 | text" as `poets dcos run` and compose print; "[worker-0 stderr] text".
_TASK = re.compile(
    r"(?:(?P<name>[\w.-]*\d) +[|>]|\[(?P<task>[^\[\]\s|]+) (?:stdout|stderr)\]) ?"
)
_LEVEL = "(DEBUG|INFO|WARNING|ERROR|CRITICAL|FATAL)"
_WHEN = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:[.,]\d+)?"
# One group per form: `lastindex` is the form, and its group is the level.
_FORM = re.compile(
    # INFO:tensorflow:text
    rf"\b{_LEVEL}:[\w.]*:"
    # [2018-04-17 12:48:42,927|tensorflow|INFO]: text
    rf"|\[{_WHEN}\|[^|\]]*\|{_LEVEL}\]: "
    # 2018-04-17 12:48:42.927011: W tensorflow/core/x.cc:1] text
    rf"|{_WHEN}: ([IWEF]) "
    # W0417 12:48:42.927011 140 x.py:1] text
    r"|\b([IWEF])\d{4} [\d:.]+ +\d+ [^\]]{1,200}\] "
    # 2018-04-17 12:48:42,927 WARNING text
    rf"|{_WHEN} +{_LEVEL} +"
    # /x/y.py:12: UserWarning: text
    r"|^\S+:\d+: (\w*Warning): "
    # WARNING: text; retrain.py: error: text
    r"|^(?:[\w.-]+: )?((?i:warning|error)): "
)
_PYTHON_WARNING, _PRINTED = 6, 7
_NUMBER = r"(-?\d+(?:\.\d+)?|-?inf|-?nan)"
_STEP = re.compile(
    rf"(?:(?P<time>{_WHEN}): )?Step (?P<step>\d{{1,15}}): "
    r"(?P<what>Train accuracy|Cross entropy|Validation accuracy) = "
    rf"{_NUMBER}(?:%(?: \(N=(?P<n>\d{{1,15}})\))?)?"
)
_FINAL = re.compile(rf"Final test accuracy = {_NUMBER}% \(N=(\d{{1,15}})\)")
# The original's message, and this package's progress lines.
_BOTTLENECKS = re.compile(
    r"\b(\d{1,15}) bottleneck files created|\bbottlenecks: (\d{1,15}) of \d"
)
# Generation B prints these without a level.
_PRINTED_PROBLEM = re.compile(
    r"^(?:(No files found)|Image directory '.*' not found"
    r"|Did not recognize architecture|No valid folders of images found"
    r"|Only one valid folder of images found)"
)
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(?:: .*|:)?$")


@dataclass(slots=True)
class LoggedStep:
    """The logged values of one step; None for those that were not logged.

    Accuracies are fractions, 0 to 1, and may be NaN; `validation_n` is the number
    of images behind the validation accuracy.
    """

    step: int
    train_accuracy: float | None = None
    cross_entropy: float | None = None
    validation_accuracy: float | None = None
    validation_n: int | None = None


@dataclass
class LoggedRun:
    """One training run, from its first message to its last.

    `steps` holds every `stride`-th evaluation and the latest one; `num_steps` counts
    all of them. `bottlenecks` is the largest count that was reported,
    `bottlenecks_created` the number of "Creating bottleneck" messages.
    """

    task: str
    first_line: int
    steps: list[LoggedStep] = field(default_factory=list)
    num_steps: int = 0
    stride: int = 1
    best: LoggedStep | None = None
    test_accuracy: float | None = None
    test_n: int | None = None
    bottlenecks: int = 0
    bottlenecks_created: int = 0
    started: str = ""
    ended: str = ""

    @property
    def test_interval_95(self) -> tuple[float, float] | None:
        """The 95 % interval of the final test accuracy, None if N is 0 or unknown.

        The log rounds to a tenth of a percent. The number of correct images is rounded
        from it, which is exact for up to 1,000 images.
        """
        share, n = self.test_accuracy, self.test_n
        if share is None or not n or not 0 <= share <= 1:
            return None
        return Accuracy(n, round(share * n)).interval_95

    def add_step(self, number: int, max_steps: int | None) -> LoggedStep:
        """Returns step `number`, the latest one or a new one after it."""
        if self.steps and self.steps[-1].step == number:
            return self.steps[-1]
        if self.steps and (self.num_steps - 1) % self.stride:
            self.steps.pop()  # was kept only as the latest
        latest = LoggedStep(number)
        self.steps.append(latest)
        self.num_steps += 1
        if max_steps is not None and len(self.steps) > max_steps:
            self.stride *= 2
            self.steps = self.steps[::2]
            if self.steps[-1] is not latest:
                self.steps.append(latest)
        return latest


@dataclass
class Problem:
    """A warning or an error: its first text, and how often it was logged."""

    level: str  # "warning" or "error"
    text: str
    first_line: int
    count: int = 1


@dataclass
class WorkerLog:
    """The content of one log; an empty log has 0 `lines`."""

    name: str
    lines: int = 0
    repeats_folded: int = 0
    runs: list[LoggedRun] = field(default_factory=list)
    runs_left_out: int = 0
    problems: list[Problem] = field(default_factory=list)
    problems_left_out: int = 0


def read_log(
    stream: BinaryIO, name: str, max_steps: int | None = MAX_STEPS
) -> WorkerLog:
    """Parses a log, read once from start to end; bytes that are not UTF-8 are replaced.

    `max_steps` is the number of steps to keep of each run, at least 2; None keeps all.
    """
    reader = _Reader(WorkerLog(name), max_steps)
    for number, line in _lines(stream):
        reader.read(number, line)
    reader.end()
    return reader.log


def _lines(stream: BinaryIO) -> Iterator[tuple[int, str]]:
    """Yields line numbers and lines without colours and control characters.

    A carriage return also starts a line, because progress bars use it.
    """
    number = 1
    while piece := stream.readline(MAX_LINE_BYTES):
        for part in piece.rstrip(b"\r\n").split(b"\r"):
            line = part.decode("utf-8", "replace")
            if not line.isprintable():
                line = _ESCAPE.sub("", line).replace("\t", "    ")
                line = "".join(filter(str.isprintable, line))
            yield number, line
        number += piece.endswith(b"\n")


class _Reader:
    """Turns lines into a WorkerLog."""

    def __init__(self, log: WorkerLog, max_steps: int | None):
        self.log = log
        self.max_steps = max_steps
        self.recent: deque[tuple[str, int, str]] = deque(maxlen=REPEAT_WINDOW)
        self.kinds: dict[tuple[str, str], Problem] = {}
        self.tracebacks: dict[str, int] = {}  # task -> line of its open traceback

    def read(self, number: int, line: str) -> None:
        """Parses one line."""
        self.log.lines = number
        task = ""
        if prefix := _TASK.match(line):
            task, line = prefix["name"] or prefix["task"], line[prefix.end() :]
        form, level, text = 0, "", line
        if found := _FORM.search(line):
            form = found.lastindex or 0
            level, text = found[form][0].upper(), line[found.end() :]
            if form == _PYTHON_WARNING:  # its class is part of the text
                level, text = "W", f"{found[form]}: {text}"
        if self._folds(task, form, text):
            return
        in_traceback = task in self.tracebacks
        if "Traceback (most recent call last)" in text:
            self.tracebacks[task] = number
            if len(self.tracebacks) > MAX_RUNS:
                self.end()
        elif in_traceback and line.startswith(" "):
            pass  # a frame and its code
        elif in_traceback and form in (0, _PRINTED) and _EXCEPTION.match(line):
            self._add_problem("error", line, self.tracebacks.pop(task))
        elif level in ("W", "E", "F", "C"):
            text = re.sub(r"^(?:WARNING|ERROR): ", "", text)
            self._add_problem("warning" if level == "W" else "error", text, number)
        elif printed := _PRINTED_PROBLEM.match(text):
            self._add_problem("warning" if printed[1] else "error", text, number)
        else:
            self._read_message(number, task, text)

    def end(self) -> None:
        """Reports the tracebacks whose last line is missing."""
        for number in self.tracebacks.values():
            self._add_problem("error", "Traceback without its last line", number)
        self.tracebacks.clear()

    def _folds(self, task: str, form: int, text: str) -> bool:
        """Returns whether the line repeats a recent one in another form."""
        if not text:
            return False
        for other in self.recent:
            if other[2] == text and other[1] != form and other[0] == task:
                self.recent.remove(other)
                self.log.repeats_folded += 1
                return True
        self.recent.append((task, form, text))
        return False

    def _add_problem(self, level: str, text: str, number: int) -> None:
        text = text.strip()[:MAX_TEXT]
        kind = level, re.sub(r"\d+", "0", text)  # texts may differ in numbers only
        if problem := self.kinds.get(kind):
            problem.count += 1
        elif len(self.kinds) < MAX_PROBLEMS:
            self.kinds[kind] = Problem(level, text, number)
            self.log.problems.append(self.kinds[kind])
        else:
            self.log.problems_left_out += 1

    def _read_message(self, number: int, task: str, text: str) -> None:
        if "Step " in text and (found := _STEP.search(text)):
            self._read_step(number, task, found)
        elif "Creating bottleneck at " in text:
            self._run(number, task).bottlenecks_created += 1
        elif "bottleneck" in text and (found := _BOTTLENECKS.search(text)):
            run = self._run(number, task)
            run.bottlenecks = max(run.bottlenecks, int(found[found.lastindex or 1]))
        elif "Looking for images in " in text:
            run = self._run(number, task)
            if run.steps or run.bottlenecks or run.bottlenecks_created:
                self._start_run(number, task)  # a run logs this only at its start
        elif "Final test" in text and (found := _FINAL.search(text)):
            run = self._run(number, task)
            run.test_accuracy = _fraction(found[1])
            run.test_n = int(found[2])

    def _read_step(self, number: int, task: str, found: re.Match[str]) -> None:
        run = self._run(number, task)
        step, time = int(found["step"]), found["time"]
        name = found["what"].lower().replace(" ", "_")  # the field of `LoggedStep`
        value = float(found[4]) if name == "cross_entropy" else _fraction(found[4])
        if run.steps:
            latest = run.steps[-1]
            known = getattr(latest, name) if latest.step == step else None
            if step < latest.step or known is not None or run.test_n is not None:
                if _repeats(run, time, known, value):
                    return
                run = self._start_run(number, task)
        row = run.add_step(step, self.max_steps)
        setattr(row, name, value)
        if time:
            run.started, run.ended = run.started or time, time
        if name == "validation_accuracy":
            row.validation_n = int(found["n"]) if found["n"] else None
            if not math.isnan(value) and (
                run.best is None or value > (run.best.validation_accuracy or 0)
            ):
                run.best = row

    def _run(self, number: int, task: str) -> LoggedRun:
        """Returns the current run of a task, a new one if it has none."""
        for run in reversed(self.log.runs):
            if run.task == task:
                return run
        return self._start_run(number, task)

    def _start_run(self, number: int, task: str) -> LoggedRun:
        self.log.runs.append(LoggedRun(task, number))
        if len(self.log.runs) > MAX_RUNS:
            del self.log.runs[0]
            self.log.runs_left_out += 1
        return self.log.runs[-1]


def _repeats(
    run: LoggedRun, time: str | None, known: float | None, value: float
) -> bool:
    """Returns whether a known step is a repeated line of `run`, not of a restart.

    A repeated line has the time of the first one; a restarted run logs new times.
    """
    if time and run.started:
        return run.started <= time <= run.ended
    return known is not None and (known == value or known != known)


def _fraction(percent: str) -> float:
    """Converts a percentage to a fraction without rounding errors: "86.7" -> 0.867."""
    return round(float(percent) / 100, 6)
