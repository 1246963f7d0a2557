"""The retraining job, from labelled images to a published classifier.

bottlenecks of all images ─> split ─> bottlenecks of distorted copies ─> head
    ─> fine-tune, if asked for ─> calibrate ─> evaluate ─> export
    ─> verify each export ─> publish all of it together
"""

import contextlib
import errno
import logging
import posixpath
import tempfile
import time
from collections.abc import Iterator, Mapping, Set
from dataclasses import replace
from typing import Any

import numpy as np

from poets.backbones import Backbone, load_backbone
from poets.config import RetrainConfig
from poets.data.dataset import Dataset
from poets.data.image_files import ImageError
from poets.data.images import orientation
from poets.data.split import TEST, VALIDATION
from poets.errors import StorageError
from poets.export import TrainedModel
from poets.export.frozen import check_final_tensor_name, frozen_graph
from poets.export.results import Export, build_exports
from poets.export.verify import MAX_CHECKED, Samples
from poets.features.features import Features, Trained, features_of, training_examples
from poets.features.models import networks_of
from poets.features.pool import Workers
from poets.fine_tuning.tune import fine_tune, plan
from poets.head import Head
from poets.head.calibration import temperature_of
from poets.head.checkpoint import add_checkpoint
from poets.head.evaluate import accuracy_of
from poets.head.summaries import Summaries
from poets.head.training import train_head
from poets.report import METRICS, REPORT, SKIPPED, SPLIT
from poets.report.build import build_report, report_names
from poets.report.findings import Evidence, TrainedHead
from poets.report.labels import names_in
from poets.report.metrics import Predictions, metrics_of
from poets.report.run_files import metrics_json, skipped_images_csv, split_csv
from poets.storage import folder_of, join, open_storage, reason
from poets.storage.publish import Publication, write_atomically
from poets.storage.publish_lock import PublishLock
from poets.storage.reading import KEPT, raise_outage, require_readable

logger = logging.getLogger(__name__)


