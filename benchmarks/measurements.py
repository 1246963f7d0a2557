"""Measures the product, the baseline and the limit, each once for all sections.

Product and baseline run alternately, as separate processes, so that changes of the
machine's load affect both. "Cold" starts with an empty feature store and only the
archive in `model_dir`; "warm" repeats that run with another learning rate.
"""

import functools
import json
import logging
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.inputs import Case, Inputs, find_inputs
from benchmarks.processes import Run, run_python

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sizes:
    """The sizes of the measurements.

    Attributes:
      per_label: photographs per label; None takes all.
      short_steps, long_steps: training steps of the two kinds of run.
      repeats: repetitions of the short runs, for the median.
      memory_images: the two numbers of images for comparing memory.
      label_images: images for `poets label`.
      splits: number of splits for the accuracy.
      scale_images: images with made-up features.
      load_s: how long a server is asked for one figure.
      pass_images: small and large photographs for passes from packs.
      spark_images: the same for passes of 30 s on Spark.
      served_images, served_s: how many, and how long at most, for its memory.
    """

    per_label: int | None = None
    short_steps: int = 500
    long_steps: int = 4000
    repeats: int = 3
    memory_images: tuple[int, int] = (1_000, 20_000)
    label_images: int = 1_000
    splits: int = 5
    scale_images: int = 1_000_000
    load_s: float = 5.0
    served_images: int = 100_000
    served_s: float = 120.0
    pass_images: tuple[int, int] = (32_000, 6_000)
    spark_images: tuple[int, int] = (100_000, 24_000)


QUICK = Sizes(
    *(40, 20, 40, 1, (100, 400), 50, 2, 2_000, 1.0, 200, 5.0, (400, 100), (400, 100))
)


@dataclass(frozen=True)
class Ours:
    """A run of the product, its `metrics.json`, and the folder of its files."""

    run: Run
    metrics: dict
    out: Path

    @property
    def images(self) -> int:
        return self.metrics["images"]["used"]

    @property
    def images_per_s(self) -> float:
        return self.images / self.metrics["duration_s"]["bottlenecks"]


@dataclass(frozen=True)
class Baseline:
    """A run of the baseline and the JSON it printed."""

    run: Run
    result: dict
    bottleneck_dir: Path


@dataclass(frozen=True)
class Turns:
    """Alternate runs of the same job by the product, cold, and by the baseline."""

    ours: list[Ours]
    baseline: list[Baseline]

    @property
    def images_per_s(self) -> tuple[float, float]:
        """Medians of the bottleneck pass, ours and the baseline's."""
        return (
            statistics.median(ours.images_per_s for ours in self.ours),
            statistics.median(b.result["images_per_s"] for b in self.baseline),
        )

    @property
    def wall_s(self) -> tuple[float, float]:
        """Medians of the whole run, ours and the baseline's."""
        return median_s(self.ours), median_s(self.baseline)

    @property
    def memory_mb(self) -> tuple[float, float]:
        """Largest peaks of the sum over all processes, ours and the baseline's."""
        return (
            max(ours.run.tree_rss_mb for ours in self.ours),
            max(baseline.run.tree_rss_mb for baseline in self.baseline),
        )


def job_flags(case: Case, image_dir: Path, place: Path, steps: int) -> list[str]:
    """Returns the flags of a job with all its folders below `place`.

    Args:
      case: defines the backbone.
      image_dir: the photographs.
      place: parent of the folders, such as `models` with the archive and `out`.
      steps: training steps.
    """
    out = place / "out"
    return [
        f"--image_dir={image_dir}",
        f"--architecture={case.architecture}",
        f"--model_dir={place / 'models'}",
        f"--bottleneck_dir={place / 'bottlenecks'}",
        f"--output_graph={out / 'retrained_graph.pb'}",
        f"--output_labels={out / 'retrained_labels.txt'}",
        f"--saved_model_dir={out / 'saved_model' / '1'}",
        f"--checkpoint_path={out / 'checkpoint'}",
        f"--summaries_dir={place / 'summaries'}",
        f"--how_many_training_steps={steps}",
    ]


