"""Whether more images would help: accuracy over the number of training images."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LearningPoint:
    """Heads trained on a part of the training images.

    Attributes:
      images: number of training images.
      accuracy: mean over the draws, 0 to 1.
      low, high: the least and the largest of the draws.
    """

    images: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class LearningCurve:
    """A learning curve, with its power law `error = a * images ** -b + c`.

    Attributes:
      label: "" for all labels together, else accuracy is the recall of this one.
      points: measured, by ascending number of images.
      a, b, c: the fitted law.
      with_twice: foretold accuracy with twice the training images, 0 to 1.
    """

    label: str
    points: tuple[LearningPoint, ...]
    a: float
    b: float
    c: float
    with_twice: float


@dataclass(frozen=True)
class MoreImages:
    """Learning curves.

    Attributes:
      every: of all labels together.
      by_label: of each label, those that gain the most first.
    """

    every: LearningCurve
    by_label: tuple[LearningCurve, ...]
