"""The job on one machine: from labelled images to a published classifier.

bottlenecks of all images ─> split ─> bottlenecks of distorted copies ─> head
    ─> evaluate ─> export ─> verify each export ─> publish all of it together
"""

import contextlib
import errno
import logging
import posixpath
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from poets.backbones import Backbone, load_backbone
from poets.backbones.graph import parse_graph
from poets.bottlenecks.compute import Extraction, compute_bottlenecks
from poets.bottlenecks.models import engine_model
from poets.bottlenecks.pool import Pool
from poets.bottlenecks.process import Spec
from poets.bottlenecks.store import store_url
from poets.config import RetrainConfig
from poets.dataset import Dataset
from poets.distortions import Distortions
from poets.errors import ConfigError, DatasetError, StorageError
from poets.evaluate import accuracy_of
from poets.export.frozen import frozen_graph
from poets.export.results import Export, build_exports
from poets.export.verify import MAX_CHECKED, Samples
from poets.head import Head
from poets.head.checkpoint import add_checkpoint
from poets.head.summaries import Summaries
from poets.head.training import Examples, train_head
from poets.images import orientation
from poets.report.metrics import Answers, metrics_of
from poets.report.run_files import metrics_json, skipped_images_csv, split_csv
from poets.split import TEST, TRAIN, VALIDATION, check_split, split_images
from poets.storage import folder_of, join, open_storage, reason
from poets.storage.claim import Claim
from poets.storage.publish import Publication, write_atomically
from poets.storage.reading import raise_outage, read_files

logger = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
"""Of a TensorFlow operation (tensorflow/core/framework/node_def_util.cc)."""


