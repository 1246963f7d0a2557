"""Finds pictures that are in the dataset more than once, and reports harmful ones.

The same picture under two labels teaches nothing. A picture in both the training and
the test images makes the accuracy too high: the split by hash keeps equal contents
together, a user's own split may not.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from poets.data.dataset import Dataset
from poets.data.split import TEST, TRAIN, VALIDATION, Splits, same_content
from poets.system.progress import log_some

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Duplicates:
    """The duplicates among N images.

    Attributes:
      count: images with the content of an earlier image.
      across_labels: folders of labels -> number of contents that are in all of them,
        the most frequent first.
      in_train: "validation", "test" -> its images with the content of a training image.
    """

    count: int
    across_labels: Mapping[tuple[str, ...], int]
    in_train: Mapping[str, int]

    def to_json(self) -> list[dict[str, Any]]:
        """Returns the entry for `metrics.json`: contents under several labels."""
        return [
            {"folders": list(folders), "contents": count}
            for folders, count in self.across_labels.items()
        ]


def find_duplicates(
    dataset: Dataset, splits: Splits, digests: np.ndarray
) -> Duplicates:
    """Returns the duplicates among N images, by their content digests, bytes [N]."""
    images = dataset.images
    count, across, in_train = 0, Counter[tuple[str, ...]](), Counter[str]()
    for twins in same_content(digests):
        count += len(twins) - 1
        labels = {images.names[code] for code in images.codes[twins].tolist()}
        if len(labels) > 1:
            across[tuple(sorted(labels))] += 1
        uses = splits[twins].tolist()
        if TRAIN in uses:
            in_train.update(uses)
    return Duplicates(
        count,
        dict(across.most_common()),
        {split: in_train[split] for split in (VALIDATION, TEST)},
    )


def report_duplicates(
    duplicates: Duplicates, splits: Splits, own_split: bool
) -> list[str]:
    """Logs warnings on duplicates, and returns sentences for `metrics.json`.

    Those are about a split of the user's own, which stays unchanged.
    """
    lines = [
        f"{count} pictures are in {' and '.join(folders)} with the same content"
        for folders, count in duplicates.across_labels.items()
    ]
    others = "more groups of labels have pictures of the same content: see metrics.json"
    log_some(logger.warning, lines, others)
    notes = [
        f"{count} of {int((splits == split).sum())} {split} images are training "
        f"images, too: the {split} accuracy is too high; remove them from one of the "
        "folders"
        for split, count in duplicates.in_train.items()
        if count and own_split
    ]
    for note in notes:
        logger.warning("%s", note)
    return notes
