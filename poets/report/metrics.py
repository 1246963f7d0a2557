"""Builds the content of `metrics.json` from the results of a run."""

import contextlib
import datetime
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from poets import __version__
from poets.config import RetrainConfig
from poets.data.dataset import Dataset
from poets.data.split import SPLITS, TEST, VALIDATION, Splits
from poets.features.features import Trained
from poets.head.evaluate import accuracy_of, confusion_of, per_label
from poets.head.reject import rejection_for

PACKAGES = ("tensorflow", "ai-edge-litert", "numpy", "pyarrow", "pillow", "simplejpeg")


@dataclass(frozen=True)
class Predictions:
    """The head's predictions for all images that were used.

    Attributes:
      dataset: holds the N images.
      splits: the split of each image.
      label_indices: int [N], the true labels.
      predicted: int [N], the predicted labels.
      scores: float32 [N], the probabilities of the predicted labels.
    """

    dataset: Dataset
    splits: Splits
    label_indices: np.ndarray
    predicted: np.ndarray
    scores: np.ndarray

    def scored(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns the scores of a split's images, and bool [n]: which are right."""
        rows = np.flatnonzero(self.splits == split)
        return self.scores[rows], self.predicted[rows] == self.label_indices[rows]

    def paths(self, rows: np.ndarray) -> list[str]:
        """Returns the paths of the images at some rows."""
        return self.dataset.images.take(rows).paths.to_pylist()


def metrics_of(
    config: RetrainConfig,
    trained: Trained,
    answers: Predictions,
    exports: Mapping[str, Mapping[str, object]],
    duration_s: Mapping[str, float],
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns the content of `metrics.json`; docs/results.md describes it.

    Args:
      config, trained, answers: of the run.
      exports: file name -> entry of each export.
      duration_s: phase -> seconds.
      notes: sentences for the user, added to those on the data and the head.
    """
    dataset, features = answers.dataset, trained.features
    backbone, duplicates = features.backbone, features.duplicates
    used, skipped = len(dataset.images), len(trained.skipped)
    found = int(features.extraction.usable.sum()) + skipped
    test = answers.splits == TEST
    confusion = confusion_of(
        answers.predicted[test], answers.label_indices[test], len(dataset.labels)
    )
    scored = map(answers.scored, (VALIDATION, TEST))
    reject = rejection_for(config.wanted_accuracy, *scored)
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "poets": __version__,
        "finished": now.isoformat("T", "seconds"),
        "seed": config.seed,
        "training_steps": trained.steps,
        "model": {
            "backbone": backbone.name,
            "backbone_digest": backbone.digest,
            "image_size_px": backbone.image_size_px,
            "input_name": backbone.input_name,
            "input_mean": np.ravel(backbone.mean).tolist(),
            "input_std": np.ravel(backbone.std).tolist(),
            "bottleneck_size": backbone.bottleneck_size,
            "final_tensor_name": config.final_tensor_name,
        },
        "labels": _labels(answers),
        "images": {
            "found": found,
            "used": used,
            "skipped": found - used,
            "duplicates": duplicates.count,
        },
        "duplicates_across_labels": duplicates.to_json(),
        "split": {
            "by": "folders" if dataset.splits else "hash",
            "folders": dict(dataset.splits),
            "also_in_train": dict(duplicates.in_train),
        },
        "accuracy": {
            split: accuracy_of(
                answers.predicted[answers.splits == split],
                answers.label_indices[answers.splits == split],
            ).to_json()
            for split in reversed(SPLITS)
        },
        "per_label": per_label(dataset.labels, confusion),
        "confusion": confusion.tolist(),
        "calibration": {"temperature": trained.temperature},
        "reject": asdict(reject),
        "exports": dict(exports),
        "flags": asdict(config),
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in PACKAGES},
        },
        "workers": dict(zip(("tasks", "processes"), features.shared_by, strict=True)),
        "duration_s": dict(duration_s),
        "notes": [*dataset.notes, *trained.notes, *notes],
    }


def _version(package: str) -> str | None:
    """Returns the installed version; tensorflow-cpu counts as tensorflow."""
    for name in (package, f"{package}-cpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return None


def _labels(answers: Predictions) -> list[dict[str, Any]]:
    dataset = answers.dataset
    counts = answers.splits.counts(answers.label_indices, len(dataset.labels))
    return [
        {
            "label": label,
            "folder": folder,
            "images": sum(counts[split][index] for split in SPLITS),
            **{split: counts[split][index] for split in SPLITS},
        }
        for index, (label, folder) in enumerate(
            zip(dataset.labels, dataset.folders, strict=True)
        )
    ]
