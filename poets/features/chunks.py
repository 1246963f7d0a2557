"""The work of a pass: numbers of images, made into chunks of tasks one at a time.

An image waits as 8 bytes and a byte for each copy; as a task it takes 330 bytes.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from poets.data.image_columns import Images
from poets.features.process import ImageTask

Chunk = Sequence[ImageTask]

MAX_CHUNK = 256
"""Copies in a part: a quarter of a second on one core. A kill may lose a few parts."""

MIN_CHUNK = 32
"""Copies in the last parts: one process may have to wait for another's."""


class Chunks:
    """An iterable of chunks that get smaller towards the end.

    This lets all processes finish at about the same time (guided self-scheduling;
    Polychronopoulos and Kuck, 1987).

    Args:
      images: N images.
      rows: int [n], those to compute, in reading order; one or more.
      copies: the numbers of the copies, C.
      wanted: bool [C, N], which of them to compute.
      expected: returns `ImageTask.expected` of an image.
      processes: number of processes that share the work.

    Attributes:
      total: number of copies in all chunks.
    """

    def __init__(
        self,
        images: Images,
        rows: np.ndarray,
        copies: Sequence[int],
        wanted: np.ndarray,
        expected: Callable[[int], str | None],
        processes: int,
    ) -> None:
        self._images, self._rows, self._copies = images, rows, copies
        self._wanted, self._expected, self._processes = wanted, expected, processes
        counts = wanted.sum(axis=0, dtype=np.uint16)[rows]
        self.total, self._most = int(counts.sum()), int(counts.max())

    def __iter__(self) -> Iterator[Chunk]:
        """Yields the chunks; the tasks of each are made now."""
        start = 0
        for end in self._ends():
            rows = self._rows[start:end]
            yield [
                ImageTask(
                    *(image.path, image.length, image.mtime_ns),
                    tuple(itertools.compress(self._copies, wanted)),
                    self._expected(row),
                    image.place,
                )
                for row, image, wanted in zip(
                    rows.tolist(),
                    self._images.take(rows),
                    self._wanted[:, rows].T,
                    strict=True,
                )
            ]
            start = end

    def _ends(self) -> Iterator[int]:
        """Yields where chunks end: where a block of a pack does, if one does soon.

        Then no other process reads the last block of a chunk.
        """
        rows, end = self._rows, 0
        while end < len(rows):
            share = (len(rows) - end) // (2 * self._processes)
            size = max(MIN_CHUNK // self._most, min(MAX_CHUNK // self._most, share), 1)
            end, at_most = min(end + size, len(rows)), end + 2 * size
            near = rows[end - 1 : at_most + 1]
            left = self._images.first_block(near) - 1
            if left < len(near) - 1 or at_most >= len(rows):
                end += left
            yield end
