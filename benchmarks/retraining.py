"""Measures the retraining job: our figures, the baseline's, the machine's limit.

Each section yields rows as they are measured. The goals are defined here.
"""

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.accuracy import Score, plain_sgd, read_bottlenecks, read_split
from benchmarks.faults import faults
from benchmarks.fine_tuning import fine_tuning
from benchmarks.inputs import FULL, SMALL, photographs, write_many
from benchmarks.measurements import Bench, median_s
from benchmarks.packs import packs
from benchmarks.reach import reach
from benchmarks.scale import scale
from benchmarks.scores import scores
from benchmarks.serving import serving
from benchmarks.spark import spark
from benchmarks.storage import hdfs
from benchmarks.sweep import sweep
from benchmarks.table import Row
from benchmarks.workers import workers

SHARE_OF_LIMIT = 0.85
TIMES_BASELINE = {SMALL: 10, FULL: 8}
SHORT_TIMES_BASELINE, LONG_TIMES_BASELINE = 5, 15
WARM_S = 5.0
MEMORY_GROWTH = 1.1  # limit for "flat in the number of images"
LABEL_ONE_S = 1.5
ACCURACY_POINTS = 5.0

SGD_RUNS = 5  # per split, because single runs of plain SGD vary


def bottlenecks(bench: Bench) -> Iterator[Row]:
    """Yields images per second of the bottleneck pass, by its own clock and by ours."""
    for case in (SMALL, FULL):
        limit = bench.limit(case)["limit_per_s"]
        turns = bench.turns(case, bench.sizes.short_steps)
        ours, baseline = turns.images_per_s
        times = TIMES_BASELINE[case]
        yield Row(
            f"bottlenecks, {bench.inputs(case).name}",
            "images/s",
            ours,
            baseline,
            limit,
            goal=f"{SHARE_OF_LIMIT:.0%} of the limit, {times} x the baseline",
            reached=ours >= SHARE_OF_LIMIT * limit and ours >= times * baseline,
        )
        extra_s = turns.wall_s[0] - median_s(bench.warm(case))
        if extra_s > 0:
            rate = turns.ours[0].images / extra_s
            figure = "  by the clock: cold run less warm run"
            yield Row(figure, "images/s", rate, baseline, limit)


def runs(bench: Bench) -> Iterator[Row]:
    """Yields seconds and memory of whole runs, cold and warm."""
    goals = (
        (bench.sizes.short_steps, SHORT_TIMES_BASELINE),
        (bench.sizes.long_steps, LONG_TIMES_BASELINE),
    )
    for case in (SMALL, FULL):
        name = bench.inputs(case).name
        for steps, times in goals:
            turns = bench.turns(case, steps)
            ours, baseline = turns.wall_s
            yield Row(
                f"cold run, {steps:,} steps, {name}",
                "s",
                ours,
                baseline,
                goal=f"{times} x the baseline",
                reached=baseline >= times * ours,
            )
            yield Row("  peak memory, all processes", "MB", *turns.memory_mb)
        ours = median_s(bench.warm(case))
        yield Row(
            f"warm run, {bench.sizes.short_steps:,} steps, {name}",
            "s",
            ours,
            goal=f"under {WARM_S:g} s",
            reached=ours < WARM_S,
        )


def memory(bench: Bench) -> Iterator[Row]:
    """Yields the peak memory of a cold run on few images and on many."""
    peaks = []
    for count in bench.sizes.memory_images:
        image_dir = write_many(
            bench.inputs(SMALL).image_dir, count, bench.work / f"images_{count}"
        )
        ours = bench.retrain(
            SMALL,
            bench.sizes.short_steps,
            cold=True,
            image_dir=image_dir,
            what=f"memory_{count}",
        )
        peaks.append(ours.run.tree_rss_mb)
        yield Row(f"peak memory, {count:,} images", "MB", peaks[-1])
        yield Row("  first process", "MB", ours.run.main_rss_mb)
        yield Row("  its children", "MB", ours.run.children_rss_mb)
        yield Row("  bottlenecks", "images/s", ours.images_per_s)
    growth = peaks[-1] / peaks[0]
    yield Row(
        "peak memory, many images to few",
        "ratio",
        growth,
        goal=f"at most {MEMORY_GROWTH:g}",
        reached=growth <= MEMORY_GROWTH,
    )


def label(bench: Bench) -> Iterator[Row]:
    """Yields the seconds of `poets label` on one image and on many."""
    rate_of_run, _ = bench.turns(SMALL, bench.sizes.short_steps).images_per_s
    graph = bench.warm(SMALL)[-1].out / "retrained_graph.pb"
    counts = bench.sizes.label_images, bench.sizes.memory_images[-1]
    folders = [
        write_many(bench.inputs(SMALL).image_dir, count, bench.work / f"images_{count}")
        for count in counts
    ]
    one_s = _label_s(bench, next(photographs(folders[0])), graph)
    yield Row(
        "label 1 image",
        "s",
        one_s,
        goal=f"under {LABEL_ONE_S:g} s",
        reached=one_s < LABEL_ONE_S,
    )
    for count, folder in zip(counts, folders, strict=True):
        many_s = _label_s(bench, folder, graph)
        yield Row(f"label {count:,} images", "s", many_s)
        if many_s > one_s:
            rate = (count - 1) / (many_s - one_s)
            yield Row(
                "  images after the first",
                "images/s",
                rate,
                goal=f"the bottleneck rate, {rate_of_run:,.0f}",
                reached=rate >= rate_of_run,
            )


def _label_s(bench: Bench, images: Path, graph: Path) -> float:
    """Returns the median wall clock of `poets label`."""
    return statistics.median(
        bench.label(images, graph).wall_s for _ in range(bench.sizes.repeats)
    )


def accuracy(bench: Bench) -> Iterator[Row]:
    """Yields test accuracy over all splits, against plain SGD on raw bottlenecks."""
    steps = bench.sizes.short_steps
    baseline = bench.baseline(SMALL, 0, cold=False)
    features = read_bottlenecks(baseline.bottleneck_dir, SMALL.architecture)
    ours, plain = Score(0, 0), Score(0, 0)
    for seed in range(bench.sizes.splits):
        run = bench.retrain(SMALL, steps, split_seed=seed, what="accuracy")
        test = run.metrics["accuracy"]["test"]
        ours += Score(test["correct"], test["n"])
        split = read_split(run.out / "split.csv")
        plain += plain_sgd(features, split, steps, SGD_RUNS)
    figure = f"test accuracy, {bench.sizes.splits} splits together, N={ours.n:,}"
    yield Row(figure, "%", ours.percent, plain.percent)
    points = ours.percent - plain.percent
    yield Row(
        "  above plain SGD on raw bottlenecks",
        "points",
        points,
        goal=f"{ACCURACY_POINTS:g} points",
        reached=points >= ACCURACY_POINTS,
    )


SECTIONS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    section.__name__: section
    for section in (
        bottlenecks,
        runs,
        memory,
        label,
        accuracy,
        reach,
        fine_tuning,
        scores,
        faults,
        sweep,
        hdfs,
        packs,
        workers,
        spark,
        scale,
        serving,
    )
}
