"""Many files read at once, and given in order.

    added        a.jpg  b.jpg  c.jpg  d.jpg  e.jpg  f.jpg  ...
    taken       └─────┘
    in flight           └─────────────────────────┘ at most IN_FLIGHT

A file on a storage far away takes milliseconds, in which nothing else need wait: while
one is used the next ones are on their way. Local files are read when their turn comes,
which costs a third of handing them from thread to thread.
"""

import contextlib
import errno
import os
import posixpath
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue

import pyarrow.fs

from poets.errors import PoetsError, StorageError
from poets.storage import is_local, open_storage, read_bytes, reason
from poets.storage.calls import TIMEOUT_VARIABLE, allowed_s, deadline, shorten
from poets.storage.tree import walk

IN_FLIGHT = 32
"""Files read and not yet taken: 5 ms a file give 6,400 a second."""

AHEAD_BYTES = 4 * 2**20
"""A longer file is read when its turn comes: IN_FLIGHT of them would fill memory."""

GRACE_S = 5.0
"""What a read may end later than its deadline before it is given up."""

OWN_FAULTS = (
    FileNotFoundError,  # it is gone
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
"""All that one file can be at fault for, besides a content that cannot be decoded.

Any other error, known or not, may hit every file: the adapters translate the answers
of their storages into built-ins, and this is the one place that divides those.
"""

KEPT = "run again when it can be had: what is done so far is kept"


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
        # A reader needs a place first and takes the first file that waits next: so
        # whoever waits for a file knows that it has a place.
        self._places: SimpleQueue[None] = SimpleQueue()
        self._readers = 0
        self._closed = False

    def add(self, path: str, length: int = 0) -> None:
        """Has a file read once it is its turn.

        Args:
          path: in the file system.
          length: bytes as listed, 0 if not known.
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
        """Returns the content of the first file that is not yet taken.

        Raises:
          OSError: as the storage tells it (FileNotFoundError, PermissionError, ...).
        """
        read = self._order.popleft()
        if read.done is None:
            return read_bytes(self._filesystem, read.path)
        if not read.done.acquire(timeout=self._timeout_s + GRACE_S):
            raise TimeoutError(
                errno.ETIMEDOUT,
                f"it was not read in {self._timeout_s:g} s: the server does not "
                "answer; see whether it is up and not overloaded "
                f"({TIMEOUT_VARIABLE} gives more time)",
                read.path,
            )
        self._places.put(None)
        if read.error is not None:
            raise read.error
        return read.data

    def close(self) -> None:
        """Ends the threads; each ends the read it is at."""
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
            except BaseException as error:  # raised again where the file is taken
                read.error = error
            read.done.release()  # type: ignore[union-attr]
            del read  # its content is the taker's now

    def _read(self, path: str) -> bytes:
        """Returns a file's content, within the deadline but for a silent server.

        `calls` makes each request in a daemon thread, to be able to leave it behind.
        These are such threads and `take` keeps the deadline, so that the first try is
        made right here: changing threads is a third of what a small file costs us.
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
    """A file to read; `done` can be acquired once it is read, None: it is not ahead."""

    __slots__ = ("data", "done", "error", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.done: threading.Lock | None = None
        self.data = b""
        self.error: BaseException | None = None


def read_files(
    filesystem: pyarrow.fs.FileSystem, paths: Iterable[str]
) -> Iterator[bytes | OSError]:
    """Gives the content of each file, or why it cannot be read, in order."""
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
    """Gives the first `length` bytes of each file, or why it cannot be read, in order.

    As many are read at once as files by `read_files`.
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
    pool = ThreadPoolExecutor(
        IN_FLIGHT, "beginning", initializer=shorten, initargs=(allowed_s(),)
    )
    try:
        yield from pool.map(read, paths)
    finally:  # Ctrl-C does not wait for a server that is silent
        pool.shutdown(wait=False, cancel_futures=True)


def stage_folder(url: str, local_dir: str) -> None:
    """Copies the files below a folder of any storage into a local folder.

    Raises:
      StorageError: if one of them cannot be read, or its name leads out of the folder.
    """
    filesystem, root = open_storage(url)
    try:
        names = [
            entry.path
            for entry in walk(filesystem, root)
            if entry.kind is pyarrow.fs.FileType.File
        ]
    except OSError as error:
        raise StorageError(f"cannot list {url!r}: {reason(error)}") from error
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
    """Returns whether an error is the fault of the one file that was asked for."""
    return isinstance(error, OWN_FAULTS) and not isinstance(error, PoetsError)


def raise_outage(error: OSError, url: str) -> None:
    """Raises StorageError unless an error is the fault of the one file at `url`.

    A file that is gone or forbidden is left out of a training; after any other error,
    all that was not yet read would be left out.
    """
    if isinstance(error, StorageError):
        raise error
    if not is_of_one_file(error):
        raise StorageError(f"cannot read {url!r}: {reason(error)}; {KEPT}") from error


def require_readable(folder: str, witness: str) -> None:
    """Raises StorageError unless a folder is still there and may be read.

    Called after files of it were gone or forbidden. Keys that were revoked make every
    file forbidden, and a bucket or a mount that vanished makes every file missing: one
    answer does not show that, a second request for what was there before does.

    Args:
      folder: URL of the folder that the files are in.
      witness: path below it of a file that could be read; "" if there was none.
    """
    filesystem, path = open_storage(folder)
    try:
        if witness:
            with contextlib.suppress(FileNotFoundError):  # gone, too: see the folder
                read_bytes(filesystem, posixpath.join(path, witness))
                return
        if not filesystem.get_file_info(pyarrow.fs.FileSelector(path)):
            raise FileNotFoundError(errno.ENOENT, "it is empty now", folder)
    except OSError as error:
        raise StorageError(
            f"cannot read {folder!r} as before: {reason(error)}; {KEPT}"
        ) from error