class Durations(dict[str, float]):
    """Seconds by phase, and `total` since it was made."""

    def __init__(self) -> None:
        super().__init__()
        self._started = time.monotonic()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time of its body to a phase."""
        started = time.monotonic()
        try:
            yield
        finally:
            now = time.monotonic()
            self[name] = self.get(name, 0.0) + now - started
            self["total"] = now - self._started


def retrain(config: RetrainConfig, dataset: Dataset, pool: Pool) -> None:
    """Runs the whole job and publishes its results.

    Args:
      config: the flags.
      dataset: the labelled images, as `preflight` found them.
      pool: the processes that compute bottlenecks.

    Raises:
      PoetsError: if it cannot be done; earlier results are unchanged then.
    """
    durations = Durations()
    claim = Claim(folder_of(config.output_graph))
    with _work_dir() as work_dir:
        with durations.phase("backbone"):
            backbone = load_backbone(config)
            _check_final_tensor_name(config, backbone)
            model = engine_model(config, backbone, work_dir)
        spec = Spec(
            image_dir=config.image_dir,
            store_url=store_url(config.bottleneck_dir, backbone.name, backbone.digest),
            engine=model.engine,
            model_path=model.path,
            distortions=Distortions.of(config) if config.distorts else None,
            known_content=False,
        )
        with durations.phase("bottlenecks"):
            extraction = compute_bottlenecks(
                dataset.images,
                spec,
                backbone.bottleneck_size,
                pool,
                verify=config.verify_bottlenecks,
            )
        _report_extraction(dataset, extraction)
        used = replace(
            dataset, images=tuple(dataset.images[row] for row in extraction.kept)
        )
        splits = np.array(split_images(used.images, extraction.digests, config))
        check_split(used, splits.tolist())
        index_of = {folder: index for index, folder in enumerate(used.folders)}
        label_indices = np.array(
            [index_of[image.folder] for image in used.images], np.int32
        )
        every = Examples(extraction.matrix, label_indices)
        with durations.phase("bottlenecks"):
            train = _training_examples(config, used, splits, every, spec, pool)
        with durations.phase("training"), Summaries(config.summaries_dir) as summaries:
            head, steps = train_head(
                train,
                every.choose(np.flatnonzero(splits == VALIDATION)),
                len(used.labels),
                config,
                summaries,
                lambda step, so_far: _store_intermediate(
                    config, backbone, step, so_far
                ),
            )
        probabilities = head.probabilities(every.bottlenecks)
        answers = Answers(used, splits, label_indices, probabilities)
        _report_test(config, answers)
        with durations.phase("export"):
            samples, notes = _samples(config, answers)
            exports = build_exports(
                config, backbone, head, used.labels, samples, work_dir
            )
        metrics = metrics_of(
            config=config,
            backbone=backbone,
            answers=answers,
            found=len(dataset.images),
            duplicates=len(extraction.digests) - len(set(extraction.digests)),
            exports={_name(export.url): export.to_json() for export in exports},
            duration_s=durations,
            training_steps=steps,
            notes=notes,
        )
        _publish(claim, config, exports, head, steps, answers, extraction, metrics)


@contextlib.contextmanager
def _work_dir() -> Iterator[str]:
    """Gives a temporary folder, and says so if there is no room in it."""
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
            f"{reason(error)}; make room, or name another by TMPDIR"
        ) from error


def _check_final_tensor_name(config: RetrainConfig, backbone: Backbone) -> None:
    name = config.final_tensor_name
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"--final_tensor_name={name!r} is no name of a TensorFlow operation; use "
            "letters, digits and _ . - /"
        )
    trial = Head(np.zeros((backbone.bottleneck_size, 2), "f4"), np.zeros(2, "f4"))
    graph = parse_graph(frozen_graph(backbone, trial, name), backbone.name)
    if graph.node[-1].name != name:  # TensorFlow has added "_1" to it
        raise ConfigError(
            f"--final_tensor_name={name!r}: the graph of {backbone.name} has an "
            "operation of that name; choose another"
        )


def _report_extraction(dataset: Dataset, extraction: Extraction) -> None:
    logger.info("%d bottleneck files created.", extraction.computed)
    for path, why in extraction.skipped[:20]:
        logger.warning("skipped %s: %s", path, why)
    if len(extraction.skipped) > 20:
        logger.warning(
            "%d more images skipped: see skipped_images.csv",
            len(extraction.skipped) - 20,
        )
    if len(extraction.skipped) * 2 > len(dataset.images):
        path, why = extraction.skipped[0]
        raise DatasetError(
            f"{len(extraction.skipped)} of {len(dataset.images)} images in "
            f"{dataset.image_dir!r} cannot be used, first {path!r}: {why}; more than "
            "half is no dataset: mend the files"
        )
    by_content: dict[bytes, set[str]] = {}
    for row, digest in zip(extraction.kept, extraction.digests, strict=True):
        by_content.setdefault(digest, set()).add(dataset.images[row].folder)
    contradictions = Counter(
        " and ".join(sorted(folders))
        for folders in by_content.values()
        if len(folders) > 1
    )
    for folders, count in contradictions.items():
        logger.warning("%d pictures are in %s with the same content", count, folders)


def _training_examples(
    config: RetrainConfig,
    used: Dataset,
    splits: np.ndarray,
    every: Examples,
    spec: Spec,
    pool: Pool,
) -> Examples:
    """Returns the training images and, if asked for, their distorted copies."""
    rows = np.flatnonzero(splits == TRAIN)
    if not config.distorts:
        return every.choose(rows)
    images = [used.images[row] for row in rows]
    copies = range(config.augmentations)
    size = every.bottlenecks.shape[1]
    extraction = compute_bottlenecks(images, spec, size, pool, copies)
    logger.info("%d bottlenecks of distorted copies created.", extraction.computed)
    copied = np.repeat(rows[list(extraction.kept)], len(copies))
    count = len(every)
    return Examples(
        np.concatenate([every.bottlenecks, extraction.matrix]),
        np.concatenate([every.label_indices, every.label_indices[copied]]),
        np.concatenate([rows, np.arange(count, count + len(copied))]),
    )


def _store_intermediate(
    config: RetrainConfig, backbone: Backbone, step: int, head: Head
) -> None:
    url = f"{config.intermediate_output_graphs_dir}intermediate_{step}.pb"
    logger.info("Save intermediate result to : %s", url)
    write_atomically(url, frozen_graph(backbone, head, config.final_tensor_name))


def _report_test(config: RetrainConfig, answers: Answers) -> None:
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
            path = join(config.image_dir, answers.dataset.images[row].path)
            label = answers.dataset.labels[answers.predicted[row]]
            logger.info("%70s  %s", path, label)


def _samples(config: RetrainConfig, answers: Answers) -> tuple[Samples, list[str]]:
    """Returns test images to score exports on, and what the exports cannot do."""
    rows = np.flatnonzero(answers.splits == TEST)
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MAX_CHECKED)).astype(int)]
    filesystem, root = open_storage(config.image_dir)
    wanted = [answers.dataset.images[row].path for row in rows]
    found = read_files(filesystem, [posixpath.join(root, path) for path in wanted])
    paths, contents, kept, turned = [], [], [], 0
    for row, path, data in zip(rows, wanted, found, strict=True):
        if isinstance(data, OSError):
            raise_outage(data, join(config.image_dir, path))
            continue  # it was there for its bottleneck; one sample less
        turned += orientation(data) != 1
        paths.append(path)
        contents.append(data)
        kept.append(row)
    notes = []
    if turned:
        notes.append(
            f"{turned} of {len(paths)} test images that the exports were checked on "
            "are turned by an EXIF orientation, which TensorFlow's decoder ignores: "
            "the graph and the SavedModel see them as stored when they are given the "
            "file's bytes, and were checked on the others"
        )
    return Samples(paths, contents, answers.probabilities[kept]), notes


def _publish(
    claim: Claim,
    config: RetrainConfig,
    exports: list[Export],
    head: Head,
    steps: int,
    answers: Answers,
    extraction: Extraction,
    metrics: dict[str, Any],
) -> None:
    dataset, predicted = answers.dataset, answers.predicted
    rows = (
        (
            image.path,
            image.folder,
            str(answers.splits[row]),
            dataset.labels[predicted[row]],
            float(answers.probabilities[row, predicted[row]]),
        )
        for row, image in enumerate(dataset.images)
    )
    beside = folder_of(config.output_graph)
    logger.info("Save final result to : %s", config.output_graph)
    with Publication(claim) as publication:
        for export in exports:
            export.add_to(publication)
        labels = "\n".join(dataset.labels) + "\n"
        publication.add_file(config.output_labels, labels.encode())
        if config.checkpoint_path:
            add_checkpoint(publication, config.checkpoint_path, head, steps)
        publication.add_file(join(beside, "split.csv"), split_csv(rows))
        publication.add_file(
            join(beside, "skipped_images.csv"), skipped_images_csv(extraction.skipped)
        )
        publication.add_file(join(beside, "metrics.json"), metrics_json(metrics))
        publication.commit()


def _name(url: str) -> str:
    return posixpath.basename(url.rstrip("/"))
