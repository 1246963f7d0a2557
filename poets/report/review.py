"""Formats a worker log for people: each run's steps, its curve, the problems.

`log_data` has all of it for other programs.
"""

import contextlib
import dataclasses
import math
import shutil
import sys
from datetime import datetime
from typing import Any

from poets.report.curve import finite_points, glyphs_for, terminal_curve
from poets.report.text import percent
from poets.report.worker_log import LoggedRun, LoggedStep, WorkerLog

MAX_ROWS = 20  # steps in a table, besides the best one
MAX_PROBLEMS = 20  # kinds of warnings and errors in a list


def format_log(log: WorkerLog, show_all: bool) -> str:
    """Returns the review of one log as text."""
    name = "standard input" if log.name == "-" else log.name
    if not log.lines:
        return f"{name}: empty"
    folded = f", {log.repeats_folded:,} repeated" if log.repeats_folded else ""
    lines = [f"{name}: {log.lines:,} lines{folded}"]
    if log.runs_left_out:
        lines.append(f"{log.runs_left_out:,} earlier runs are left out")
    if not any(run.steps for run in log.runs):
        lines.append("no training steps in it")
    for number, run in enumerate(log.runs, 1 + log.runs_left_out):
        lines += ["", *_format_run(number, run, show_all)]
    return "\n".join([*lines, "", *_format_problems(log, show_all)])


def _format_run(number: int, run: LoggedRun, show_all: bool) -> list[str]:
    task = f" of {run.task}" if run.task else ""
    lines = [f"run {number}{task}, from line {run.first_line:,}"]
    if run.bottlenecks or run.bottlenecks_created:
        lines.append(
            f"bottlenecks: {run.bottlenecks_created:,} files created, "
            f"{run.bottlenecks:,} reported"
        )
    if run.steps:
        lines += [_extent(run), "", *_table(run, show_all), ""]
        train = finite_points(run.steps, "train_accuracy")
        validation = finite_points(run.steps, "validation_accuracy")
        width = shutil.get_terminal_size().columns
        glyphs = glyphs_for(sys.stdout.encoding)
        curve = terminal_curve(train, validation, width, glyphs)
        lines += [curve, ""] if curve else []
    if run.test_accuracy is None:
        lines.append("no final test accuracy: the run did not reach its end")
        return lines
    between = " to ".join(map(percent, run.test_interval_95 or ())) or "-"
    lines.append(
        f"final test accuracy {percent(run.test_accuracy)} (N={run.test_n}), "
        f"95 % interval {between}"
    )
    return lines


def _extent(run: LoggedRun) -> str:
    """Returns the number of evaluations in a run, their steps and their duration."""
    first, last = run.steps[0].step, run.steps[-1].step
    text = f"evaluations: {run.num_steps:,}, step {first}"
    if last == first:
        return text
    text += f" to {last}"
    with contextlib.suppress(ValueError):  # no time, or in another format
        started, ended = map(_time, (run.started, run.ended))
        text += f" in {(ended - started).total_seconds():,.1f} s"
    return text


def _time(text: str) -> datetime:
    """Parses a log line's time; Python 3.10 requires six decimals of a second."""
    whole, _, fraction = text.replace(",", ".").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction:0<6.6}")


def _table(run: LoggedRun, show_all: bool) -> list[str]:
    """Returns the steps as rows; of many steps, a selection with the best and last."""
    steps = run.steps
    if not show_all and len(steps) > MAX_ROWS:
        last = len(steps) - 1
        shown = [steps[round(k * last / (MAX_ROWS - 1))] for k in range(MAX_ROWS)]
        if run.best is not None and run.best not in shown:
            shown.append(run.best)
        steps = sorted(shown, key=lambda step: step.step)
    lines = ["    step    train     entropy  validation       N"]
    lines += [_row(step, run.best) for step in steps]
    if len(steps) < run.num_steps:
        lines.append(f"{len(steps)} of {run.num_steps:,}; --all shows every step")
    return lines


def _row(step: LoggedStep, best: LoggedStep | None) -> str:
    entropy = "-" if step.cross_entropy is None else f"{step.cross_entropy:.6f}"
    n = "-" if step.validation_n is None else step.validation_n
    row = (
        f"{step.step:>8}  {percent(step.train_accuracy):>7}  {entropy:>10}  "
        f"{percent(step.validation_accuracy):>10}  {n:>6}"
    )
    return f"{row}  best" if step is best else row


def _format_problems(log: WorkerLog, show_all: bool) -> list[str]:
    """Returns the errors, then the warnings, each with its count and first line."""
    if not log.problems:
        return ["no warnings or errors"]
    problems = sorted(log.problems, key=lambda problem: problem.level != "error")
    shown = problems if show_all else problems[:MAX_PROBLEMS]
    lines = ["warnings and errors"]
    for problem in shown:
        times = f" ({problem.count:,} times)" if problem.count > 1 else ""
        place = f"line {problem.first_line:,}"
        lines.append(f"  {problem.level:<7}  {place:<12}  {problem.text}{times}")
    if len(shown) < len(problems):
        lines.append(f"  {len(problems) - len(shown)} more; --all shows them")
    if log.problems_left_out:
        lines.append(f"  {log.problems_left_out:,} lines of other kinds are left out")
    return lines


def named_runs(logs: list[WorkerLog]) -> list[tuple[str, LoggedRun]]:
    """Returns all runs with unique names."""
    named = []
    for log in logs:
        for number, run in enumerate(log.runs, 1 + log.runs_left_out):
            several = f" {number} {run.task}".rstrip() if len(log.runs) > 1 else ""
            named.append((log.name + several, run))
    return named


def log_data(log: WorkerLog) -> Any:
    """Returns a log as JSON data; NaN and infinity become null."""
    data = dataclasses.asdict(log)
    for found, run in zip(data["runs"], log.runs, strict=True):
        found["test_interval_95"] = run.test_interval_95
    return _finite(data)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
