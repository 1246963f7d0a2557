"""The sweep: each backbone's combinations, then the best of all published.

    chief    bottlenecks ─> heads ─> runs/NAME.json ─> best ─> published
               │ shared      │ shared     ▲
    others     └─────────────┴────────────┘

A worker alone is a chief without others.
"""

import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from poets.bottlenecks.crew import Crew
from poets.bottlenecks.follower import Activity, Call
from poets.bottlenecks.pool import Pool
from poets.dataset import Dataset, find_images
from poets.errors import ModelError, PoetsError, together
from poets.features import (
    Features,
    features_of,
    load_checked,
    training_examples,
)
from poets.head.examples import Examples
from poets.progress import track
from poets.retrain import Durations, publish, temporary_folder
from poets.storage import folder_of, join
from poets.storage.claim import Claim
from poets.storage.publish import Publication, check_writable, write_atomically
from poets.sweep.plan import Run, Sweep
from poets.sweep.plot import can_plot, sweep_png
from poets.sweep.report import best_of, sweep_csv, sweep_json
from poets.sweep.results import Result, keep, kept
from poets.sweep.sharing import HEADS, HeadPlan, follow, lead
from poets.sweep.training import (
    Trained,
    chunks_of,
    data_digest,
    key_of,
    of_same_images,
    train_chunk,
)

logger = logging.getLogger(__name__)


def run_sweep(sweep: Sweep, dataset: Dataset, pool: Pool | Crew) -> dict[str, Result]:
    """Trains all combinations and publishes the best; the chief's part.

    Args:
      sweep: what is to be done.
      dataset: the labelled images, as `preflight` found them.
      pool: the processes that compute bottlenecks, here or of all workers.

    Returns:
      Name -> result of every run.

    Raises:
      PoetsError: if it cannot be done, or no combination could be trained; what is
        finished is kept.
    """
    check_writable(join(sweep.output_dir, "runs"))
    claim = Claim(folder_of(sweep.base.output_graph))
    with temporary_folder() as work_dir:
        workshop = Workshop(sweep, dataset, pool, work_dir)
        results = workshop.finish(sweep.runs)
        _write_tables(sweep, results)
        best = best_of(sweep, results)
        if best is None:
            reasons = dict.fromkeys(result.failure for result in results.values())
            raise ModelError(together("no combination could be trained", [*reasons]))
        metrics = workshop.publish(best, len(results), claim)
    test = metrics["accuracy"]["test"]
    write_atomically(
        join(sweep.output_dir, "sweep.json"), sweep_json(sweep, results, test)
    )
    return results


def activities(sweep: Sweep, pool: Pool) -> dict[str, Activity]:
    """Returns what the chief of a sweep may ask another worker for.

    Args:
      sweep: the same as the chief's.
      pool: this worker's processes.
    """

    @functools.cache
    def workshop(work_dir: str) -> Workshop:
        dataset = find_images(sweep.base.image_dir)
        return Workshop(sweep, dataset, pool, work_dir)

    return {HEADS: lambda call: workshop(call.work_dir).take_part(call)}


