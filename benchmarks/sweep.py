"""Compares `poets sweep` with one `poets retrain` per combination of flags.

All runs are warm: the feature store holds every image. Nine single runs are measured;
a hundred would take ten minutes, so a hundred times their mean is used.
"""

import itertools
import shutil
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.inputs import SMALL
from benchmarks.measurements import Bench
from benchmarks.processes import Run, run_python
from benchmarks.table import Row

TIMES_ONE_BY_ONE = 5

Axis = tuple[str, Sequence[float]]
WALK_THROUGH: tuple[Axis, ...] = (
    ("learning_rate", (0.001, 0.01, 1.0)),
    ("train_batch_size", (25, 50, 100)),
)
HUNDRED: tuple[Axis, ...] = (
    ("learning_rate", (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)),
    ("train_batch_size", (10, 25, 32, 50, 64, 75, 100, 128, 150, 200)),
)


def sweep(bench: Bench) -> Iterator[Row]:
    """Yields the seconds of 9 and of 100 combinations."""
    bench.turns(SMALL, bench.sizes.short_steps)  # fills the feature store
    singles = [_single_s(bench, values) for values in _combinations(WALK_THROUGH)]
    for axes in (WALK_THROUGH, HUNDRED):
        count = len(_combinations(axes))
        runs = [_sweep(bench, axes) for _ in range(bench.sizes.repeats)]
        ours = statistics.median(run.wall_s for run in runs)
        one_by_one = statistics.mean(singles) * count
        yield Row(
            f"sweep, {count} combinations, {bench.sizes.short_steps:,} steps",
            "s",
            ours,
            one_by_one,
            goal=f"{TIMES_ONE_BY_ONE} x one by one",
            reached=one_by_one >= TIMES_ONE_BY_ONE * ours,
        )
        peak = max(run.tree_rss_mb for run in runs)
        yield Row("  peak memory, all processes", "MB", peak)


def _combinations(axes: Sequence[Axis]) -> list[list[str]]:
    """Returns the flags of each combination."""
    choices = [[f"--{flag}={value}" for value in values] for flag, values in axes]
    return [list(each) for each in itertools.product(*choices)]


def _single_s(bench: Bench, flags: list[str]) -> float:
    out = bench.work / "ours" / "one_by_one"
    outputs = [
        f"--output_graph={out / 'retrained_graph.pb'}",
        f"--output_labels={out / 'retrained_labels.txt'}",
        f"--saved_model_dir={out / 'saved_model' / '1'}",
        f"--checkpoint_path={out / 'checkpoint'}",
        f"--summaries_dir={out / 'summaries'}",
    ]
    return _run(bench, "retrain", [*outputs, *flags]).wall_s


def _sweep(bench: Bench, axes: Sequence[Axis]) -> Run:
    out: Path = bench.work / "ours" / "sweep"
    shutil.rmtree(out, ignore_errors=True)  # or finished combinations would be kept
    grid = [f"--grid={flag}={','.join(map(str, values))}" for flag, values in axes]
    return _run(bench, "sweep", [f"--output_dir={out}", *grid])


def _run(bench: Bench, verb: str, flags: list[str]) -> Run:
    place = bench.work / "ours" / f"run_{SMALL.architecture}"
    return run_python(
        "poets",
        [
            verb,
            f"--image_dir={bench.inputs(SMALL).image_dir}",
            f"--architecture={SMALL.architecture}",
            f"--model_dir={place / 'models'}",
            f"--bottleneck_dir={place / 'bottlenecks'}",
            f"--how_many_training_steps={bench.sizes.short_steps}",
            *flags,
        ],
        bench.work / "logs" / f"{verb}_of_sweep.log",
    )
