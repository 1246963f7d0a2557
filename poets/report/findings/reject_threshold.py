"""The score below which an answer is better withheld."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Answered:
    """The images of a split whose score reaches a threshold.

    Attributes:
      threshold: the least score, 0 to 1.
      coverage: the share of images that is answered, 0 to 1.
      n: number of answered images.
      accuracy: the share of these that is right; None for n = 0.
      interval_95: Wilson's interval.
    """

    threshold: float
    coverage: float
    n: int
    accuracy: float | None
    interval_95: tuple[float, float]


@dataclass(frozen=True)
class RejectThreshold:
    """The threshold for a wished accuracy, chosen on validation, confirmed on test.

    Attributes:
      wanted_accuracy: 0 to 1.
      threshold: the chosen one; None if no threshold reaches the accuracy.
      validation, test: what it does on these splits; None without a threshold.
      curve: accuracy over coverage on validation, by ascending threshold.
    """

    wanted_accuracy: float
    threshold: float | None
    validation: Answered | None
    test: Answered | None
    curve: tuple[Answered, ...]
