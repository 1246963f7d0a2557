"""Columns that grow: in memory while they are short, then in a file that is mapped.

A hundred million paths take 5 GB. In a mapped file without a name they take none of the
process's own memory: the kernel keeps as much of them as fits. A full disk is a
StorageError.
"""

import contextlib
import mmap
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike

from poets.errors import StorageError

IN_MEMORY = 2**20
"""Bytes of a column up to which it has no file."""

BLOCK = 2**16
"""Rows that are handled at once."""


class Column:
    """Numbers, or anything else of a fixed size."""

    def __init__(self, dtype: DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        self._file = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - see finalize
            IN_MEMORY, prefix="poets-"
        )
        weakref.finalize(self, self._file.close)

    def append(self, values: Sequence[int] | np.ndarray) -> None:
        """Adds values at the end."""
        with _disk_errors():
            self._file.write(np.ascontiguousarray(values, self._dtype).tobytes())

    def array(self) -> np.ndarray:
        """Returns all values so far, read-only."""
        return np.frombuffer(self.whole(), self._dtype)

    def whole(self) -> bytes | mmap.mmap:
        """Returns the bytes of all values so far, read-only."""
        size = self._file.tell()
        if size <= IN_MEMORY:
            self._file.seek(0)
            return self._file.read()
        with _disk_errors():
            self._file.flush()
        return mmap.mmap(self._file.fileno(), size, access=mmap.ACCESS_READ)


def joined(parts: Iterable[bytes]) -> bytes | mmap.mmap:
    """Returns parts as one piece, on disk if it is long."""
    whole = Column(np.uint8)
    for part in parts:
        whole.append(np.frombuffer(part, np.uint8))
    return whole.whole()


class Texts:
    """Texts, as Arrow has them."""

    def __init__(self) -> None:
        self._ends, self._bytes = Column(np.int64), Column(np.uint8)
        self._ends.append([0])
        self._length = 0

    def append(self, texts: Sequence[str] | pa.Array) -> None:
        """Adds texts at the end; raises UnicodeEncodeError if one is not UTF-8."""
        if not isinstance(texts, pa.Array):
            texts = pa.array(texts, pa.large_string())
        array = texts.cast(pa.large_string())
        _, offsets, data = array.buffers()
        ends = np.frombuffer(offsets, np.int64)[array.offset :][: len(array) + 1]
        if len(texts):
            self._bytes.append(np.frombuffer(data, np.uint8)[ends[0] : ends[-1]])
            self._ends.append(ends[1:] + (self._length - ends[0]))
            self._length += int(ends[-1] - ends[0])

    def array(self) -> pa.Array:
        """Returns all texts so far, large_string."""
        ends, data = self._ends.array(), self._bytes.array()
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(data)]
        return pa.Array.from_buffers(pa.large_string(), len(ends) - 1, buffers)


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """Translates errors of the disk into StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write to the temporary folder {tempfile.gettempdir()!r}: "
            f"{error.strerror}; free some space, or set TMPDIR to another folder"
        ) from error
