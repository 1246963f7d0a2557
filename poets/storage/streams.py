"""Python files on a backend, for pyarrow to read and write.

    ReadFile    any part, any number of times; opened again when a server is lost
    WriteFile   written once, from start to end; removed if writing fails

They have the methods that `pyarrow.PythonFile` calls when it is given a mode. Each
request has the deadline of `calls`.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from poets.storage.calls import call

REQUEST_BYTES = 32 << 20  # the most that has to arrive within one deadline


class Reader(NamedTuple):
    """A file that is open for reading, perhaps by several threads.

    `read_range(offset, length)` returns exactly `length` bytes from `offset` on, for
    0 <= offset, 0 < length, offset + length <= size.
    """

    size: int
    read_range: Callable[[int, int], bytes]


class Writer(NamedTuple):
    """A file that is being written.

    Attributes:
      write: adds to the end.
      close: completes the file.
      abort: removes the file if possible; raises nothing.
    """

    write: Callable[[bytes], object]
    close: Callable[[], None]
    abort: Callable[[], None]


class ReadFile:
    """A Python file for `pyarrow.PythonFile`, mode "r"; one thread at a time."""

    def __init__(self, open_reader: Callable[[], Reader], url: str) -> None:
        self._open_reader, self._url = open_reader, url
        self._reader: Reader | None = None
        self._reader = call(open_reader, what="opening the file", url=url)
        self._size = self._reader.size
        self._position = 0
        self.closed = False

    def tell(self) -> int:
        """Returns the position, in bytes from the start."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a position, at most to the end, and returns it."""
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}
        self._position = min(max(begin[whence] + offset, 0), self._size)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Returns up to `size` bytes; all that is left if it is negative or None."""
        left = self._size - self._position
        wanted = left if size is None or size < 0 else min(size, left)
        read = partial(call, self._read_range, what="reading the file", url=self._url)
        parts = []
        while wanted:
            length = min(wanted, REQUEST_BYTES)
            parts.append(read(self._position, length))
            self._position += length
            wanted -= length
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Releases the reader."""
        self._reader, self.closed = None, True

    def _read_range(self, offset: int, length: int) -> bytes:
        reader = self._reader or self._open_reader()
        if reader.size != self._size:
            raise OSError(
                errno.ESTALE,
                f"it had {self._size} bytes and has {reader.size} now: another file "
                "took its place; read it again",
                self._url,
            )
        self._reader = None  # a retry asks again where the blocks are
        data = reader.read_range(offset, length)
        self._reader = reader
        return data


class WriteFile:
    """A Python file for `pyarrow.PythonFile`, mode "w"."""

    def __init__(self, open_writer: Callable[[], Writer], url: str) -> None:
        self._url = url
        self._position = 0
        # pyarrow closes a stream also when the block that writes it fails, and does not
        # say why. `sys.exc_info` shows it: that block's exception is being handled.
        self._handled = sys.exc_info()[1]
        self.closed = False
        self._writer = call(open_writer, what="creating the file", url=url)

    def tell(self) -> int:
        """Returns how many bytes were written."""
        return self._position

    def write(self, data: object) -> int:
        """Adds `data` to the end and returns its length."""
        # A client may copy a pyarrow.Buffer ten times more slowly than bytes.
        taken = data if isinstance(data, bytes) else bytes(memoryview(data))  # type: ignore[arg-type]
        for start in range(0, len(taken), REQUEST_BYTES):
            part = taken[start : start + REQUEST_BYTES]
            self._once(self._writer.write, part, what="writing the file")
        self._position += len(taken)
        return len(taken)

    def close(self) -> None:
        """Completes the file; removes it if the block that writes it has failed."""
        if self.closed:
            return
        if sys.exc_info()[1] is not self._handled:
            self.abort()
            return
        self._once(self._writer.close, what="closing the file")
        self.closed = True

    def abort(self) -> None:
        """Removes the file if possible."""
        self.closed = True
        with contextlib.suppress(OSError):
            call(self._writer.abort, what="removing the file", url=self._url)

    def _once(self, function: Callable[..., object], *args: bytes, what: str) -> None:
        """Makes a request that must not be repeated; if it fails, removes the file."""
        try:
            call(function, *args, what=what, url=self._url, repeat=False)
        except BaseException:
            self.abort()
            raise
