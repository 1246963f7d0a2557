"""Measures how many planted faults of a data set the report finds.

Labels of photographs are flipped, copies of photographs are added, and drawn pictures
of no flower: the report's lists should begin with them.
"""

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.inputs import FULL, SMALL, Case, photographs
from benchmarks.measurements import Bench
from benchmarks.table import Row
from tests.photographs import COPIES, as_jpeg, photograph

FLIPPED, SEEDS = 0.05, 5
COPIED = 20
"""Copies of each kind."""

ODD, AMONG, LOOKED_AT = 20, 750, 40
REPORT_S = 2.5


def faults(bench: Bench) -> Iterator[Row]:
    """Yields the shares of planted faults that are found, and the report's seconds."""
    place = bench.work / "faults"
    yield from _flipped(bench, place)
    yield _row("copies of photographs that are found", _copied(bench, place), 95)
    odd = _odd(bench, place)
    yield _row(f"odd pictures among the first {LOOKED_AT} of {AMONG}", odd, 90)
    bench.retrain(SMALL, bench.sizes.short_steps, what="faults")
    run = bench.retrain(SMALL, bench.sizes.short_steps, what="faults")
    report_s = run.metrics["duration_s"]["report"]
    yield Row(
        f"the report on {run.images:,} photographs",
        "s",
        report_s,
        goal=f"under {REPORT_S:g} s",
        reached=report_s < REPORT_S,
    )
    shutil.rmtree(place, ignore_errors=True)


def _flipped(bench: Bench, place: Path) -> Iterator[Row]:
    """Yields the share of flipped labels among the first N and 2 N of the list."""
    first, within = [], []
    for seed in range(SEEDS):
        random = np.random.default_rng(seed)
        paths = list(photographs(bench.inputs(FULL).image_dir))
        labels = sorted({path.parent.name for path in paths})
        wrong = set(random.permutation(len(paths))[: round(FLIPPED * len(paths))])
        shutil.rmtree(place, ignore_errors=True)
        flipped = set()
        for number, path in enumerate(paths):
            label = path.parent.name
            if number in wrong:
                label = str(random.choice([each for each in labels if each != label]))
                flipped.add(f"{label}/{path.name}")
            _link(path, place / label / path.name)
        found = _list(bench, FULL, place, "doubtful_labels.csv")
        n = len(flipped)
        first.append(len(flipped.intersection(found[:n])) / n)
        within.append(len(flipped.intersection(found[: 2 * n])) / n)
    mean = 100 * float(np.mean(first))
    yield _row(f"flipped labels among the first listed, {SEEDS} seeds", mean, 60)
    yield _row("  within twice as many", 100 * float(np.mean(within)), 80)


def _copied(bench: Bench, place: Path) -> float:
    """Returns the share of copies that are in the group of their photograph, in %."""
    shutil.rmtree(place, ignore_errors=True)
    paths = list(photographs(bench.inputs(FULL).image_dir))
    for path in paths:
        _link(path, place / path.parent.name / path.name)
    chosen = np.random.default_rng(0).permutation(len(paths)).tolist()
    expected = []
    for make in COPIES.values():
        for _ in range(min(COPIED, len(paths) // (2 * len(COPIES)))):
            path = paths[chosen.pop()]
            copy = place / path.parent.name / f"copy_{path.name}"
            with Image.open(path) as image:
                copy.write_bytes(make(image.convert("RGB")))
            expected.append(
                [f"{path.parent.name}/{name}" for name in (path.name, copy.name)]
            )
    rows = _rows(bench, FULL, place, "near_duplicates.csv")
    group_of = {row["path"]: row["group"] for row in rows}
    found = [group_of.get(one, "") == group_of.get(two) for one, two in expected]
    return 100 * float(np.mean(found))


def _odd(bench: Bench, place: Path) -> float:
    """Returns the share of drawn pictures among the first of the list, in %."""
    shutil.rmtree(place, ignore_errors=True)
    by_label: dict[str, list[Path]] = {}
    for path in photographs(bench.inputs(SMALL).image_dir):
        by_label.setdefault(path.parent.name, []).append(path)
    for label, paths in by_label.items():
        for path in paths[: (AMONG - ODD) // len(by_label)]:
            _link(path, place / label / path.name)
    labels = sorted(by_label)
    for number in range(ODD):
        target = place / labels[number % len(labels)] / f"odd_{number}.jpg"
        target.write_bytes(as_jpeg(photograph(number, 128, 128)))
    found = _list(bench, SMALL, place, "odd_images.csv")[:LOOKED_AT]
    return 100 * sum("/odd_" in path for path in found) / ODD


def _list(bench: Bench, case: Case, image_dir: Path, name: str) -> list[str]:
    return [row["path"] for row in _rows(bench, case, image_dir, name)]


def _rows(bench: Bench, case: Case, image_dir: Path, name: str) -> list[dict[str, str]]:
    """Runs the job on a folder, and returns the rows of a CSV of its report."""
    steps = bench.sizes.short_steps
    run = bench.retrain(case, steps, image_dir=image_dir, what="faults")
    with (run.out / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _link(path: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(path.resolve())


def _row(figure: str, percent: float, goal: int) -> Row:
    return Row(figure, "%", percent, goal=f"{goal} %", reached=percent >= goal)
