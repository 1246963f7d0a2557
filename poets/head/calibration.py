"""Calibrates a head, so that of the answers with a score of 0.8 four in five are right.

The logits are divided by one number, the temperature, which leaves the order of the
scores as it is (Guo, Pleiss, Sun and Weinberger, 2017). `Head.with_temperature` folds
it into the weights: every export, checkpoint and report has the calibrated head.
"""

import math

import numpy as np

from poets.head import PART, Head
from poets.head.examples import Examples

PRIOR = 4.0
"""Weight of a temperature of 1, in images.

A few validation images, or any number that are all classified correctly, would give an
extreme temperature: the likelihood of correct answers grows with scores of 1 alone.
"""

COLDEST, HOTTEST = 0.1, 10.0
"""Bounds of the temperature; beyond, most scores are 0, 1 or all the same."""

MAX_SCORES = 2_000_000
"""Scores, images times labels, that are evaluated: more change the third digit."""

BISECTIONS = 24


def temperature_of(head: Head, validation: Examples) -> float:
    """Returns the temperature with the largest likelihood of some labels.

    It maximises the sum of the log likelihoods of N images and `PRIOR * (ln b - b)`,
    the logarithm of a gamma distribution with mode 1, for the inverse temperature b.
    The sum is concave in b, so that its derivative has one root at most.

    Args:
      head: its weights are finite.
      validation: N images that the head was not trained on; N may be 0. Of many, a
        sample at equal distances is used, see `MAX_SCORES`.

    Returns:
      `COLDEST` to `HOTTEST`, rounded to 4 digits; 1 for no images.
    """
    logits, true = _logits(head, validation)
    true_sum = float(logits[np.arange(len(true)), true].sum())

    def slope(inverse: float) -> float:
        weights = np.exp(inverse * logits)
        expected = (weights * logits).sum(axis=1) / weights.sum(axis=1)
        return true_sum - float(expected.sum()) + PRIOR * (1 / inverse - 1)

    low, high = math.log(1 / HOTTEST), math.log(1 / COLDEST)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(math.exp(middle)) > 0 else (low, middle)
    return float(f"{math.exp(-(low + high) / 2):.4g}")


def _logits(head: Head, examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Returns float64 [N, L] logits, at most 0, and the N true labels of a sample."""
    size = min(len(examples), max(1, MAX_SCORES // len(head.biases)))
    positions = np.linspace(0, len(examples) - 1, size).astype(int)
    sample = examples.choose(positions)
    logits = np.empty((size, len(head.biases)))
    for start, part in zip(range(0, size, PART), sample.parts(), strict=True):
        logits[start : start + PART] = head.logits(part.matrix())
    logits -= logits.max(axis=1, keepdims=True, initial=-np.inf)
    return logits, sample.labels()
