"""Draws all combinations: the best ones by name, and the effect of each flag.

    ┌ the best, with 95 % intervals ─┐ ┌ learning_rate ┐
    │ 0.01, 50   ───●───             │ │   ·  :  ·     │
    │ 0.01, 100  ──●───              │ ├ train_batch.. ┤
    │ 0.001, 25  ─●──                │ │   :  :  :     │
    └────────────────────────────────┘ └───────────────┘

matplotlib is an optional dependency, imported only for drawing.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from poets.report.curve import png_of
from poets.sweeps.plan import Combination, Sweep
from poets.sweeps.report import cell, ordered
from poets.sweeps.results import Result

MAX_NAMED = 25
MAX_FLAGS = 6
MAX_VALUES = 12  # of a flag; if it has more, every n-th is labelled


def sweep_png(sweep: Sweep, results: Mapping[str, Result]) -> bytes:
    """Returns a chart as PNG.

    On the left are the best runs: validation accuracy with its interval, and training
    accuracy in grey. On the right is the validation accuracy of all runs, by the values
    of each flag.
    """
    from matplotlib.figure import Figure

    runs = [run for run in ordered(sweep, results) if not results[run.name].failure]
    flags = [
        flag
        for flag in sweep.varied[:MAX_FLAGS]
        if len({run.value(flag) for run in runs}) > 1
    ]
    rows = max(len(runs[:MAX_NAMED]) * 0.28 + 1.6, 2.1 * len(flags), 3.0)
    figure = Figure(figsize=(11, rows), dpi=110, layout="constrained")
    left: Any = figure
    if flags:
        halves: Any = figure.subfigures(1, 2, width_ratios=(3, 2))
        left, right = halves
        panels = right.subplots(len(flags), 1, squeeze=False)[:, 0]
        for axes, flag in zip(panels, flags, strict=True):
            _draw_flag(axes, flag, runs, results)
    _draw_best(left.subplots(), sweep, runs, results)
    return png_of(figure)


def _draw_best(
    axes: Any, sweep: Sweep, runs: list[Combination], results: Mapping[str, Result]
) -> None:
    from matplotlib.ticker import PercentFormatter

    drawn = runs[:MAX_NAMED]
    found = [results[run.name] for run in drawn]
    places = list(range(len(drawn)))
    shares = [result.validation.share for result in found]
    ends = [result.validation.interval_95 for result in found]
    low, high = np.reshape(ends, (-1, 2)).T
    axes.errorbar(
        shares,
        places,
        xerr=np.maximum(0, [shares - low, high - shares]),
        fmt="o",
        ms=5,
        capsize=3,
        label="validation, 95 %",
    )
    train = [result.train.share for result in found]
    axes.plot(train, places, "o", ms=4, color="C7", alpha=0.5, label="train")
    axes.set_yticks(places)
    labels = [[cell(run.value(flag)) for flag in sweep.varied] for run in drawn]
    names = [", ".join(filter(None, texts)) for texts in labels]
    axes.set_yticklabels(names, fontsize="small", parse_math=False)
    axes.invert_yaxis()
    axes.set_ylabel(", ".join(sweep.varied), fontsize="small", parse_math=False)
    axes.set_xlabel("accuracy")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    failed = len(sweep.runs) - len(runs)
    title = f"{len(sweep.runs):,} combinations"
    title += f", the best {len(drawn)}" if len(runs) > len(drawn) else ""
    axes.set_title(title + (f", {failed:,} failed" if failed else ""))
    if drawn:
        axes.figure.legend(
            loc="outside lower center", ncols=2, fontsize="small", frameon=False
        )
    _plain(axes, "x")


def _draw_flag(
    axes: Any, flag: str, runs: list[Combination], results: Mapping[str, Result]
) -> None:
    from matplotlib.ticker import PercentFormatter

    values = sorted(
        {run.value(flag) for run in runs}, key=lambda value: (str(type(value)), value)
    )
    place = {value: index for index, value in enumerate(values)}
    axes.plot(
        [place[run.value(flag)] for run in runs],
        [results[run.name].validation.share for run in runs],
        "o",
        ms=5,
        alpha=max(0.15, min(0.8, 30 / len(runs))),
        mew=0,
    )
    every = math.ceil(len(values) / MAX_VALUES)
    width = max(8, 60 // len(values))
    axes.set_xticks(range(0, len(values), every))
    names = [cell(value)[-width:] for value in values[::every]]
    axes.set_xticklabels(names, fontsize="small", parse_math=False)
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.set_title(flag, fontsize="medium", parse_math=False)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    _plain(axes, "y")


def _plain(axes: Any, grid: str) -> None:
    axes.grid(alpha=0.3, axis=grid)
    axes.spines[["top", "right"]].set_visible(False)
