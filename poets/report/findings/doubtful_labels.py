"""Finds images whose label is probably wrong, by confident learning.

A label's threshold is the mean probability that held-out heads give the label for its
own images. A label is probably wrong if another one passes its threshold and is the
likeliest that does (Northcutt, Jiang and Chuang, 2021). Images are ranked by the
probability of their own label. With K labels of photographs flipped, 67 % of them were
among the first K, and 59 % in a ranking by margin to the likeliest other label.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from poets.head.held_out import held_out_probabilities
from poets.report.findings import Evidence

LISTED = 2
"""Images listed for each that is probably wrong: most of the others follow closely."""

MAX_FOUND = 10_000

FEWEST = 3
"""Images of a label that can be judged: heads need others of the label to train on."""

SURE_HEADS = 0.8
"""Accuracy of heads whose doubt is worth more than the label."""

JUDGED = np.dtype("i8, f4, i8, f4, ?")
JUDGED.names = "row", "score", "other", "other_score", "wrong"
"""An image, the score of its label, the likeliest other label, the score of that, and
whether its label is probably wrong."""


@dataclass(frozen=True)
class DoubtfulLabel:
    """An image that heads trained without it take for another label.

    Attributes:
      suggested: the likeliest other label.
      label_score, suggested_score: out-of-sample probabilities, 0 to 1.
      probably_wrong: whether confident learning takes the label for wrong.
    """

    path: str
    label: str
    suggested: str
    split: str
    label_score: float
    suggested_score: float
    probably_wrong: bool


@dataclass(frozen=True)
class DoubtfulLabels:
    """The images whose label is doubtful, the most doubtful first.

    Attributes:
      images: number of images that were judged.
      trained_on: number of images in the sample that the heads were trained on.
      accuracy: the share of images that these heads take for their label, 0 to 1.
      count: estimated number of wrong labels.
      found: LISTED times as many images, at most MAX_FOUND.
    """

    images: int
    trained_on: int
    accuracy: float
    count: int
    found: tuple[DoubtfulLabel, ...]

    @property
    def many_are_right(self) -> bool:
        """Whether the heads are so often wrong that many labels they doubt are not."""
        return self.accuracy < SURE_HEADS

    def csv_rows(self) -> Iterator[tuple[object, ...]]:
        """Yields the rows of `doubtful_labels.csv`, the header first."""
        scores = "label_score", "suggested_score"
        yield "move", "path", "label", "suggested", "split", *scores
        for each in self.found:
            yield (
                "yes" if each.probably_wrong else "no",
                *(each.path, each.label, each.suggested, each.split),
                *(f"{each.label_score:.5f}", f"{each.suggested_score:.5f}"),
            )


def compute(evidence: Evidence) -> DoubtfulLabels | None:
    """Returns the doubtful labels; None if fewer than two labels can be judged."""
    assert evidence.trained  # as SECTIONS says
    every, answers = evidence.trained.every, evidence.answers
    labels = answers.dataset.labels
    own, num_labels = every.labels(), len(labels)
    parts = held_out_probabilities(every, num_labels, evidence.config.seed)
    sample, first = next(parts)
    counts = np.bincount(own[sample], minlength=num_labels)
    judgeable = counts >= FEWEST
    if judgeable.sum() < 2:
        return None
    sums = np.bincount(
        own[sample], first[np.arange(len(sample)), own[sample]], num_labels
    )
    thresholds = np.full(num_labels, np.inf)
    thresholds[judgeable] = sums[judgeable] / counts[judgeable]
    images = right = count = 0
    worst = np.empty(0, JUDGED)
    for rows, found in itertools.chain([(sample, first)], parts):
        judged = _judge(rows, found, own[rows], thresholds)[judgeable[own[rows]]]
        images += len(judged)
        right += int((judged["score"] > judged["other_score"]).sum())
        count += int(judged["wrong"].sum())
        worst = np.concatenate([worst, judged])
        worst = worst[np.argsort(worst["score"], kind="stable")[:MAX_FOUND]]
    listed = worst[: LISTED * count]
    return DoubtfulLabels(
        images=images,
        trained_on=len(sample),
        accuracy=right / images,
        count=count,
        found=tuple(
            DoubtfulLabel(
                path=path,
                label=labels[own[each["row"]]],
                suggested=labels[each["other"]],
                split=answers.splits[each["row"]],
                label_score=float(each["score"]),
                suggested_score=float(each["other_score"]),
                probably_wrong=bool(each["wrong"]),
            )
            for path, each in zip(answers.paths(listed["row"]), listed, strict=True)
        ),
    )


def _judge(
    rows: np.ndarray, found: np.ndarray, own: np.ndarray, thresholds: np.ndarray
) -> np.ndarray:
    """Judges n images by their held-out probabilities `found` [n, L]: JUDGED [n]."""
    numbers = np.arange(len(rows))
    scores = found[numbers, own]
    confident = np.where(found >= thresholds, found, -1)
    best = confident.argmax(axis=1)
    wrong = (best != own) & (confident[numbers, best] >= 0)
    found = found.copy()
    found[numbers, own] = -1
    likeliest = found.argmax(axis=1)
    columns = rows, scores, likeliest, found[numbers, likeliest], wrong
    return np.rec.fromarrays(columns, JUDGED)
