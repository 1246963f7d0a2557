"""Standardises bottlenecks and scales them to length 1, so that angles compare them."""

import numpy as np

from poets.head.examples import Examples


class UnitRows:
    """Maps bottlenecks to standardised ones of length 1.

    Args:
      examples: the images, or a sample of them, for the mean and the spread.
    """

    def __init__(self, examples: Examples) -> None:
        self._mean, spread = examples.mean_and_spread()
        self._scale = (1 / np.where(spread > 1e-6, spread, 1)).astype(np.float32)

    def of(self, bottlenecks: np.ndarray) -> np.ndarray:
        """Returns float32 [N, D] for [N, D]; a row at the mean stays 0."""
        return to_length_1((bottlenecks - self._mean) * self._scale)


def to_length_1(rows: np.ndarray) -> np.ndarray:
    """Scales each of the rows [N, D] in place, and returns them; 0 stays 0."""
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    rows /= np.maximum(lengths, 1e-12)[:, None]
    return rows
