"""A million images as columns: what the listing, the split and the store pass on."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from poets.data.columns import BLOCK, Column, Texts
from poets.storage.tree import Place

TYPES = (np.int32, np.int64, np.int64, np.int32, np.int32, np.int64, np.int64)
"""Of an image's columns after its path: folder, length, time, and those of `Place`."""

_Block = tuple[Any, Sequence[Any]]  # paths, and the other columns


class Image(NamedTuple):
    """One image file.

    Attributes:
      path: relative to `image_dir`, with "/"; the first part is the label's folder, or
        the split's.
      folder: the label's folder, in its own spelling.
      length: bytes.
      mtime_ns: modification time, nanoseconds since 1970; 0 if the storage has none.
      place: where it is in a pack; None if it is a file of its own.
    """

    path: str
    folder: str
    length: int
    mtime_ns: int
    place: Place | None = None


class Images:
    """Many images as columns, on disk if they are very many (`data.columns`).

    Attributes:
      paths: large_string [N].
      names: the folders of labels.
      codes: int32 [N], which of `names` is the folder of an image.
      lengths: int64 [N].
      mtimes_ns: int64 [N].
    """

    def __init__(
        self, paths: pa.Array, names: Sequence[str], numbers: Sequence[np.ndarray]
    ) -> None:
        """Args: `numbers` are columns of TYPES, those of `Place` only in packs."""
        self.paths, self.names, self._numbers = paths, names, numbers
        self.codes, self.lengths, self.mtimes_ns, *self._places = numbers

    @classmethod
    def of(cls, images: Iterable[Image]) -> "Images":
        """Returns the columns of an iterable of images.

        Raises:
          StorageError: if there are very many, and the disk is full.
          UnicodeEncodeError: if a path is not UTF-8.
        """
        known: dict[str, int] = {}

        def blocks() -> Iterator[_Block]:
            left = iter(images)
            while some := list(itertools.islice(left, BLOCK)):
                paths, folders, lengths, mtimes_ns, places = zip(*some, strict=True)
                codes = [known.setdefault(each, len(known)) for each in folders]
                packed = zip(*filter(None, places), strict=True)
                yield paths, [codes, lengths, mtimes_ns, *packed]

        paths, numbers = _joined(blocks())
        return cls(paths, list(known), numbers)

    def by_folder(self) -> Counter[str]:
        """Returns the number of images of each folder that has any."""
        counts = np.bincount(self.codes, minlength=len(self.names)).tolist()
        return +Counter(dict(zip(self.names, counts, strict=True)))

    def take(self, rows: np.ndarray) -> "Images":
        """Returns some of the images, by their numbers."""

        def block(some: np.ndarray) -> _Block:
            return self.paths.take(pa.array(some)), [
                each[some] for each in self._numbers
            ]

        if len(rows) <= BLOCK:
            paths, numbers = block(rows)
            return Images(paths, self.names, numbers)
        starts = range(0, len(rows), BLOCK)
        paths, numbers = _joined(block(rows[at : at + BLOCK]) for at in starts)
        return Images(paths, self.names, numbers)

    def where(self, wanted: np.ndarray) -> "Images":
        """Returns the images for which `wanted`, bool [N], is true."""
        return self if wanted.all() else self.take(np.flatnonzero(wanted))

    def sorted(self) -> "Images":
        """Returns the images by path, in the order of code points."""
        for start in range(0, len(self), BLOCK):
            some = self.paths.slice(start, BLOCK + 1)
            if pc.any(pc.greater(some.slice(0, len(some) - 1), some.slice(1))).as_py():
                return self.take(pc.array_sort_indices(self.paths).to_numpy())
        return self

    def in_reading_order(self, rows: np.ndarray) -> np.ndarray:
        """Returns rows in the order of their places in packs, else as they are."""
        if not self._places:
            return rows

        def order(some: np.ndarray) -> np.ndarray:
            pack, block, start = (column[some] for column in self._places[:3])
            return np.lexsort((start, block, pack))

        for at in range(0, len(rows), BLOCK):
            found = order(rows[at : at + BLOCK + 1])
            if (found != np.arange(len(found))).any():
                return rows[order(rows)]
        return rows

    def rows_of(self, paths: Sequence[str]) -> np.ndarray:
        """Returns the rows of the images at some paths; a path may have none."""
        wanted = pa.array(paths, pa.large_string())
        return pc.index_in(wanted, value_set=self.paths).drop_null().to_numpy()

    def are_at(self, paths: Iterable[str]) -> np.ndarray:
        """Returns which images are at one of some paths, bool [N]."""
        wanted = pa.array(list(paths), pa.large_string())
        return pc.is_in(self.paths, wanted).to_numpy(zero_copy_only=False)

    def first_block(self, rows: np.ndarray) -> int:
        """Returns how many rows, in reading order, are read with the first; 1 or more.

        Images that are files of their own are read alone.
        """
        if not self._places:
            return 1
        pack, block = (column[rows] for column in self._places[:2])
        others = (pack != pack[0]) | (block != block[0])
        return int(others.argmax()) if others.any() else len(rows)

    def packs(self) -> np.ndarray:
        """Returns the number of each image's pack; all images have one."""
        return self._places[0]

    def smallest(self) -> Image:
        """Returns the smallest image that is not empty."""
        return self[int(np.where(self.lengths > 0, self.lengths, 1 << 62).argmin())]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Image:
        return next(iter(self.take(np.array([row]))))

    def __iter__(self) -> Iterator[Image]:
        for at in range(0, len(self), BLOCK):
            codes, *numbers = (each[at : at + BLOCK].tolist() for each in self._numbers)
            paths = self.paths.slice(at, BLOCK).to_pylist()
            yield from map(_image, paths, map(self.names.__getitem__, codes), *numbers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Images) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def _joined(blocks: Iterable[_Block]) -> _Block:
    """Returns columns of any length, made of blocks of them."""
    paths, numbers = Texts(), [Column(dtype) for dtype in TYPES]
    for some, columns in blocks:
        paths.append(some)
        for number, column in zip(numbers, columns, strict=False):
            number.append(column)
    found = [each.array() for each in numbers]
    return paths.array(), found[:3] + [each for each in found[3:] if len(each)]


def _image(path: str, folder: str, length: int, mtime_ns: int, *place: int) -> Image:
    return Image(path, folder, length, mtime_ns, Place(*place) if place else None)
