"""How far scores are probabilities, before and after calibration."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ScoreBin:
    """The test images whose score lies in a range.

    Attributes:
      low, high: the range of scores, 0 to 1.
      n: number of images.
      score: their mean score; None for n = 0.
      accuracy: the share that is right; None for n = 0.
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
      error_before, error_after: expected calibration error, 0 to 1.
      before, after: the bins, ascending.
    """

    temperature: float
    n: int
    error_before: float
    error_after: float
    before: tuple[ScoreBin, ...]
    after: tuple[ScoreBin, ...]
