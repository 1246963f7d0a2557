"""The test images that are classified wrongly, the surest mistakes first."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from poets.data.split import TEST
from poets.report.findings import Evidence

MOST_FOUND = 100_000


@dataclass(frozen=True)
class Mistake:
    """A test image that got a wrong label.

    Attributes:
      score: of the predicted label, 0 to 1.
      label_score: of the true label; None if that is not known.
    """

    path: str
    label: str
    predicted: str
    score: float
    label_score: float | None


@dataclass(frozen=True)
class Mistakes:
    """The surest of `count` mistakes on test `images`, at most MOST_FOUND."""

    images: int
    count: int
    found: tuple[Mistake, ...]

    def csv_rows(self) -> Iterator[tuple[object, ...]]:
        """Yields the rows of `mistakes.csv`, the header first."""
        yield "path", "label", "predicted", "score", "label_score"
        for each in self.found:
            known = "" if each.label_score is None else f"{each.label_score:.5f}"
            yield each.path, each.label, each.predicted, f"{each.score:.5f}", known


def compute(evidence: Evidence) -> Mistakes:
    """Returns the mistakes of a run."""
    answers, trained = evidence.answers, evidence.trained
    labels = answers.dataset.labels
    tested = answers.splits == TEST
    rows = np.flatnonzero(tested & (answers.predicted != answers.label_indices))
    count = len(rows)
    rows = rows[np.argsort(-answers.scores[rows], kind="stable")][:MOST_FOUND]
    known: list[float | None] = [None] * len(rows)
    if trained is not None:
        some = trained.every.choose(rows)
        known = [
            score
            for part in some.parts()
            for score in trained.head.probabilities(part.matrix())[
                np.arange(len(part)), part.labels()
            ].tolist()
        ]
    return Mistakes(
        images=int(tested.sum()),
        count=count,
        found=tuple(
            Mistake(
                path,
                labels[answers.label_indices[row]],
                labels[answers.predicted[row]],
                round(float(answers.scores[row]), 5),
                score if score is None else round(score, 5),
            )
            for row, path, score in zip(rows, answers.paths(rows), known, strict=True)
        ),
    )
