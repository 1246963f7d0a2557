"""Finds images that look like no other of their label."""

from dataclasses import dataclass


@dataclass(frozen=True)
class OddImage:
    """An image far from all others of its label.

    Attributes:
      path: relative to `image_dir`.
      label: the label of its folder.
      split: the split of the image.
      distance: to its nearest neighbours of the label, as a multiple of what is usual.
    """

    path: str
    label: str
    split: str
    distance: float


@dataclass(frozen=True)
class OddImages:
    """The oddest images, the oddest first.

    Attributes:
      images: number of images that were judged.
      found: the oddest ones.
    """

    images: int
    found: tuple[OddImage, ...]
