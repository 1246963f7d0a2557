"""Shows images that are copies of others, and how far they flatter the accuracy."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from poets.data.split import TEST, TRAIN, VALIDATION, Splits
from poets.features.near_duplicates import Copies, find_copies
from poets.report.findings import Evidence, Share
from poets.report.metrics import Predictions

MAX_GROUPS = 10_000

MOVED = 0.005
"""Difference of two accuracies that is worth a note."""


@dataclass(frozen=True)
class Copy:
    """An image of a group.

    Attributes:
      largest: whether its file is the one with the most bytes, the one to keep.
    """

    path: str
    label: str
    split: str
    largest: bool


@dataclass(frozen=True)
class CopyGroup:
    """Images that show the same picture.

    Attributes:
      copies: two or more, by path.
      same_content: whether all of them have the same bytes.
    """

    copies: tuple[Copy, ...]
    same_content: bool


@dataclass(frozen=True)
class NearDuplicates:
    """Groups of near-duplicates; leakage is a group in training and in another split.

    Attributes:
      images: number of images among which pairs were searched.
      compared: number of pairs whose pixels were compared, those with the most similar
        bottlenecks.
      left_out: number of less similar pairs that were not: with many, the groups are a
        sample of the near-duplicates.
      count: number of groups.
      groups: those that leak first, then those across labels; at most MAX_GROUPS.
      leaked: split -> its images with a near-duplicate in training.
      test: accuracy on the test images.
      test_without_leaked: the same without the leaked ones.
      advice: a sentence on what to do, if leakage moves the accuracy; else "".
    """

    images: int
    compared: int
    left_out: int
    count: int
    groups: tuple[CopyGroup, ...]
    leaked: dict[str, int]
    test: Share
    test_without_leaked: Share
    advice: str

    def csv_rows(self) -> Iterator[tuple[object, ...]]:
        """Yields the rows of `near_duplicates.csv`, the header first."""
        yield "move", "path", "group", "label", "split", "same_content"
        for number, group in enumerate(self.groups, 1):
            same = "yes" if group.same_content else "no"
            for copy in group.copies:
                move = "no" if copy.largest else "yes"
                yield move, copy.path, number, copy.label, copy.split, same


def compute(evidence: Evidence) -> NearDuplicates:
    """Returns the near-duplicates, and the accuracy with and without leaked ones.

    Raises:
      StorageError: if the pictures cannot be read.
    """
    assert evidence.trained  # as SECTIONS says
    trained, answers = evidence.trained, evidence.answers
    dataset, splits = answers.dataset, answers.splits
    copies = trained.copies or find_copies(
        dataset, trained.every, trained.digests, evidence.config.split_seed
    )
    leaked = _leaked(copies, splits)
    right = answers.predicted == answers.label_indices
    tested = splits == TEST
    clean = tested & ~leaked
    test = Share.of(int(tested.sum()), int(right[tested].sum()))
    without = Share.of(int(clean.sum()), int(right[clean].sum()))
    return NearDuplicates(
        images=copies.searched,
        compared=copies.compared,
        left_out=copies.left_out,
        count=len(copies.groups),
        groups=_groups(copies, leaked, answers, trained.digests),
        leaked={
            split: int((leaked & (splits == split)).sum())
            for split in (VALIDATION, TEST)
        },
        test=test,
        test_without_leaked=without,
        advice=_advice(test, without, bool(dataset.splits)),
    )


def _leaked(copies: Copies, splits: Splits) -> np.ndarray:
    """Returns which images are outside of training with a copy in it: bool [N]."""
    leaked = np.zeros(len(splits), bool)
    for group in copies.groups:
        outside = splits[group] != TRAIN
        if not outside.all():
            leaked[group[outside]] = True
    return leaked


def _advice(test: Share, without: Share, own_split: bool) -> str:
    if test.accuracy is None or test.n == without.n:
        return ""
    if without.accuracy is None:
        figure = "without them there is no test"
    elif abs(test.accuracy - without.accuracy) < MOVED:
        return ""
    else:
        figure = (
            f"without them the test accuracy is {without.accuracy:.1%} instead of "
            f"{test.accuracy:.1%}"
        )
    remedy = "--group_near_duplicates keeps them in one split"
    if own_split:
        remedy = "remove them from one of the folders"
    return (
        f"{test.n - without.n} of {test.n} test images have a near-duplicate in "
        f"training; {figure}: {remedy}"
    )


def _groups(
    copies: Copies, leaked: np.ndarray, answers: Predictions, digests: np.ndarray
) -> tuple[CopyGroup, ...]:
    """Returns the groups that leak, then those across labels, then the others."""
    dataset, splits, labels = answers.dataset, answers.splits, answers.label_indices

    def order(rows: np.ndarray) -> tuple[bool, bool]:
        return not leaked[rows].any(), len(np.unique(labels[rows])) == 1

    groups = []
    for rows in sorted(copies.groups, key=order)[:MAX_GROUPS]:
        largest = rows[dataset.images.lengths[rows].argmax()]
        found = tuple(
            Copy(path, dataset.labels[labels[row]], splits[row], bool(row == largest))
            for row, path in zip(rows.tolist(), answers.paths(rows), strict=True)
        )
        groups.append(CopyGroup(found, len(set(digests[rows].tolist())) == 1))
    return tuple(groups)
