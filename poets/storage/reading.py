"""Reads many files at once, and returns them in order.

    added        a.jpg  b.jpg  c.jpg  d.jpg  e.jpg  f.jpg  ...
    taken       └─────┘
    in flight           └─────────────────────────┘ at most IN_FLIGHT

A remote file takes milliseconds, so the next ones are read while one is used. Local
files are read when they are taken, which needs a third of the time of passing them from
thread to thread.
"""

import contextlib
import errno
import os
import posixpath
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from queue import SimpleQueue

import pyarrow.fs

from poets.errors import PoetsError, StorageError
from poets.storage import is_local, open_storage, read_bytes, reason, storage_errors
from poets.storage.calls import TIMEOUT_VARIABLE, allowed_s, deadline, threads
from poets.storage.tree import walk

IN_FLIGHT = 32
"""Files read and not yet taken: at 5 ms a file, 6,400 files a second."""

AHEAD_BYTES = 4 * 2**20
"""A longer file is read when it is taken: IN_FLIGHT of them would fill memory."""

GRACE_S = 5.0
"""How long a read may exceed its deadline before it is given up."""

OWN_FAULTS = (
    FileNotFoundError,  # deleted
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
"""Errors of one file alone, besides content that cannot be decoded.

Any other error, known or not, may concern every file. The adapters translate the
answers of their storages into built-ins; only this table sorts those into two kinds.
"""

KEPT = "run again when it is available: what is done so far is kept"


class Reads:
    """Files of one storage, taken in the order in which they were added.

    `add` and `take` may be called from two threads.
    """

    def __init__(self, filesystem: pyarrow.fs.FileSystem) -> None:
        self._filesystem = filesystem
        self._ahead = not is_local(filesystem)
        self._timeout_s = allowed_s() if self._ahead else 0.0
        handler = getattr(filesystem, "handler", None)
        self._backend = getattr(handler, "backend", None)
        self._order: deque[_Read] = deque()
        self._waiting: SimpleQueue[_Read | None] = SimpleQueue()
        # A thread gets a place before it gets the next file of the queue, so the file
        # that `take` waits for always has a place.
        self._places: SimpleQueue[None] = SimpleQueue()
        self._readers = 0
        self._closed = False

    def add(self, path: str, length: int = 0) -> None:
        """Queues a file for reading.

        Args:
          path: in the file system.
          length: its size as listed, in bytes; 0 if unknown.
        """
        read = _Read(path)
        if self._ahead and length <= AHEAD_BYTES:
            read.done = threading.Lock()
            read.done.acquire()
            self._waiting.put(read)
            if self._readers < IN_FLIGHT:
                self._readers += 1
                self._places.put(None)
                threading.Thread(target=self._work, name="read", daemon=True).start()
        self._order.append(read)

    def take(self) -> bytes:
        """Returns the content of the next file, in the order of `add`.

        Raises:
          OSError: as the storage reports it (FileNotFoundError, PermissionError, ...).
        """
        read = self._order.popleft()
        if read.done is None:
            return read_bytes(self._filesystem, read.path)
        if not read.done.acquire(timeout=self._timeout_s + GRACE_S):
            raise TimeoutError(
                errno.ETIMEDOUT,
                f"it was not read in {self._timeout_s:g} s: the server does not "
                "answer; check whether it is up and not overloaded "
                f"({TIMEOUT_VARIABLE} gives more time)",
                read.path,
            )
        self._places.put(None)
        if read.error is not None:
            raise read.error
        return read.data

    def close(self) -> None:
        """Ends the threads, each after its current read."""
        self._closed = True
        for _ in range(self._readers):
            self._places.put(None)
            self._waiting.put(None)

    def _work(self) -> None:
        while True:
            self._places.get()
            read = self._waiting.get()
            if read is None or self._closed:
                return
            try:
                read.data = self._read(read.path)
            except BaseException as error:  # raised again by `take`
                read.error = error
            read.done.release()  # type: ignore[union-attr]
            del read  # so that `take` holds the only reference to the content

    def _read(self, path: str) -> bytes:
        """Returns a file's content; `take` keeps the deadline if the server is silent.

        `calls` makes each request in a daemon thread, to be able to abandon it. This
        already is one, so the first try is made right here: changing threads takes a
        third of the time of a small file.
        """
        if self._backend is None:
            return read_bytes(self._filesystem, path)
        begin = time.monotonic()
        try:
            return self._backend.read(path)
        except ConnectionError:
            left_s = self._timeout_s - (time.monotonic() - begin)
            with deadline(max(left_s, 1.0)):
                return read_bytes(self._filesystem, path)


class _Read:
    """A file to read; `done` is released once it is read, None if `take` reads it."""

    __slots__ = ("data", "done", "error", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.done: threading.Lock | None = None
        self.data = b""
        self.error: BaseException | None = None


def read_files(
    filesystem: pyarrow.fs.FileSystem, paths: Iterable[str]
) -> Iterator[bytes | OSError]:
    """Yields the content of each file, or the error of reading it, in order."""
    reads = Reads(filesystem)
    left = iter(paths)
    count = sum(1 for _ in map(reads.add, islice(left, IN_FLIGHT)))
    try:
        while count:
            try:
                found: bytes | OSError = reads.take()
            except OSError as error:
                found = error
            count += sum(1 for _ in map(reads.add, islice(left, 1))) - 1
            yield found
    finally:
        reads.close()


def read_beginnings(
    filesystem: pyarrow.fs.FileSystem, paths: Iterable[str], length: int
) -> Iterator[bytes | OSError]:
    """Yields the first `length` bytes of each file, or its error, in order.

    IN_FLIGHT files are read at once.
    """

    def read(path: str) -> bytes | OSError:
        try:
            with filesystem.open_input_stream(path) as stream:
                return stream.read(length)
        except OSError as error:
            return error

    if is_local(filesystem):
        yield from map(read, paths)
        return
    with threads(IN_FLIGHT, "beginning") as pool:
        yield from pool.map(read, paths)


def stage_folder(url: str, local_dir: str) -> None:
    """Copies the files below a folder of any storage into a local folder.

    Raises:
      StorageError: if one of them cannot be read, or its name leads out of the folder.
    """
    filesystem, root = open_storage(url)
    with storage_errors(f"list {url!r}"):
        names = [
            entry.path
            for entry in walk(filesystem, root)
            if entry.kind is pyarrow.fs.FileType.File
        ]
    for name in names:
        if name.startswith("/") or ".." in name.split("/"):
            raise StorageError(
                f"cannot copy {url!r}: it holds a file named {name!r}; rename it"
            )
    paths = [posixpath.join(root, name) for name in names]
    for name, path, data in zip(
        names, paths, read_files(filesystem, paths), strict=True
    ):
        if isinstance(data, OSError):
            raise StorageError(f"cannot read {path!r}: {reason(data)}") from data
        target = os.path.join(local_dir, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(data)


def is_of_one_file(error: OSError) -> bool:
    """Returns whether an error concerns only the file that was asked for."""
    return isinstance(error, OWN_FAULTS) and not isinstance(error, PoetsError)


def raise_outage(error: OSError, url: str) -> None:
    """Raises StorageError unless an error concerns only the file at `url`.

    Training goes on without a file that is gone or forbidden. After any other error, it
    would go on without all files that were not yet read.
    """
    if isinstance(error, StorageError):
        raise error
    if not is_of_one_file(error):
        raise StorageError(f"cannot read {url!r}: {reason(error)}; {KEPT}") from error


def require_readable(folder: str, witness: str) -> None:
    """Raises StorageError unless a folder is still there and may be read.

    Called after some of its files were gone or forbidden. Revoked keys make every file
    forbidden, and a bucket or a mount that vanished makes every file missing. A second
    request, for something that was there before, distinguishes these cases.

    Args:
      folder: URL of the folder of the files.
      witness: path below it of a file that could be read; "" if there was none.
    """
    filesystem, path = open_storage(folder)
    with storage_errors(f"read {folder!r} as before", KEPT):
        if witness:
            with contextlib.suppress(FileNotFoundError):  # gone too: look at the folder
                read_bytes(filesystem, posixpath.join(path, witness))
                return
        if not filesystem.get_file_info(pyarrow.fs.FileSelector(path)):
            raise FileNotFoundError(errno.ENOENT, "it is empty now", folder)
