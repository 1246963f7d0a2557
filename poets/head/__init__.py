"""The half that is trained: one dense layer from bottlenecks to labels.

`Head` is its result, in numpy; `poets.head.training` makes one.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Head:
    """A softmax regression on raw bottlenecks.

    Attributes:
      weights: float32 [D, L].
      biases: float32 [L].
    """

    weights: np.ndarray
    biases: np.ndarray

    def probabilities(self, bottlenecks: np.ndarray) -> np.ndarray:
        """Returns float32 [N, L] for float32 [N, D]; rows add up to 1."""
        logits = bottlenecks @ self.weights + self.biases
        logits -= logits.max(axis=1, keepdims=True)
        exponentials = np.exp(logits)
        return exponentials / exponentials.sum(axis=1, keepdims=True)
