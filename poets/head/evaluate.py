"""Accuracy of a classifier, with its confidence interval."""

import math
from dataclasses import dataclass

import numpy as np

Z_95 = 1.959963984540054
"""The normal distribution's 97.5 % quantile."""


@dataclass(frozen=True)
class Accuracy:
    """Correct answers out of n, and the 95 % confidence interval of their share."""

    n: int
    correct: int

    @property
    def share(self) -> float:
        """The accuracy, 0 to 1; NaN for no images."""
        return self.correct / self.n if self.n else math.nan

    @property
    def interval_95(self) -> tuple[float, float]:
        """Wilson's score interval (Wilson, 1927); (0, 1) for no images."""
        if not self.n:
            return 0.0, 1.0
        z2 = Z_95**2
        middle = (self.correct + z2 / 2) / (self.n + z2)
        spread = self.share * (1 - self.share) / self.n + z2 / (4 * self.n**2)
        half = Z_95 * math.sqrt(spread) * self.n / (self.n + z2)
        return max(0.0, middle - half), min(1.0, middle + half)

    def to_json(self) -> dict[str, object]:
        """Returns the entry for `metrics.json`."""
        share = round(self.share, 6) if self.n else None
        return {
            "n": self.n,
            "correct": self.correct,
            "accuracy": share,
            "interval_95": [round(end, 6) for end in self.interval_95],
        }


def accuracy_of(predicted: np.ndarray, true: np.ndarray) -> Accuracy:
    """Returns the accuracy of N predicted label indices."""
    return Accuracy(len(true), int((predicted == true).sum()))


def confusion_of(
    predicted: np.ndarray, true: np.ndarray, num_labels: int
) -> np.ndarray:
    """Returns int64 [L, L]: how often true label i (row) was predicted as j."""
    counts = np.bincount(
        true.astype(np.int64) * num_labels + predicted, minlength=num_labels**2
    )
    return counts.reshape(num_labels, num_labels)


def per_label(
    labels: tuple[str, ...], confusion: np.ndarray
) -> list[dict[str, object]]:
    """Returns n, precision and recall of each label; None without images."""
    rows = []
    for index, label in enumerate(labels):
        right = int(confusion[index, index])
        n, answered = int(confusion[index].sum()), int(confusion[:, index].sum())
        rows.append(
            {
                "label": label,
                "n": n,
                "precision": round(right / answered, 6) if answered else None,
                "recall": round(right / n, 6) if n else None,
            }
        )
    return rows
