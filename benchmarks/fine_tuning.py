"""Measures the accuracy gained by fine-tuning the backbone's last layers.

The same job runs with and without `--fine_tune_steps` on each split, with defaults for
all other flags. Correct images of all splits are added up. The second case has 400
training images, which the head alone already fits, so there is little to gain.
"""

from collections.abc import Iterator

from benchmarks.accuracy import Score
from benchmarks.inputs import FULL, SMALL
from benchmarks.measurements import Bench
from benchmarks.table import Row

POINTS = {SMALL: 2.0}


def fine_tuning(bench: Bench) -> Iterator[Row]:
    """Yields test accuracy with and without fine-tuning, and its seconds."""
    steps, tuned_steps = bench.sizes.long_steps, bench.sizes.short_steps
    for case in (SMALL, FULL):
        plain, tuned, seconds = Score(0, 0), Score(0, 0), []
        for seed in range(bench.sizes.splits):
            for fine_tune_steps in (0, tuned_steps):
                run = bench.retrain(
                    case,
                    steps,
                    split_seed=seed,
                    fine_tune_steps=fine_tune_steps,
                    what="fine_tuning",
                )
                test = run.metrics["accuracy"]["test"]
                score = Score(test["correct"], test["n"])
                if fine_tune_steps:
                    tuned += score
                    seconds.append(run.metrics["duration_s"]["fine_tuning"])
                else:
                    plain += score
        points, goal = tuned.percent - plain.percent, POINTS.get(case)
        name = bench.inputs(case).name
        figure = f"fine-tuned, {name}, {bench.sizes.splits} splits, N={tuned.n:,}"
        yield Row(figure, "%", tuned.percent, plain.percent)
        yield Row(
            "  above the head alone",
            "points",
            points,
            goal=f"{goal:g} points" if goal else "",
            reached=points >= goal if goal else None,
        )
        yield Row(f"  {tuned_steps:,} steps of the last 3 layers", "s", max(seconds))
