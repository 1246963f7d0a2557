"""Standardises bottlenecks: each dimension centred, and divided by its spread."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from poets.head import Head
from poets.head.examples import Examples

SMALLEST_SPREAD = 1e-6
"""A dimension that varies less is only centred."""

SMALLEST_SHARE = 0.002
"""Any other spread below this share of the mean counts as this share.

The exported layer takes bottlenecks that are not centred. With a weight of 100 for one
that is always near -6.9, float32 left three digits of a score.
"""


@dataclass(frozen=True)
class Standardizer:
    """The mean and the scale of each dimension.

    Attributes:
      mean: float32 [D].
      scale: float32 [D], one over the standard deviation or its least value.
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, examples: Examples) -> "Standardizer":
        """Measures the mean and the spread of N examples, in parts."""
        size = examples.bottlenecks.shape[1]
        total, squares = np.zeros(size), np.zeros(size)
        for part in examples.parts():
            total += part.matrix().sum(axis=0, dtype=np.float64)
        mean = total / len(examples)
        for part in examples.parts():
            squares += ((part.matrix() - mean) ** 2).sum(axis=0)
        spread = np.sqrt(squares / len(examples)).astype(np.float32)
        mean = mean.astype(np.float32)
        divisor = np.maximum(spread, SMALLEST_SHARE * np.abs(mean))
        return cls(mean, 1 / np.where(spread > SMALLEST_SPREAD, divisor, 1))

    def apply(self, bottlenecks: Any) -> Any:
        """Returns bottlenecks [N, D], array or tensor, standardised."""
        return (bottlenecks - self.mean) * self.scale

    def unit_rows(self, bottlenecks: np.ndarray) -> np.ndarray:
        """Returns standardised bottlenecks of length 1, so that angles compare them."""
        return to_length_1(self.apply(bottlenecks))

    def fold(self, head: Head) -> Head:
        """Returns the head on raw bottlenecks for one on standardised ones."""
        weights = head.weights * self.scale[:, None]
        return Head(weights, head.biases - self.mean @ weights)

    def unfold(self, head: Head) -> Head:
        """Returns the head on standardised bottlenecks, float32; reverses `fold`."""
        weights = head.weights / self.scale[:, None]
        biases = head.biases + self.mean @ head.weights
        return Head(weights.astype(np.float32), biases.astype(np.float32))


def to_length_1(rows: np.ndarray) -> np.ndarray:
    """Scales each of the rows [N, D] in place, and returns them; 0 stays 0."""
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    rows /= np.maximum(lengths, 1e-12)[:, None]
    return rows