class Durations(dict[str, float]):
    """Seconds by phase; `total` is the time since construction."""

    def __init__(self) -> None:
        super().__init__()
        self._started = time.monotonic()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the run time of the `with` body to a phase."""
        started = time.monotonic()
        try:
            yield
        finally:
            now = time.monotonic()
            self[name] = self.get(name, 0.0) + now - started
            self["total"] = now - self._started

    def rounded(self) -> dict[str, float]:
        """Returns the entry for `metrics.json`."""
        return {name: round(value, 3) for name, value in self.items()}


def retrain(config: RetrainConfig, dataset: Dataset, workers: Workers) -> None:
    """Runs the whole job on the images that `preflight` found; publishes its results.

    Raises:
      PoetsError: if the job fails; earlier results stay unchanged.
    """
    durations = Durations()
    lock = PublishLock(folder_of(config.output_graph))
    with temporary_folder() as work_dir:
        with durations.phase("backbone"):
            backbone = load_backbone(config)
            check_final_tensor_name(config.final_tensor_name, backbone)
            networks = networks_of(config, backbone, work_dir)
            cut = plan(config, backbone, len(dataset.images))
        with durations.phase("bottlenecks"):
            features = features_of(config, dataset, backbone, networks, workers)
            train = training_examples(config, features, workers)
        with durations.phase("training"), Summaries(config.summaries_dir) as summaries:
            head, steps, evaluations = train_head(
                train,
                features.of_split(VALIDATION),
                len(features.dataset.labels),
                config,
                summaries,
                lambda step, so_far: store_intermediate(config, backbone, step, so_far),
            )
        trained = Trained(features, head, steps, evaluations=evaluations)
        if cut:
            with durations.phase("fine_tuning"):
                trained = fine_tune(config, cut, trained, train, workers, work_dir)
        del train  # with distortions a second matrix; else 7 bytes an image
        publish(config, trained, lock, work_dir, durations)


@contextlib.contextmanager
def temporary_folder() -> Iterator[str]:
    """Gives a temporary folder; raises StorageError if its disk is full."""
    try:
        with tempfile.TemporaryDirectory(prefix="poets-") as work_dir:
            yield work_dir
    except StorageError:
        raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise StorageError(
            f"cannot write to the temporary folder {tempfile.gettempdir()!r}: "
            f"{reason(error)}; free some space, or set TMPDIR to another folder"
        ) from error


def store_intermediate(
    config: RetrainConfig, backbone: Backbone, step: int, head: Head
) -> None:
    """Writes the graph of an unfinished head; raises StorageError if it cannot."""
    url = f"{config.intermediate_output_graphs_dir}intermediate_{step}.pb"
    logger.info("Save intermediate result to : %s", url)
    model = TrainedModel(backbone, head, config.final_tensor_name)
    write_atomically(url, frozen_graph(model))


def publish(
    config: RetrainConfig,
    trained: Trained,
    lock: PublishLock,
    work_dir: str,
    durations: Durations,
) -> dict[str, Any]:
    """Calibrates and tests a head, exports it, checks the exports, publishes them all.

    Args:
      config: where to write, and under which names.
      trained: the head.
      lock: the publish lock, taken when the job started.
      work_dir: local folder that exists until the run ends.
      durations: gets the phases `export` and `report`.

    Returns:
      The content of `metrics.json`.

    Raises:
      PoetsError: if a step fails; earlier results stay unchanged.
    """
    if config.calibrate:
        trained = _calibrated(trained)
    features, head = trained.features, trained.head
    answers = Predictions(
        features.dataset,
        features.splits,
        features.every.label_indices,
        *head.answers(features.every.bottlenecks),
    )
    _report_test(config, answers)
    with durations.phase("export"):
        samples, notes = _samples(config, features, head)
        labels = features.dataset.labels
        model = TrainedModel(features.backbone, head, config.final_tensor_name, labels)
        exports = build_exports(config, model, samples, work_dir)
    shown = {
        posixpath.basename(export.url.rstrip("/")): export.to_json()
        for export in exports
    }
    metrics = metrics_of(config, trained, answers, shown, durations.rounded(), notes)
    report: Mapping[str, bytes] = {}
    if config.report:
        with durations.phase("report"):
            trained_head = TrainedHead(
                head,
                trained.temperature,
                features.every,
                features.extraction.digests,
                features.copies,
                trained.evaluations,
            )
            evidence = Evidence(config, metrics, answers, trained.skipped, trained_head)
            report, missing = build_report(evidence)
        metrics["duration_s"] = durations.rounded()
        metrics["notes"] += missing
    _publish(lock, config, trained, exports, answers, metrics, report)
    return metrics


def _calibrated(trained: Trained) -> Trained:
    validation = trained.features.of_split(VALIDATION)
    temperature = temperature_of(trained.head, validation)
    logger.info("scores calibrated on validation: temperature %g", temperature)
    head = trained.head.with_temperature(temperature)
    return replace(trained, head=head, temperature=temperature)


def _report_test(config: RetrainConfig, answers: Predictions) -> None:
    rows = np.flatnonzero(answers.splits == TEST)
    if 0 < config.test_batch_size < len(rows):
        random = np.random.default_rng([config.seed, 3])
        rows = np.sort(random.choice(rows, config.test_batch_size, replace=False))
    predicted, true = answers.predicted[rows], answers.label_indices[rows]
    test = accuracy_of(predicted, true)
    logger.info("Final test accuracy = %.1f%% (N=%d)", test.share * 100, test.n)
    low, high = test.interval_95
    logger.info("with 95 %% confidence %.1f%% to %.1f%%", low * 100, high * 100)
    if config.print_misclassified_test_images:
        logger.info("=== MISCLASSIFIED TEST IMAGES ===")
        for row in rows[predicted != true]:
            path = answers.dataset.source.url(answers.dataset.images[int(row)].path)
            label = answers.dataset.labels[answers.predicted[row]]
            logger.info("%70s  %s", path, label)


def _samples(
    config: RetrainConfig, features: Features, head: Head
) -> tuple[Samples, list[str]]:
    """Returns test images to score exports on, and notes on the exports' limits."""
    rows = np.flatnonzero(features.splits == TEST)
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MAX_CHECKED)).astype(int)]
    wanted = list(features.dataset.images.take(rows))
    found = features.dataset.source.read(wanted)
    paths, contents, kept, turned = [], [], [], 0
    for row, (path, *_), data in zip(rows, wanted, found, strict=True):
        if isinstance(data, ImageError):
            continue  # damaged since then
        if isinstance(data, OSError):
            raise_outage(data, features.dataset.source.url(path))
            continue  # deleted since its bottleneck was computed; check without it
        turned += orientation(data) != 1
        paths.append(path)
        contents.append(data)
        kept.append(row)
    if len(paths) < len(wanted) and not features.dataset.packs:
        witness = features.dataset.source.file(paths[-1]) if paths else ""
        require_readable(config.image_dir, witness)
    if wanted and not paths:
        raise StorageError(
            f"cannot check the exports: none of {len(wanted)} test images in "
            f"{config.image_dir!r} can be read now; {KEPT}"
        )
    notes = []
    if turned:
        notes.append(
            f"{turned} of {len(paths)} test images for checking the exports are "
            "rotated by an EXIF orientation, which TensorFlow's decoder ignores: the "
            "graph and the SavedModel read such files unrotated, and were checked on "
            "the others"
        )
    expected = head.probabilities(features.every.bottlenecks[kept])
    return Samples(paths, contents, expected), notes


def _publish(
    lock: PublishLock,
    config: RetrainConfig,
    trained: Trained,
    exports: list[Export],
    answers: Predictions,
    metrics: dict[str, Any],
    report: Mapping[str, bytes],
) -> None:
    dataset, predicted = answers.dataset, answers.predicted
    rows = (
        (
            image.path,
            image.folder,
            answers.splits[row],
            dataset.labels[predicted[row]],
            float(answers.scores[row]),
        )
        for row, image in enumerate(dataset.images)
    )
    beside = folder_of(config.output_graph)
    logger.info("Save final result to : %s", config.output_graph)
    with Publication(lock) as publication:
        for export in exports:
            export.add_to(publication)
        labels = "\n".join(dataset.labels) + "\n"
        publication.add_file(config.output_labels, labels.encode())
        if config.checkpoint_path:
            add_checkpoint(
                publication, config.checkpoint_path, trained.head, trained.steps
            )
        publication.add_file(join(beside, SPLIT), split_csv(rows))
        publication.add_file(join(beside, SKIPPED), skipped_images_csv(trained.skipped))
        for name, content in report.items():
            publication.add_file(join(beside, name), content)
        publication.add_file(join(beside, METRICS), metrics_json(metrics))
        publication.commit()
    if REPORT in report:
        logger.info("Report of the run : %s", join(beside, REPORT))
    _remove_earlier(beside, report_names() - set(report))


def _remove_earlier(folder_url: str, names: Set[str]) -> None:
    """Removes files of a report that an earlier run has left, as far as possible."""
    with contextlib.suppress(OSError):
        filesystem, folder = open_storage(folder_url)
        for name in names & set(names_in(folder_url)):
            filesystem.delete_file(posixpath.join(folder, name))
