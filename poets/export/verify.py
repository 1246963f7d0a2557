"""Checks before publishing that each export gives the labels of the trained head.

Test images go through each export in the form that its users send. The scores are
compared with the head's for the same image's bottleneck. A different label is an error
unless the head's two best scores are nearly equal.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from poets.data.images import decode, is_plain, resize
from poets.errors import ModelError
from poets.system.runtime import tf

MAX_CHECKED = 64
"""How many images each export scores in a batch."""

MAX_ONE_BY_ONE = 16
"""How many images are scored at an input that takes one at a time."""

UNDECIDED = 1e-3
"""If the two best scores are closer than this, rounding may swap them."""


@dataclass(frozen=True)
class Samples:
    """Test images and the head's scores for them.

    Attributes:
      paths: N paths, for messages.
      contents: the files' bytes.
      expected: float32 [N, L].
    """

    paths: Sequence[str]
    contents: Sequence[bytes]
    expected: np.ndarray

    def plain(self) -> "Samples":
        """Returns the images that TensorFlow's decoder reads as `poets.data` does."""
        return self._choose(
            [row for row, data in enumerate(self.contents) if is_plain(data)]
        )

    def few(self) -> "Samples":
        """Returns at most MAX_ONE_BY_ONE of them, evenly spaced over the labels."""
        count = min(len(self.paths), MAX_ONE_BY_ONE)
        return self._choose(
            np.linspace(0, len(self.paths) - 1, count).astype(int).tolist()
        )

    def _choose(self, rows: list[int]) -> "Samples":
        return Samples(
            [self.paths[row] for row in rows],
            [self.contents[row] for row in rows],
            self.expected[rows],
        )

    def pixels(self, size_px: int) -> np.ndarray:
        """Returns float32 [N, S, S, 3] in 0..255."""
        pictures = [resize(decode(data), size_px) for data in self.contents]
        return np.asarray(pictures, np.float32).reshape(-1, size_px, size_px, 3)


@dataclass(frozen=True)
class Check:
    """The result of a comparison: the number of images and the largest difference."""

    images: int
    max_score_difference: float


def compare(
    name: str, samples: Samples, score: Callable[[], Sequence[np.ndarray] | np.ndarray]
) -> Check:
    """Compares an export's scores with the head's.

    Args:
      name: of the export, for messages.
      samples: N images and the head's scores.
      score: returns the export's scores of these images, [N, L].

    Raises:
      ModelError: if a label differs, or the export does not run.
    """
    if not samples.contents:
        return Check(0, 0.0)
    try:
        found = np.asarray(score())
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        why = " ".join(str(error).removeprefix("Graph execution error:").split())
        raise ModelError(
            f"{name} does not answer on test images: {why[:300]}; nothing was published"
        ) from error
    best_two = np.sort(samples.expected, axis=1)[:, -2:]
    decided = best_two[:, 1] - best_two[:, 0] > UNDECIDED
    differs = found.argmax(axis=1) != samples.expected.argmax(axis=1)
    wrong = np.flatnonzero(differs & decided)
    if len(wrong):
        raise ModelError(
            f"{name} gives another label than the trained head on "
            f"{len(wrong)} of {len(found)} test images, first "
            f"{samples.paths[wrong[0]]!r}; nothing was published"
        )
    return Check(len(found), float(np.abs(found - samples.expected).max()))


def worst(*checks: Check) -> Check:
    """Returns the largest numbers of several checks."""
    return Check(
        max(check.images for check in checks),
        max(check.max_score_difference for check in checks),
    )
