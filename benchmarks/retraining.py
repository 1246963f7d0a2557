"""The figures of the retraining job: ours, the original way, the machine's limit.

    section       what
    bottlenecks   images a second of the bottleneck pass
    runs          seconds of a whole run: cold, warm, 500 and 4,000 steps; memory
    memory        peak memory at 1,000 and at 20,000 images
    label         `poets label` on one image and on 1,000
    accuracy      test accuracy over five splits, against plain SGD on raw bottlenecks

"Cold" starts with an empty feature store and a `model_dir` that holds the archive
alone; "warm" repeats that run with another learning rate. Ours and the baseline take
turns, each in a process of its own, so both see the same machine.
"""

import functools
import json
import logging
import shutil
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.accuracy import Score, plain_sgd, read_bottlenecks, read_split
from benchmarks.inputs import FULL, SMALL, Case, Inputs, find_inputs, write_many
from benchmarks.processes import Run, run_python
from benchmarks.table import Row

log = logging.getLogger(__name__)

# What the figures are to reach, by case.
TIMES_BASELINE = {SMALL: 10, FULL: 8}
SHARE_OF_LIMIT = 0.85
COLD_TIMES_BASELINE = {"short": 5, "long": 15}
WARM_S = 5.0
MEMORY_GROWTH = 1.1  # "flat" in the number of images
LABEL_ONE_S = 1.5
ACCURACY_POINTS = 5.0

