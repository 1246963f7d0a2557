"""The examples that heads are trained and scored on: bottlenecks with labels.

bottlenecks [M, D]   one matrix of a data set, which may be large
     rows [N]        a split, a batch, a sample of it: no copy of the matrix
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from poets.head import PART


@dataclass(frozen=True)
class Examples:
    """Bottlenecks with the index of their label.

    Attributes:
      bottlenecks: float32 [M, D]; splits share one matrix, which may be large.
      label_indices: int32 [M].
      rows: int [N], the rows of the M that are these examples; None for all.
      copied: int [M], the row of the image that a row is a distorted copy of, or its
        own; None if there are no copies.
    """

    bottlenecks: np.ndarray
    label_indices: np.ndarray
    rows: np.ndarray | None = None
    copied: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.label_indices if self.rows is None else self.rows)

    def choose(self, positions: np.ndarray) -> "Examples":
        """Returns the examples at some positions, 0 to N - 1."""
        rows = positions if self.rows is None else self.rows[positions]
        return replace(self, rows=rows)

    def sample(self, size: int, random: np.random.Generator) -> "Examples":
        """Returns `size` examples drawn without replacement, or all for -1."""
        if size == -1 or size >= len(self):
            return self
        return self.choose(random.choice(len(self), size, replace=False))

    def labels(self) -> np.ndarray:
        """Returns int32 [N]."""
        return (
            self.label_indices if self.rows is None else self.label_indices[self.rows]
        )

    def images(self) -> np.ndarray:
        """Returns int [N], equal for an image and its distorted copies."""
        own = np.arange(len(self.label_indices)) if self.copied is None else self.copied
        return own if self.rows is None else own[self.rows]

    def matrix(self) -> np.ndarray:
        """Returns float32 [N, D], a copy unless it is all of them."""
        return self.bottlenecks if self.rows is None else self.bottlenecks[self.rows]

    def parts(self) -> Iterator["Examples"]:
        """Yields the examples in parts of PART rows, to avoid a copy of the matrix."""
        for start in range(0, len(self), PART):
            yield self.choose(np.arange(start, min(start + PART, len(self))))
