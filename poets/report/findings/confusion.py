"""Which labels are taken for which, with the images."""

from dataclasses import dataclass

import numpy as np

from poets.data.split import TEST
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
      count: the number of these images.
      of: the number of all test images of `label`.
      paths: some of them: of mistakes the surest first, of right answers the least
        sure.
      scores: their scores, 0 to 1.
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
    codes = true.astype(np.int64) * len(labels) + predicted
    order = np.lexsort((-answers.scores[rows], codes))
    found, starts, counts = np.unique(
        codes[order], return_index=True, return_counts=True
    )
    tested = np.bincount(true, minlength=len(labels))

    def pair(place: int) -> Pair:
        index, answer = divmod(int(found[place]), len(labels))
        members = rows[order[starts[place] :][: counts[place]]]
        if index == answer:
            members = members[::-1]  # the least sure first
        chosen = members[:MAX_PATHS]
        return Pair(
            label=labels[index],
            predicted=labels[answer],
            count=int(counts[place]),
            of=int(tested[index]),
            paths=tuple(answers.dataset.images.take(chosen).paths.to_pylist()),
            scores=tuple(round(score, 5) for score in answers.scores[chosen].tolist()),
        )

    shown = _shown(true, predicted, tested)
    column = {index: place for place, index in enumerate(shown)}
    matrix = np.zeros((len(shown), len(shown)), int)
    elsewhere = np.zeros(len(shown), int)
    cells = []
    for place, code in enumerate(found.tolist()):
        index, answer = divmod(code, len(labels))
        if index in column and answer in column:
            matrix[column[index], column[answer]] = counts[place]
            cells.append(pair(place))
        elif index in column:
            elsewhere[column[index]] += counts[place]
    wrong = np.flatnonzero(found // len(labels) != found % len(labels))
    frequent = wrong[np.argsort(-counts[wrong], kind="stable")][:MAX_PAIRS]
    return Confusion(
        labels=tuple(labels[index] for index in shown),
        matrix=tuple(map(tuple, matrix.tolist())),
        elsewhere=tuple(elsewhere.tolist()),
        all_labels=len(labels),
        pairs=tuple(pair(place) for place in frequent.tolist()),
        cells=tuple(cells),
    )


def _shown(true: np.ndarray, predicted: np.ndarray, tested: np.ndarray) -> list[int]:
    """Returns the labels of the matrix: all, or those in most mistakes, ascending."""
    if len(tested) <= MAX_LABELS:
        return list(range(len(tested)))
    wrong = true != predicted
    mistakes = np.bincount(true[wrong], minlength=len(tested))
    mistakes += np.bincount(predicted[wrong], minlength=len(tested))
    return sorted(np.argsort(-mistakes, kind="stable")[:MAX_LABELS].tolist())
