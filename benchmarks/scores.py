"""Measures what the scores of a run, and what it foretells, are worth.

On each split the job runs on all training photographs, on half of them, and with other
seeds. Test photographs of all splits are added up.
"""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.inputs import SMALL
from benchmarks.measurements import Bench, Ours
from benchmarks.processes import run_python
from benchmarks.table import Row
from poets.head.evaluate import Accuracy

BINS = 15  # as Guo et al. (2017)
CALIBRATION_POINTS, FORETOLD_POINTS = 3.0, 2.0
OTHER_SEEDS = (1, 2)


def scores(bench: Bench) -> Iterator[Row]:
    """Yields calibration, reject threshold, learning curve and comparison of runs."""
    place = bench.work / "scores"
    shutil.rmtree(place, ignore_errors=True)
    full, foretold, equal = [], [], []
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for split_seed in range(bench.sizes.splits):
        runs = []
        for seed in (0, *OTHER_SEEDS):
            run = _retrain(bench, split_seed, extra=[f"--seed={seed}"])
            runs.append(shutil.copytree(run.out, place / f"{split_seed}_{seed}"))
            if not seed:
                full.append(run.metrics)
        found.append(_test_scores(runs[0]))
        half = _half(
            bench.inputs(SMALL).image_dir, runs[0], place / f"half_{split_seed}"
        )
        out = _retrain(bench, split_seed, image_dir=half).out
        report = json.loads((out / "report.json").read_text())
        if law := report["sections"]["more_images"]:  # a quick run has too few
            foretold.append(law["every"]["with_twice"])
        for other in runs[1:]:
            arguments = ["compare", str(runs[0]), str(other), "--json"]
            log = bench.work / "logs" / "compare.log"
            pairs = json.loads(run_python("poets", arguments, log).stdout)["pairs"]
            equal.append(not pairs[0]["is_real"])
    splits = f"{bench.sizes.splits} splits"
    points = _calibration_error(*map(np.concatenate, zip(*found, strict=True)))
    yield Row(
        f"expected calibration error on test, {splits}",
        "points",
        points,
        goal=f"at most {CALIBRATION_POINTS:g}",
        reached=points <= CALIBRATION_POINTS,
    )
    yield from _rejected(full)
    if len(foretold) == len(full):
        yield from _foretold(foretold, full)
    share = 100 * float(np.mean(equal))
    yield Row(
        f"runs that differ by seed only and are called equal, of {len(equal)}",
        "%",
        share,
        goal="95 %",
        reached=share >= 95,
    )
    shutil.rmtree(place)


def _retrain(
    bench: Bench,
    split_seed: int,
    image_dir: Path | None = None,
    extra: list[str] | None = None,
) -> Ours:
    return bench.retrain(
        SMALL,
        bench.sizes.short_steps,
        image_dir=image_dir,
        split_seed=split_seed,
        what="scores",
        extra=extra or (),
    )


def _half(image_dir: Path, run: Path, target: Path) -> Path:
    """Links half of the training photographs of a run, and all others, by split."""
    with (run / "split.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    train = [row for row in rows if row["split"] == "train"]
    for row in [*train[::2], *(row for row in rows if row["split"] != "train")]:
        link = target / row["split"] / row["path"]
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(image_dir / row["path"])
    return target


def _test_scores(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns the scores of the test photographs, and which answers are right."""
    labels = json.loads((run / "metrics.json").read_text())["labels"]
    label_of = {row["folder"]: row["label"] for row in labels}
    with (run / "split.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    right = [row["predicted_label"] == label_of[row["label"]] for row in rows]
    return np.array([float(row["score"]) for row in rows]), np.array(right)


def _calibration_error(scores: np.ndarray, right: np.ndarray) -> float:
    """Returns the expected calibration error in points."""
    places = np.minimum((scores * BINS).astype(int), BINS - 1)
    distances = [
        np.sum(places == place)
        * abs(scores[places == place].mean() - right[places == place].mean())
        for place in np.unique(places)
    ]
    return 100 * float(sum(distances)) / len(scores)


def _foretold(foretold: list[float], runs: list[dict]) -> Iterator[Row]:
    """Yields the accuracy of runs on all photographs, and that foretold from half."""
    counts = [run["accuracy"]["test"]["n"] for run in runs]
    correct = sum(run["accuracy"]["test"]["correct"] for run in runs)
    reached = 100 * correct / sum(counts)
    mean = 100 * float(np.average(foretold, weights=counts))
    yield Row("accuracy with all training photographs", "%", reached)
    yield Row(
        "  foretold from half of them",
        "%",
        mean,
        goal=f"within {FORETOLD_POINTS:g} points",
        reached=abs(mean - reached) <= FORETOLD_POINTS,
    )


def _rejected(runs: list[dict]) -> Iterator[Row]:
    """Yields the accuracy of the answers at the reject threshold of each run."""
    tests = [run["reject"]["test"] for run in runs if run["reject"]["test"]]
    n = sum(test["n"] for test in tests)
    right = sum(round((test["accuracy"] or 0) * test["n"]) for test in tests)
    low, high = Accuracy(n, right).interval_95
    wanted = runs[0]["reject"]["wanted_accuracy"]
    yield Row(
        f"accuracy of the {n:,} answers at the reject threshold",
        "%",
        100 * right / max(n, 1),
        goal=f"{100 * wanted:g} % in its interval, {100 * low:.1f} to {100 * high:.1f}",
        reached=low <= wanted <= high,
    )
    of = sum(run["accuracy"]["test"]["n"] for run in runs)
    yield Row("  share of photographs that is answered", "%", 100 * n / of)