def median_s(runs: list[Ours] | list[Baseline]) -> float:
    """Returns the median wall-clock time of runs."""
    return statistics.median(each.run.wall_s for each in runs)


class Bench:
    """Runs and caches measurements, which several sections share.

    Args:
      sizes: the sizes of the measurements.
      work: an absolute folder for inputs, results and logs; inputs are kept.
    """

    def __init__(self, sizes: Sizes, work: Path) -> None:
        self.sizes, self.work = sizes, work
        self._logs = work / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self.inputs = functools.cache(self._inputs)
        self.limit = functools.cache(self._limit)
        self.turns = functools.cache(self._turns)
        self.warm = functools.cache(self._warm)

    def _inputs(self, case: Case) -> Inputs:
        return find_inputs(case, self.work, self.sizes.per_label)

    def _limit(self, case: Case) -> dict[str, float]:
        found = self.inputs(case)
        arguments = [f"--image_dir={found.image_dir}", f"--graph={found.graph}"]
        run = run_python("benchmarks.limits", arguments, self._log("limits", case))
        limit = json.loads(run.stdout)
        log.info("limit, %s: %.0f images/s", found.name, limit["limit_per_s"])
        return limit

    def _turns(self, case: Case, steps: int) -> Turns:
        repeats = 1 if steps == self.sizes.long_steps else self.sizes.repeats
        turns = Turns([], [])
        for _ in range(repeats):
            turns.ours.append(self.retrain(case, steps, cold=True))
            turns.baseline.append(self.baseline(case, steps))
        return turns

    def _warm(self, case: Case) -> list[Ours]:
        self.turns(case, self.sizes.short_steps)  # fills the feature store
        return [
            self.retrain(case, self.sizes.short_steps, learning_rate=0.02)
            for _ in range(self.sizes.repeats)
        ]

    def retrain(
        self,
        case: Case,
        steps: int,
        cold: bool = False,
        image_dir: Path | None = None,
        learning_rate: float = 0.01,
        split_seed: int = 0,
        fine_tune_steps: int = 0,
        what: str = "run",
        extra: Sequence[str] = (),
    ) -> Ours:
        """Runs the product.

        Args:
          case: photographs and backbone.
          steps: training steps.
          cold: whether to delete the files of earlier runs.
          image_dir: photographs that replace those of the case.
          learning_rate: a flag.
          split_seed: a flag.
          fine_tune_steps: a flag.
          what: name of the run's folder; runs with one name share a feature store.
          extra: more flags.
        """
        found = self.inputs(case)
        place = self.work / "ours" / f"{what}_{case.architecture}"
        if cold:
            shutil.rmtree(place, ignore_errors=True)
        models, out = place / "models", place / "out"
        if not models.exists():
            models.mkdir(parents=True)
            shutil.copy(found.archive, models)
        run = run_python(
            "poets",
            [
                "retrain",
                *job_flags(case, image_dir or found.image_dir, place, steps),
                f"--learning_rate={learning_rate}",
                f"--split_seed={split_seed}",
                f"--fine_tune_steps={fine_tune_steps}",
                *extra,
            ],
            self._log(f"ours_{what}", case),
        )
        start = "cold" if cold else "warm"
        log.info(
            "ours, %s, %d steps, %s: %.1f s",
            *(case.architecture, steps, start, run.wall_s),
        )
        return Ours(run, json.loads((out / "metrics.json").read_text()), out)

    def baseline(self, case: Case, steps: int, cold: bool = True) -> Baseline:
        """Runs the baseline; 0 steps only compute the bottlenecks."""
        found = self.inputs(case)
        place = self.work / "baseline" / case.architecture
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
        log.info("baseline, %s, %d steps: %.1f s", case.architecture, steps, run.wall_s)
        return Baseline(run, json.loads(run.stdout), place / "bottlenecks")

    def label(self, images: Path, graph: Path) -> Run:
        """Runs `poets label` on a file or a folder."""
        arguments = ["label", str(images), f"--model={graph}"]
        run = run_python("poets", arguments, self._logs / "label.log")
        log.info("label %s: %.1f s", images.name, run.wall_s)
        return run

    def _log(self, what: str, case: Case) -> Path:
        return self._logs / f"{what}_{case.architecture}.log"
