"""Trains the runs of a sweep, writes a file for each, and exports the best.

runs of one backbone ─> features ─> of the same training images ─> chunks
                                                                     │
runs/NAME.json <──────────────── trained <───────────────────────────┘
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

from poets.backbones import load_backbone
from poets.data.dataset import Dataset
from poets.errors import ModelError, PoetsError
from poets.export.frozen import check_final_tensor_name
from poets.features.features import Features, Trained, features_of, training_examples
from poets.features.models import networks_of
from poets.features.pool import Workers
from poets.head.examples import Examples
from poets.retraining import Durations, publish
from poets.storage.publish_lock import PublishLock
from poets.sweeps.plan import Combination, Sweep
from poets.sweeps.results import Result, load_results, save_result
from poets.sweeps.training import (
    TrainedRun,
    chunks_of,
    copies_key,
    grouped,
    keys_of,
    train_chunk,
)
from poets.system.progress import track

logger = logging.getLogger(__name__)


class SweepRunner:
    """Trains combinations, with the features of one backbone at a time in memory."""

    def __init__(
        self, sweep: Sweep, dataset: Dataset, workers: Workers, work_dir: str
    ) -> None:
        self._sweep, self._dataset, self._workers = sweep, dataset, workers
        self._work_dir = work_dir
        self._durations = Durations()
        self._places = {run.name: place for place, run in enumerate(sweep.runs)}
        self._features: Features | None = None
        self._features_key: object = None
        self._best: TrainedRun | None = None

    def finish(self, runs: Sequence[Combination]) -> dict[str, Result]:
        """Trains the runs that have no valid result file yet, and writes their files.

        Returns:
          Name -> result, of all runs.

        Raises:
          PoetsError: if a storage fails, or the images cannot train a classifier. A
            backbone that cannot be loaded fails only its own runs.
        """
        earlier = load_results(self._sweep.output_dir, (run.name for run in runs))
        results: dict[str, Result] = {}
        with track(len(runs), "sweep", "combinations") as advance:
            for alike in grouped(runs, attrgetter("backbone_key")):
                for found in self._finish_alike(alike, earlier):
                    results |= {result.name: result for result in found}
                    advance(len(found))
        return results

    def _finish_alike(
        self, runs: list[Combination], earlier: Mapping[str, Result]
    ) -> Iterator[list[Result]]:
        """Yields the results of one backbone's runs, as they are finished."""
        try:
            features = self._features_of(runs[0])
        except _BackboneError as error:
            logger.warning("%d combinations failed: %s", len(runs), error)
            yield [
                Result(run.name, flags=run.chosen, failure=str(error)) for run in runs
            ]
            return
        keys = keys_of(runs, features)
        known = [
            earlier[name]
            for name, key in keys.items()
            if name in earlier and earlier[name].key == key
        ]
        if known:
            logger.info("%d combinations are finished already", len(known))
            yield known
        done = {result.name for result in known}
        missing = [run for run in runs if run.name not in done]
        with self._durations.phase("training"):
            for same in grouped(missing, copies_key):  # frees the copies of the last
                examples = training_examples(same[0].config, features, self._workers)
                for chunk in chunks_of(same, features):
                    yield self._train(chunk, examples, features, keys)

    def _train(
        self,
        runs: Sequence[Combination],
        examples: Examples,
        features: Features,
        keys: Mapping[str, str],
    ) -> list[Result]:
        """Trains runs with the same training images together; writes their files."""
        results = []
        for trained in train_chunk(runs, examples, features):
            result = replace(trained.result, key=keys[trained.run.name])
            save_result(self._sweep.output_dir, result)
            _log(result)
            results.append(result)
            if trained.outcome.head:  # kept if it is the best so far
                self._best = min(filter(None, (self._best, trained)), key=self._rank)
        return results

    def publish(
        self, best: Combination, total: int, lock: PublishLock
    ) -> dict[str, Any]:
        """Publishes a run's classifier; trains it again if another process trained it.

        Returns:
          The content of its `metrics.json`.

        Raises:
          PoetsError: if publishing fails; earlier results are then unchanged.
        """
        features = self._features_of(best)
        trained = self._best
        if trained is None or trained.run is not best:
            train = training_examples(best.config, features, self._workers)
            (trained,) = train_chunk([best], train, features)
        outcome = trained.outcome
        if outcome.head is None:
            raise ModelError(f"{best.name}: {trained.result.failure}")
        note = (
            f"{best.name}, chosen of {total:,} combinations by its validation "
            "accuracy, which is therefore slightly too high; the test images had no "
            "part in the choice"
        )
        published = Trained(
            features,
            outcome.head,
            outcome.steps,
            notes=(note,),
            evaluations=outcome.evaluations,
        )
        return publish(best.config, published, lock, self._work_dir, self._durations)

    def _features_of(self, run: Combination) -> Features:
        """Returns the features of a run's backbone; frees those of another."""
        if self._features is None or self._features_key != run.backbone_key:
            self._features = None
            config = run.config
            with self._durations.phase("backbone"):
                try:
                    backbone = load_backbone(config)
                    check_final_tensor_name(config.final_tensor_name, backbone)
                    networks = networks_of(config, backbone, self._work_dir)
                except PoetsError as error:
                    raise _BackboneError(str(error)) from error
            with self._durations.phase("bottlenecks"):
                self._features = features_of(
                    config, self._dataset, backbone, networks, self._workers
                )
            self._features_key = run.backbone_key
        return self._features

    def _rank(self, trained: TrainedRun) -> tuple[tuple[bool, float], int]:
        return trained.result.rank, self._places[trained.run.name]


class _BackboneError(PoetsError):
    """A backbone cannot be loaded."""


def _log(result: Result) -> None:
    if result.failure:
        logger.warning("%s failed: %s", result.name, result.failure)
        return
    logger.info(
        "%s: Validation accuracy = %.1f%% (N=%d), %d steps",
        result.name,
        result.validation.share * 100,
        result.validation.n,
        result.steps,
    )
