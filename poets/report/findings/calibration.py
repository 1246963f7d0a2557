"""How close scores are to probabilities, before and after calibration."""

from dataclasses import dataclass

import numpy as np

from poets.data.split import TEST
from poets.report.findings import Evidence

BINS = 10


@dataclass(frozen=True)
class ScoreBin:
    """The test images whose score lies in a range.

    Attributes:
      low, high: the range of scores, 0 to 1.
      n: number of images.
      score, accuracy: their mean score, and the share that is right; None for n = 0.
    """

    low: float
    high: float
    n: int
    score: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """Calibration on the test images.

    Attributes:
      temperature: that the logits are divided by; 1 without calibration.
      n: number of test images.
      error_before, error_after: expected calibration error (Guo et al., 2017), 0 to 1:
        the mean distance of score and accuracy in the bins, weighted by their images.
      error_by_chance: what a perfectly calibrated classifier would have on so few
        images, on average.
      before, after: the bins, ascending.
    """

    temperature: float
    n: int
    error_before: float
    error_after: float
    error_by_chance: float
    before: tuple[ScoreBin, ...]
    after: tuple[ScoreBin, ...]


def compute(evidence: Evidence) -> Calibration | None:
    """Returns the calibration; None without test images."""
    assert evidence.trained  # as SECTIONS says
    trained, answers = evidence.trained, evidence.answers
    scores, right = answers.scored(TEST)
    if not len(scores):
        return None
    raw = trained.head.with_temperature(1 / trained.temperature)
    tested = trained.every.choose(np.flatnonzero(answers.splits == TEST))
    raw_scores = np.concatenate(
        [raw.answers(part.matrix())[1] for part in tested.parts()]
    )
    before, after = _bins(raw_scores, right), _bins(scores, right)
    return Calibration(
        trained.temperature,
        len(scores),
        _expected_error(before),
        _expected_error(after),
        _error_by_chance(after),
        before,
        after,
    )


def _bins(scores: np.ndarray, right: np.ndarray) -> tuple[ScoreBin, ...]:
    places = np.minimum((scores * BINS).astype(int), BINS - 1)
    found = []
    for place in range(BINS):
        inside = places == place
        means = _mean(scores[inside]), _mean(right[inside])
        ends = place / BINS, (place + 1) / BINS
        found.append(ScoreBin(*ends, int(inside.sum()), *means))
    return tuple(found)


def _mean(values: np.ndarray) -> float | None:
    return round(float(values.mean()), 6) if len(values) else None


def _expected_error(bins: tuple[ScoreBin, ...]) -> float:
    """Returns the expected calibration error of bins with at least one image."""
    parts = [
        each.n * abs(each.score - each.accuracy)
        for each in bins
        if each.score is not None and each.accuracy is not None
    ]
    return round(sum(parts) / sum(each.n for each in bins), 6)


def _error_by_chance(bins: tuple[ScoreBin, ...]) -> float:
    """Returns the mean distance of normally distributed accuracies from the scores."""
    parts = [
        np.sqrt(2 / np.pi * each.n * each.score * (1 - each.score))
        for each in bins
        if each.score is not None
    ]
    return round(float(sum(parts)) / sum(each.n for each in bins), 6)
