"""A million images as columns: what the listing, the split and the store pass on."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from poets.storage.tree import Place


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
    """Many images as columns: 30 bytes and a path each, a tenth of Python's objects.

    Attributes:
      paths: large_string [N].
      lengths: int64 [N].
      mtimes_ns: int64 [N].
    """

    def __init__(
        self,
        paths: pa.Array,
        folders: pa.Array,
        lengths: pa.Array,
        mtimes_ns: pa.Array,
        *places: pa.Array,
    ) -> None:
        self._columns = (paths, folders, lengths, mtimes_ns, *places)
        self.paths = paths
        self.lengths: np.ndarray = lengths.to_numpy()
        self.mtimes_ns: np.ndarray = mtimes_ns.to_numpy()
        self._packed = bool(places)

    @classmethod
    def of(cls, images: Iterable[Image]) -> "Images":
        """Returns the columns of an iterable of images.

        Raises:
          UnicodeEncodeError: if a path is not UTF-8.
        """
        paths: list[str] = []
        folders: list[str] = []
        numbers: dict[str, int] = {}
        codes, lengths, mtimes_ns = array("i"), array("q"), array("q")
        places = array("i"), array("i"), array("q"), array("q")
        for path, folder, length, mtime_ns, place in images:
            paths.append(path)
            if folder not in numbers:
                numbers[folder] = len(folders)
                folders.append(folder)
            codes.append(numbers[folder])
            lengths.append(length)
            mtimes_ns.append(mtime_ns)
            for column, number in zip(places, place or (), strict=False):
                column.append(number)
        return cls(
            pa.array(paths, pa.large_string()),
            pa.DictionaryArray.from_arrays(
                np.array(codes, np.int32), pa.array(folders, pa.string())
            ),
            pa.array(np.array(lengths, np.int64)),
            pa.array(np.array(mtimes_ns, np.int64)),
            *(pa.array(np.array(column)) for column in places if column),
        )

    @property
    def folders(self) -> list[str]:
        """The label's folder of each image."""
        column = self._columns[1]
        names = column.dictionary.to_pylist()
        return [names[code] for code in column.indices.to_pylist()]

    def take(self, rows: np.ndarray) -> "Images":
        """Returns some of the images, by their numbers."""
        return Images(*(column.take(pa.array(rows)) for column in self._columns))

    def sorted(self) -> "Images":
        """Returns the images by path, in the order of code points."""
        return self.take(pc.array_sort_indices(self.paths))

    def in_reading_order(self, rows: np.ndarray) -> np.ndarray:
        """Returns rows in the order of their places in packs, else as they are."""
        if not self._packed:
            return rows
        pack, block, start, _ = (
            column.to_numpy()[rows] for column in self._columns[-4:]
        )
        return rows[np.lexsort((start, block, pack))]

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
        if not self._packed:
            return 1
        pack, block = (column.to_numpy()[rows] for column in self._columns[-4:-2])
        others = (pack != pack[0]) | (block != block[0])
        return int(others.argmax()) if others.any() else len(rows)

    def packs(self) -> np.ndarray:
        """Returns the number of each image's pack; all images have one."""
        numbers: np.ndarray = self._columns[-4].to_numpy()
        return numbers

    def smallest(self) -> Image:
        """Returns the smallest image that is not empty."""
        return self[int(np.where(self.lengths > 0, self.lengths, 1 << 62).argmin())]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Image:
        return _image(*(column[row].as_py() for column in self._columns))

    def __iter__(self) -> Iterator[Image]:
        for start in range(0, len(self), 4096):
            some = [column.slice(start, 4096).to_pylist() for column in self._columns]
            yield from map(_image, *some)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Images) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def _image(path: str, folder: str, length: int, mtime_ns: int, *place: int) -> Image:
    return Image(path, folder, length, mtime_ns, Place(*place) if place else None)
