"""The data that heads of one backbone are trained and scored on.

backbone ─> bottlenecks of all images ─> split ─> bottlenecks of distorted copies

Many heads share a backbone and its bottlenecks: a sweep computes them once, and the
distorted copies once for each set of distortions.
"""

import logging
from dataclasses import dataclass, replace

import numpy as np

from poets.backbones import Backbone
from poets.config import RetrainConfig
from poets.data.dataset import Dataset
from poets.data.distortions import Distortions
from poets.data.duplicates import Duplicates, find_duplicates, report_duplicates
from poets.data.split import TRAIN, Splits, check_split, split_images
from poets.errors import DatasetError
from poets.features.compute import Extraction, compute_bottlenecks
from poets.features.matrix import empty_matrix
from poets.features.near_duplicates import Copies, find_copies, report_copies
from poets.features.network import Network
from poets.features.pool import Workers
from poets.features.process import Spec
from poets.head import Head
from poets.head.examples import Examples
from poets.head.many import Evaluation
from poets.storage import scheme_of
from poets.system.progress import log_some

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Features:
    """The data that heads of one backbone are trained and scored on.

    Attributes:
      backbone: the network.
      spec: how bottlenecks are computed.
      extraction: the bottlenecks of the listed images, and the images skipped.
      dataset: its images are the N that are used.
      splits: the split of each.
      duplicates: images of the same content among them.
      every: their bottlenecks and labels.
      copies: near-duplicates among them, if they were searched for the split.
      shared_by: number of tasks that shared the pass, and of their processes.
    """

    backbone: Backbone
    spec: Spec
    extraction: Extraction
    dataset: Dataset
    splits: Splits
    duplicates: Duplicates
    every: Examples
    copies: Copies | None = None
    shared_by: tuple[int, int] = (1, 1)

    def of_split(self, split: str) -> Examples:
        """Returns the examples of one split."""
        return self.every.choose(np.flatnonzero(self.splits == split))


@dataclass(frozen=True)
class Trained:
    """A head and what it was trained on.

    Attributes:
      features: those of the backbone.
      head: the head on its bottlenecks.
      steps: the number of training steps.
      notes: sentences for `metrics.json` on how the head was made.
      temperature: that its logits are divided by; 1 if it is not calibrated.
      evaluations: the course of its training.
    """

    features: Features
    head: Head
    steps: int
    notes: tuple[str, ...] = ()
    temperature: float = 1.0
    evaluations: tuple[Evaluation, ...] = ()

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """(path, reason) of the images and other files that are left out."""
        features = self.features
        return sorted((*features.dataset.skipped, *features.extraction.skipped))


def features_of(
    config: RetrainConfig,
    dataset: Dataset,
    backbone: Backbone,
    networks: tuple[Network, ...],
    workers: Workers,
) -> Features:
    """Returns the bottlenecks of all images, and their split.

    Raises:
      PoetsError: if they cannot be computed, or cannot train a classifier.
    """
    remote = scheme_of(config.image_dir) and not dataset.packs
    witness = dataset.images.smallest().path if remote else ""
    spec = Spec(
        image_dir=config.image_dir,
        networks=networks,
        distortions=Distortions.of(config) if config.distorts else None,
        known_content=False,
        witness=witness,
        packs=dataset.packs,
        label_folders=dataset.label_folders,
    )
    extraction = compute_bottlenecks(
        dataset.images, spec, workers, verify=config.verify_bottlenecks
    )
    _report_extraction(dataset, extraction)
    used = replace(dataset, images=dataset.images.where(extraction.usable))
    index_of = {folder: index for index, folder in enumerate(used.folders)}
    names = used.images.names
    of_name = np.array([index_of.get(name, -1) for name in names], np.int32)
    every = Examples(extraction.matrix, of_name[used.images.codes])
    digests = extraction.digests
    copies, notes = None, []
    if config.group_near_duplicates:
        copies = find_copies(used, every, digests, config.split_seed, True)
        notes = report_copies(copies)
    groups = copies.groups if copies else ()
    splits = split_images(used, digests, config, groups)
    check_split(used, splits)
    duplicates = find_duplicates(used, splits, digests)
    notes += report_duplicates(duplicates, splits, bool(used.splits))
    used = replace(used, notes=(*used.notes, *notes))
    return Features(
        backbone,
        spec,
        extraction,
        used,
        splits,
        duplicates,
        every,
        copies,
        (workers.cluster.num_workers, workers.processes),
    )


def training_examples(
    config: RetrainConfig, features: Features, workers: Workers
) -> Examples:
    """Returns the training images and, if the flags ask for them, distorted copies.

    Raises:
      PoetsError: if the copies' bottlenecks cannot be computed.
    """
    rows = np.flatnonzero(features.splits == TRAIN)
    every = features.every
    if not config.distorts:
        return every.choose(rows)
    spec = replace(features.spec, distortions=Distortions.of(config))
    images = features.dataset.images.take(rows)
    copies = range(config.augmentations)
    extraction = compute_bottlenecks(images, spec, workers, copies)
    logger.info("%d bottlenecks of distorted copies created.", extraction.computed)
    copied = np.repeat(rows[extraction.usable], len(copies))
    count = len(every)
    matrix = empty_matrix(count + len(copied), every.bottlenecks.shape[1])
    matrix[:count], matrix[count:] = every.bottlenecks, extraction.matrix
    return Examples(
        matrix,
        np.concatenate([every.label_indices, every.label_indices[copied]]),
        np.concatenate([rows, np.arange(count, count + len(copied))]),
        np.concatenate([np.arange(count), copied]),
    )


def _report_extraction(dataset: Dataset, extraction: Extraction) -> None:
    logger.info("%d bottleneck files created.", extraction.computed)
    log_some(
        logger.warning,
        [f"skipped {path}: {why}" for path, why in extraction.skipped],
        "more images skipped: see skipped_images.csv",
    )
    if len(extraction.skipped) * 2 > len(dataset.images):
        path, why = extraction.skipped[0]
        raise DatasetError(
            f"{len(extraction.skipped)} of {len(dataset.images)} images in "
            f"{dataset.image_dir!r} cannot be used, first {path!r}: {why}; fix the "
            "files: at most half may be skipped"
        )