class Workshop:
    """Trains combinations, with the features of one backbone at a time in memory."""

    def __init__(
        self, sweep: Sweep, dataset: Dataset, pool: Pool | Crew, work_dir: str
    ) -> None:
        self._sweep, self._dataset, self._pool = sweep, dataset, pool
        self._work_dir = work_dir
        self._durations = Durations()
        self._places = {run.name: place for place, run in enumerate(sweep.runs)}
        self._features: Features | None = None
        self._features_key: object = None
        self._best: Trained | None = None

    def finish(self, runs: Sequence[Run]) -> dict[str, Result]:
        """Sees to it that each of some runs has its file; those that have are kept.

        Returns:
          Name -> result.

        Raises:
          PoetsError: if a storage fails or the images cannot train a classifier; a
            backbone that cannot be had is a failure of its runs alone.
        """
        earlier = kept(self._sweep.output_dir, (run.name for run in runs))
        results: dict[str, Result] = {}
        groups: dict[object, list[Run]] = {}
        for run in runs:
            groups.setdefault(run.backbone_key, []).append(run)
        with track(len(runs), "sweep", "combinations") as advance:
            for alike in groups.values():
                for found in self._finish_alike(alike, earlier):
                    results |= {result.name: result for result in found}
                    advance(len(found))
        return results

    def _finish_alike(
        self, runs: list[Run], earlier: Mapping[str, Result]
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
        data = data_digest(features)
        keys = {run.name: key_of(run, features, data) for run in runs}
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
            for same in of_same_images(missing):  # each lets its copies go
                yield from self._finish_same(same, features, data, keys)

    def _finish_same(
        self, runs: list[Run], features: Features, data: str, keys: Mapping[str, str]
    ) -> Iterator[list[Result]]:
        """Yields the results of runs of the same training images."""
        train = training_examples(runs[0].config, features, self._pool)
        chunks = chunks_of(runs, features, self._pool.cluster.num_workers)
        if isinstance(self._pool, Crew) and len(chunks) > 1:
            by_others = {run.name for run in runs}
            make = functools.partial(self._train, train, features, keys)
            for results in lead(self._pool, data, chunks, make):
                by_others -= {result.name for result in results}
                yield results
            found = kept(self._sweep.output_dir, by_others)
            found = {name: it for name, it in found.items() if it.key == keys[name]}
            yield list(found.values())
            if lost := [run for run in runs if run.name in by_others - found.keys()]:
                logger.warning(
                    "%d combinations that other workers trained have no file in %r: "
                    "they are trained again; see whether it is one folder for all",
                    *(len(lost), self._sweep.output_dir),
                )
            chunks = chunks_of(lost, features, 1)
        for chunk in chunks:
            yield self._train(train, features, keys, chunk)

    def _train(
        self,
        train: Examples,
        features: Features,
        keys: Mapping[str, str],
        runs: Sequence[Run],
    ) -> list[Result]:
        """Trains runs together and keeps their files."""
        results = []
        for trained in train_chunk(runs, train, features):
            result = replace(trained.result, key=keys[trained.run.name])
            keep(self._sweep.output_dir, result)
            _tell(result)
            results.append(result)
            self._remember(trained)
        return results

    def take_part(self, call: Call) -> None:
        """Trains what the chief asks for; another worker's part.

        Raises:
          PoetsError: if this worker cannot train or store, or the chief has failed.
        """
        plan = HeadPlan.read(call.member.board, call.which, self._sweep.runs)
        if plan is None:
            return
        runs = plan.runs
        try:
            features = self._features_of(runs[0], verify=False)
        except _BackboneError as error:
            logger.warning("%d combinations left to others: %s", len(runs), error)
            return
        if data_digest(features) != plan.data:
            logger.warning(
                "%d combinations left to others: the images in %r were changed",
                *(len(runs), self._sweep.base.image_dir),
            )
            return
        train = training_examples(runs[0].config, features, self._pool)
        keys = {run.name: key_of(run, features, plan.data) for run in runs}
        follow(call, plan, functools.partial(self._train, train, features, keys))

    def publish(self, best: Run, total: int, claim: Claim) -> dict[str, Any]:
        """Publishes a run's classifier, trained again if it was so by another process.

        Returns:
          The content of its `metrics.json`.

        Raises:
          PoetsError: if it cannot be done; earlier results are unchanged then.
        """
        features = self._features_of(best)
        trained = self._best
        if trained is None or trained.run is not best:
            train = training_examples(best.config, features, self._pool)
            (trained,) = train_chunk([best], train, features)
        if trained.head is None:
            raise ModelError(f"{best.name}: {trained.result.failure}")
        note = (
            f"{best.name}, chosen of {total:,} combinations by its validation "
            "accuracy, which flatters it a little; the test images had no part in it"
        )
        return publish(
            best.config,
            features,
            trained.head,
            trained.result.steps,
            claim,
            self._work_dir,
            self._durations,
            [note],
        )

    def _features_of(self, run: Run, verify: bool = True) -> Features:
        """Returns the features of a run's backbone; those of another are let go."""
        if self._features is None or self._features_key != run.backbone_key:
            self._features = None
            config = replace(
                run.config,
                verify_bottlenecks=verify and run.config.verify_bottlenecks,
            )
            with self._durations.phase("backbone"):
                try:
                    loaded = load_checked(config, self._work_dir)
                except PoetsError as error:
                    raise _BackboneError(str(error)) from error
            with self._durations.phase("bottlenecks"):
                self._features = features_of(config, self._dataset, *loaded, self._pool)
            self._features_key = run.backbone_key
        return self._features

    def _remember(self, trained: Trained) -> None:
        """Keeps the head if it is the best so far."""
        if trained.head and (
            self._best is None or self._rank(trained) < self._rank(self._best)
        ):
            self._best = trained

    def _rank(self, trained: Trained) -> tuple[float, int]:
        return -trained.result.validation.share, self._places[trained.run.name]


class _BackboneError(PoetsError):
    """A backbone cannot be had."""


def _tell(result: Result) -> None:
    if result.failure:
        logger.warning("%s failed: %s", result.name, result.failure)
        return
    logger.info(
        "%s: Validation accuracy = %.1f%% (N=%d), %d steps",
        *(result.name, result.validation.share * 100, result.validation.n),
        result.steps,
    )


def _write_tables(sweep: Sweep, results: Mapping[str, Result]) -> None:
    with Publication() as publication:
        for name, data in (
            ("sweep.csv", sweep_csv(sweep, results)),
            ("sweep.json", sweep_json(sweep, results)),
        ):
            publication.add_file(join(sweep.output_dir, name), data)
        if can_plot():
            png = sweep_png(sweep, results)
            publication.add_file(join(sweep.output_dir, "sweep.png"), png)
        else:
            logger.info(
                "no sweep.png: matplotlib is not installed; pip install 'poets[plot]'"
            )
        publication.commit()
