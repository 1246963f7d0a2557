"""Finds images whose label is probably wrong."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DoubtfulLabel:
    """An image that heads trained without it take for another label.

    Attributes:
      path: relative to `image_dir`.
      label: the label of its folder.
      suggested: the likeliest label.
      split: the split of the image.
      label_score: out-of-sample probability of its label, 0 to 1.
      suggested_score: out-of-sample probability of the suggested one, 0 to 1.
    """

    path: str
    label: str
    suggested: str
    split: str
    label_score: float
    suggested_score: float


@dataclass(frozen=True)
class DoubtfulLabels:
    """The images whose label is probably wrong, the most doubtful first.

    Attributes:
      images: number of images that were judged.
      found: the doubtful ones.
    """

    images: int
    found: tuple[DoubtfulLabel, ...]
