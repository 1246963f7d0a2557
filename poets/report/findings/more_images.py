"""Whether more images would help: accuracy over the number of training images."""

from dataclasses import dataclass

import numpy as np

from poets.data.split import TEST, TRAIN
from poets.head.examples import Examples
from poets.head.growing import growing_heads
from poets.report.findings import Evidence

SHARES = (0.1, 0.2, 0.4, 0.7, 1.0)
"""Parts of the training images, of which heads are trained."""

DRAWS = 3
LEAST = 100
"""Fewer training images give no law."""

MAX_TRAIN, MAX_HELD_OUT = 40_000, 10_000
"""The most images used; of more, a sample. The heads converge before."""

EXPONENTS = np.arange(0.05, 1.01, 0.05)
"""Hestness et al. (2017) measured 0.07 to 0.35; theory has 0.5 to 1."""


@dataclass(frozen=True)
class LearningPoint:
    """Heads trained on a part of the training images.

    Attributes:
      images: number of training images.
      accuracy: mean over the draws, 0 to 1.
      low, high: the least and the largest of the draws.
    """

    images: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class LearningCurve:
    """A learning curve, with its power law `error = a * images ** -b + c`.

    The curve has the shape that heads in closed form have on parts of the images, and
    is moved so that it ends at the accuracy of the exported head on test.

    Attributes:
      label: "" for all labels together, else accuracy is the recall of this one, and
        images are its own.
      points: by ascending number of images; the last is the exported head.
      a, b, c: the fitted law.
      with_twice: expected accuracy with twice the training images, 0 to 1.
    """

    label: str
    points: tuple[LearningPoint, ...]
    a: float
    b: float
    c: float
    with_twice: float


@dataclass(frozen=True)
class MoreImages:
    """Learning curves.

    Attributes:
      every: of all labels together.
      by_label: of each label, those that gain the most first.
      trained_on: number of training images that were used, a sample of very many.
      tested_on: number of validation and test images that were used.
    """

    every: LearningCurve
    by_label: tuple[LearningCurve, ...]
    trained_on: int
    tested_on: int


def compute(evidence: Evidence) -> MoreImages | None:
    """Returns the curves; None if there are too few images for a law."""
    assert evidence.trained  # as SECTIONS says
    every, answers = evidence.trained.every, evidence.answers
    is_train = answers.splits == TRAIN
    random = np.random.default_rng([evidence.config.seed, 5])
    train = every.choose(np.flatnonzero(is_train)).sample(MAX_TRAIN, random)
    held_out = every.choose(np.flatnonzero(~is_train)).sample(MAX_HELD_OUT, random)
    held_out = Examples(held_out.matrix(), held_out.labels())
    scores, right = answers.scored(TEST)
    if len(train) < LEAST or not len(scores):
        return None
    labels = answers.dataset.labels
    sizes = np.array([max(1, round(share * len(train))) for share in SHARES])
    recalls, accuracies = _measure(train, held_out, len(labels), sizes, random)
    shares = sizes / len(train)
    total = int(is_train.sum())
    of_all = _curve("", total, shares, accuracies, right.mean())
    counts = np.bincount(every.label_indices[is_train], minlength=len(labels))
    tested = every.label_indices[answers.splits == TEST]
    curves = [
        _curve(
            label,
            int(counts[index]),
            shares,
            recalls[:, :, index],
            right[tested == index].mean(),
            of_all.b,
        )
        for index, label in enumerate(labels)
        if counts[index] and (tested == index).any()
    ]
    curves.sort(key=lambda curve: curve.points[-1].accuracy - curve.with_twice)
    return MoreImages(of_all, tuple(curves), len(train), len(held_out))


def _measure(
    train: Examples,
    held_out: Examples,
    num_labels: int,
    sizes: np.ndarray,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Trains heads of each size, several times.

    Returns:
      Recall of each label, float [sizes, draws, L], and accuracy, float [sizes, draws].
    """
    true = held_out.labels()
    counts = np.bincount(true, minlength=num_labels)
    hits = np.zeros((len(sizes), DRAWS, num_labels))
    for draw in range(DRAWS):
        wanted = sizes if not draw else sizes[:-1]  # all images are the same each time
        heads = growing_heads(train, num_labels, wanted.tolist(), random)
        for place, head in enumerate(heads):
            predicted = head.logits(held_out.bottlenecks).argmax(axis=1)
            hits[place, draw] = np.bincount(
                true[predicted == true], minlength=num_labels
            )
    hits[-1] = hits[-1, 0]
    return hits / np.maximum(counts, 1), hits.sum(axis=2) / len(true)


def _curve(
    label: str,
    images: int,
    shares: np.ndarray,
    accuracies: np.ndarray,
    reached: float,
    exponent: float | None = None,
) -> LearningCurve:
    """Returns the curve of measured accuracies.

    Args:
      label: see `LearningCurve`.
      images: number of training images.
      shares: float [S], of the training images.
      accuracies: float [S, draws].
      reached: the accuracy of the exported head, 0 to 1.
      exponent: of the law; None fits it, too.
    """
    numbers = np.maximum(shares * images, 1)
    means = accuracies.mean(axis=1)
    exponents = EXPONENTS if exponent is None else np.array([exponent])
    a, b, c = _fit(numbers, 1 - means, exponents)
    moved = float(reached - means[-1])
    gain = a * images**-b - a * (2 * images) ** -b

    def share(value: float) -> float:
        return round(min(max(float(value) + moved, 0.0), 1.0), 6)

    points = tuple(
        LearningPoint(
            round(number), share(mean), share(draws.min()), share(draws.max())
        )
        for number, mean, draws in zip(numbers, means, accuracies, strict=True)
    )
    with_twice = share(means[-1] + gain)
    return LearningCurve(label, points, a, b, c - moved, with_twice)


def _fit(
    numbers: np.ndarray, errors: np.ndarray, exponents: np.ndarray
) -> tuple[float, float, float]:
    """Returns a, b, c >= 0 with the least squares of `a * numbers ** -b + c`."""
    best = np.inf, (0.0, 1.0, float(errors.mean()))
    for b in exponents.tolist():
        powers = numbers**-b
        centred = powers - powers.mean()
        spread = float(centred @ centred)
        a = max(float(centred @ errors) / spread, 0.0) if spread > 1e-12 else 0.0
        c = float(errors.mean() - a * powers.mean())
        if c < 0:
            a, c = float(powers @ errors / (powers @ powers)), 0.0
        misfit = float(((a * powers + c - errors) ** 2).sum())
        if misfit < best[0]:
            best = misfit, (a, b, c)
    return best[1]
