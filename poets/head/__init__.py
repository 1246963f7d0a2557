"""The half that is trained: one dense layer from bottlenecks to labels.

`Head` is its result, in numpy; `poets.head.training` makes one.
"""

from dataclasses import dataclass

import numpy as np

PART = 4096
"""Rows that are scored at once, which bounds the memory for scoring any number."""


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
        """Returns float32 [N, L] for float32 [N, D]."""
        return softmax(self.logits(bottlenecks))

    def with_temperature(self, temperature: float) -> "Head":
        """Returns the head whose logits are divided by a temperature, above 0."""
        divisor = np.float32(temperature)
        return Head(self.weights / divisor, self.biases / divisor)

    def logits(self, bottlenecks: np.ndarray) -> np.ndarray:
        """Returns float32 [N, L] for float32 [N, D]."""
        return bottlenecks @ self.weights + self.biases

    def answers(self, bottlenecks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the most likely label of each image, and its probability.

        Takes float32 [N, D] and returns int32 [N] and float32 [N].
        """
        labels = np.empty(len(bottlenecks), np.int32)
        scores = np.empty(len(bottlenecks), np.float32)
        for start in range(0, len(bottlenecks), PART):
            rows = slice(start, start + PART)
            found = self.probabilities(bottlenecks[rows])
            labels[rows], scores[rows] = found.argmax(axis=1), found.max(axis=1)
        return labels, scores


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns probabilities for logits [..., L]; the L of a row add up to 1."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
