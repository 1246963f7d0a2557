"""Which labels are taken for which, with the images."""

from dataclasses import dataclass

import numpy as np

from poets.data.split import TEST
from poets.head.evaluate import confusion_of
from poets.report.findings import Evidence

MAX_LABELS = 20
"""A larger matrix fits no page: of more labels, those with most mistakes are shown."""

MAX_PAIRS = 200
MAX_PATHS = 24
"""Paths kept of a cell; `mistakes.csv` has all."""


@dataclass(frozen=True)
class Pair:
    """Test images of one label that were given another, or their own.

    Attributes:
      count, of: numbers of these images, and of all test images of `label`.
      paths, scores: some of them with their scores, 0 to 1: of mistakes the surest
        first, of right answers the least sure.
    """

    label: str
    predicted: str
    count: int
    of: int
    paths: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix of the test images.

    Attributes:
      labels: the labels of `matrix`: all, or those with most mistakes.
      matrix: row by true label, column by answer; numbers of test images.
      elsewhere: of each row, the images with an answer that has no column.
      all_labels: number of labels of the run.
      pairs: the most frequent mistakes of all labels, the most frequent first.
      cells: the cells of `matrix` that are not zero, by row and column.
    """

    labels: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]
    elsewhere: tuple[int, ...]
    all_labels: int
    pairs: tuple[Pair, ...]
    cells: tuple[Pair, ...]


def compute(evidence: Evidence) -> Confusion | None:
    """Returns the confusion matrix; None without test images."""
    answers = evidence.answers
    labels = answers.dataset.labels
    rows = np.flatnonzero(answers.splits == TEST)
    if not len(rows):
        return None
    true, predicted = answers.label_indices[rows], answers.predicted[rows]
    counts = confusion_of(predicted, true, len(labels))
    codes = true.astype(np.int64) * len(labels) + predicted
    order = np.lexsort((-answers.scores[rows], codes))
    rows, codes = rows[order], codes[order]

    def pair(index: int, answer: int) -> Pair:
        code = index * len(labels) + answer
        first, last = np.searchsorted(codes, [code, code + 1])
        members = rows[first:last]
        if index == answer:
            members = members[::-1]  # the least sure first
        chosen = members[:MAX_PATHS]
        return Pair(
            label=labels[index],
            predicted=labels[answer],
            count=len(members),
            of=int(counts[index].sum()),
            paths=tuple(answers.paths(chosen)),
            scores=tuple(round(score, 5) for score in answers.scores[chosen].tolist()),
        )

    shown = _shown(counts)
    matrix = counts[np.ix_(shown, shown)]
    found = np.argwhere(counts)
    wrong = found[found[:, 0] != found[:, 1]]
    frequent = wrong[np.argsort(-counts[tuple(wrong.T)], kind="stable")][:MAX_PAIRS]
    return Confusion(
        labels=tuple(labels[index] for index in shown),
        matrix=tuple(map(tuple, matrix.tolist())),
        elsewhere=tuple((counts[shown].sum(axis=1) - matrix.sum(axis=1)).tolist()),
        all_labels=len(labels),
        pairs=tuple(pair(*places) for places in frequent.tolist()),
        cells=tuple(pair(shown[i], shown[j]) for i, j in np.argwhere(matrix).tolist()),
    )


def _shown(counts: np.ndarray) -> list[int]:
    """Returns the labels of the matrix: all, or those in most mistakes, ascending."""
    if len(counts) <= MAX_LABELS:
        return list(range(len(counts)))
    mistakes = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    return sorted(np.argsort(-mistakes, kind="stable")[:MAX_LABELS].tolist())