SGD_RUNS = 5  # of the plain head on each split


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
      per_label: photographs of each label; None takes all.
      steps: training steps of a short and of a long run.
      repeats: turns of the short runs, of which the median counts.
      memory_images: the two sizes at which memory is compared.
      label_images: how many images `poets label` scores at once.
      split_seeds: number of splits for the accuracy.
    """

    per_label: int | None = None
    steps: tuple[int, int] = (500, 4000)
    repeats: int = 3
    memory_images: tuple[int, int] = (1_000, 20_000)
    label_images: int = 1_000
    split_seeds: int = 5


FULL_SIZES = Sizes()
QUICK_SIZES = Sizes(40, (20, 40), 1, (100, 400), 50, 2)


@dataclass(frozen=True)
class Ours:
    """A run of the product and what its `metrics.json` says."""

    run: Run
    metrics: dict
    out: Path

    @property
    def images_per_s(self) -> float:
        used = self.metrics["images"]["used"]
        return used / self.metrics["duration_s"]["bottlenecks"]


class Bench:
    """Measures each thing once, however many sections ask for it.

    Args:
      sizes: how much is measured.
      work: a folder for inputs, results and logs; inputs are kept there.
    """

    def __init__(self, sizes: Sizes, work: Path) -> None:
        self._sizes, self._work = sizes, work
        self._logs = work / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self.inputs = functools.cache(self._inputs)
        self.limit = functools.cache(self._limit)
        self.turns = functools.cache(self._turns)
        self.warm = functools.cache(self._warm)

    def _inputs(self, case: Case) -> Inputs:
        return find_inputs(case, self._work, self._sizes.per_label)

    def _limit(self, case: Case) -> dict[str, float]:
        found = self.inputs(case)
        arguments = [f"--image_dir={found.image_dir}", f"--graph={found.graph}"]
        run = run_python("benchmarks.limits", arguments, self._log("limits", case))
        limit = json.loads(run.stdout)
        log.info("limit, %s: %.0f images/s", found.name, limit["limit_per_s"])
        return limit

    def _turns(
        self, case: Case, steps: int, repeats: int
    ) -> list[tuple[Ours, Run, dict]]:
        """Runs ours cold and the baseline, in turns."""
        turns = []
        for _ in range(repeats):
            ours = self._retrain(case, steps=steps, cold=True)
            turns.append((ours, *self._baseline(case, steps)))
        return turns

    def _warm(self, case: Case) -> list[Ours]:
        steps, repeats = self._sizes.steps[0], self._sizes.repeats
        self.turns(case, steps, repeats)  # leaves the feature store full
        return [
            self._retrain(case, steps=steps, learning_rate=0.02) for _ in range(repeats)
        ]

    def _log(self, what: str, case: Case) -> Path:
        return self._logs / f"{what}_{case.architecture}.log"

    def _retrain(
        self,
        case: Case,
        steps: int,
        image_dir: Path | None = None,
        cold: bool = False,
        learning_rate: float = 0.01,
        split_seed: int = 0,
        what: str = "run",
    ) -> Ours:
        """Runs the product; its files stay in a folder named by `what`."""
        found = self.inputs(case)
        place = self._work / "ours" / f"{what}_{case.architecture}"
        if cold:
            shutil.rmtree(place, ignore_errors=True)
        models = place / "models"
        if not models.exists():
            models.mkdir(parents=True)
            shutil.copy(found.archive, models)
        out = place / "out"
        run = run_python(
            "poets",
            [
                "retrain",
                f"--image_dir={image_dir or found.image_dir}",
                f"--architecture={case.architecture}",
                f"--model_dir={models}",
                f"--bottleneck_dir={place / 'bottlenecks'}",
                f"--output_graph={out / 'retrained_graph.pb'}",
                f"--output_labels={out / 'retrained_labels.txt'}",
                f"--saved_model_dir={out / 'saved_model' / '1'}",
                f"--checkpoint_path={out / 'checkpoint'}",
                f"--summaries_dir={place / 'summaries'}",
                f"--how_many_training_steps={steps}",
                f"--learning_rate={learning_rate}",
                f"--split_seed={split_seed}",
            ],
            self._log(what, case),
        )
        metrics = json.loads((out / "metrics.json").read_text())
        temperature = "cold" if cold else "warm"
        log.info("ours, %s, %d steps, %s: %.1f s", case, steps, temperature, run.wall_s)
        return Ours(run, metrics, out)

    def _baseline(self, case: Case, steps: int, cold: bool = True) -> tuple[Run, dict]:
        found = self.inputs(case)
        place = self._work / "baseline" / case.architecture
        if cold:
            shutil.rmtree(place, ignore_errors=True)
        run = run_python(
            "benchmarks.baseline",
            [
                f"--image_dir={found.image_dir}",
                f"--graph={found.graph}",
                f"--image_size_px={case.image_size_px}",
                f"--steps={steps}",
                f"--work={place}",
            ],
            self._log("baseline", case),
        )
        log.info("baseline, %s, %d steps: %.1f s", case, steps, run.wall_s)
        return run, json.loads(run.stdout)

    def bottlenecks(self) -> Iterator[Row]:
        """Images a second of the bottleneck pass, by our own clock and from outside."""
        for case in (SMALL, FULL):
            limit = self.limit(case)["limit_per_s"]
            turns = self.turns(case, self._sizes.steps[0], self._sizes.repeats)
            ours = statistics.median(ours.images_per_s for ours, _, _ in turns)
            baseline = statistics.median(b["images_per_s"] for _, _, b in turns)
            times = TIMES_BASELINE[case]
            yield Row(
                f"bottlenecks, {self.inputs(case).name}",
                "images/s",
                ours,
                baseline,
                limit,
                f"{SHARE_OF_LIMIT:.0%} of the limit, {times} x the baseline",
                ours >= SHARE_OF_LIMIT * limit and ours >= times * baseline,
            )
            cold_s = statistics.median(ours.run.wall_s for ours, _, _ in turns)
            warm_s = statistics.median(ours.run.wall_s for ours in self.warm(case))
            used = turns[0][0].metrics["images"]["used"]
            yield Row(
                "  cold run less warm run",
                "images/s",
                used / max(cold_s - warm_s, 1e-3),
                baseline,
                limit,
            )

    def runs(self) -> Iterator[Row]:
        """Seconds and memory of whole runs."""
        for case in (SMALL, FULL):
            for i, length in enumerate(("short", "long")):
                steps = self._sizes.steps[i]
                repeats = 1 if length == "long" else self._sizes.repeats
                turns = self.turns(case, steps, repeats)
                ours_s = statistics.median(ours.run.wall_s for ours, _, _ in turns)
                base_s = statistics.median(run.wall_s for _, run, _ in turns)
                times = COLD_TIMES_BASELINE[length]
                name = self.inputs(case).name
                yield Row(
                    f"cold run, {steps} steps, {name}",
                    "s",
                    ours_s,
                    base_s,
                    goal=f"{times} x the baseline",
                    reached=base_s >= times * ours_s,
                )
                yield Row(
                    "  its peak memory",
                    "MB",
                    max(ours.run.tree_rss_mb for ours, _, _ in turns),
                    max(run.tree_rss_mb for _, run, _ in turns),
                )
            warm_s = statistics.median(ours.run.wall_s for ours in self.warm(case))
            yield Row(
                f"warm run, {self._sizes.steps[0]} steps, {name}",
                "s",
                warm_s,
                goal=f"under {WARM_S:g} s",
                reached=warm_s < WARM_S,
            )

    def memory(self) -> Iterator[Row]:
        """Peak memory of a cold run, few images and many."""
        source = self.inputs(SMALL).image_dir
        few = None
        for count in self._sizes.memory_images:
            images = write_many(source, count, self._work / f"images_{count}")
            ours = self._retrain(
                SMALL,
                steps=self._sizes.steps[0],
                image_dir=images,
                cold=True,
                what=f"memory_{count}",
            )
            few = few or ours.run.tree_rss_mb
            many = ours.run.tree_rss_mb
            flat = {} if many == few else _flat(few, many)
            yield Row(f"peak memory, {count:,} images", "MB", many, **flat)
            yield Row("  of the first process", "MB", ours.run.main_rss_mb)
            yield Row("  of its children", "MB", ours.run.children_rss_mb)
            yield Row("  bottlenecks", "images/s", ours.images_per_s)

    def label(self) -> Iterator[Row]:
        """`poets label` on one image and on many."""
        steps, repeats = self._sizes.steps[0], self._sizes.repeats
        [(ours, _, _), *_] = self.turns(SMALL, steps, repeats)
        pace = statistics.median(
            ours.images_per_s for ours, _, _ in self.turns(SMALL, steps, repeats)
        )
        ours = self.warm(SMALL)[-1]
        count = self._sizes.label_images
        source = self.inputs(SMALL).image_dir
        images = write_many(source, count, self._work / f"images_{count}")
        one_image = next(images.glob("*/*.jpg"))
        seconds = {}
        for what, target in (("one", one_image), ("many", images)):
            seconds[what] = statistics.median(
                run_python(
                    "poets",
                    ["label", target, f"--model={ours.out / 'retrained_graph.pb'}"],
                    self._log(f"label_{what}", SMALL),
                ).wall_s
                for _ in range(repeats)
            )
        yield Row(
            "label one image",
            "s",
            seconds["one"],
            goal=f"under {LABEL_ONE_S:g} s",
            reached=seconds["one"] < LABEL_ONE_S,
        )
        yield Row(f"label {count:,} images", "s", seconds["many"])
        rate = (count - 1) / max(seconds["many"] - seconds["one"], 1e-3)
        yield Row(
            "  rate, start taken off",
            "images/s",
            rate,
            limit=pace,
            goal=f"{SHARE_OF_LIMIT:.0%} of the bottleneck rate",
            reached=rate >= SHARE_OF_LIMIT * pace,
        )

    def accuracy(self) -> Iterator[Row]:
        """Test accuracy, pooled over the splits."""
        steps = self._sizes.steps[0]
        self._baseline(SMALL, 0, cold=False)  # its text files, where they are missing
        bottlenecks = read_bottlenecks(
            self._work / "baseline" / SMALL.architecture / "bottlenecks",
            SMALL.architecture,
        )
        pooled = {"ours": Score(0, 0), "plain": Score(0, 0)}
        for seed in range(self._sizes.split_seeds):
            ours = self._retrain(SMALL, steps, split_seed=seed, what="accuracy")
            test = ours.metrics["accuracy"]["test"]
            pooled["ours"] += Score(test["correct"], test["n"])
            split = read_split(ours.out / "split.csv")
            pooled["plain"] += plain_sgd(bottlenecks, split, steps, SGD_RUNS)
        points = pooled["ours"].percent - pooled["plain"].percent
        yield Row(
            f"test accuracy, {steps} steps, {self._sizes.split_seeds} splits, "
            f"N={pooled['ours'].n}",
            "%",
            pooled["ours"].percent,
            pooled["plain"].percent,
        )
        yield Row(
            "  above plain SGD",
            "points",
            points,
            goal=f"{ACCURACY_POINTS:g} points",
            reached=points >= ACCURACY_POINTS,
        )


SECTIONS = ("bottlenecks", "runs", "memory", "label", "accuracy")
