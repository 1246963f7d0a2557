"""Finds images that are copies of others, and how far they flatter the accuracy."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Copy:
    """An image of a group.

    Attributes:
      path: relative to `image_dir`.
      label: the label of its folder.
      split: the split of the image.
    """

    path: str
    label: str
    split: str


@dataclass(frozen=True)
class CopyGroup:
    """Images that show the same picture.

    Attributes:
      copies: two or more, by path.
      same_content: whether all of them have the same bytes.
    """

    copies: tuple[Copy, ...]
    same_content: bool


@dataclass(frozen=True)
class Share:
    """Correct answers out of n, with Wilson's 95 % interval of their share."""

    n: int
    correct: int
    accuracy: float | None
    interval_95: tuple[float, float]


@dataclass(frozen=True)
class NearDuplicates:
    """Groups of near-duplicates; leakage is a group in training and in another split.

    Attributes:
      images: number of images that were compared.
      groups: those that leak first, then those across labels.
      leaked: split -> its images with a near-duplicate in training.
      test: accuracy on the test images.
      test_without_leaked: the same without the leaked ones.
    """

    images: int
    groups: tuple[CopyGroup, ...]
    leaked: dict[str, int]
    test: Share
    test_without_leaked: Share
