"""Makes a pyarrow file system of a `Backend`: `file_system(backend)`.

    pyarrow.fs.PyFileSystem ──> Handler ──> calls.call ──> Backend ──> the client
                                   │          deadline, retries         errors made
                                   │                                    built-ins
      beyond pyarrow's methods: read_bytes, write_bytes, rename, attributes, walk

A backend makes the requests of one client. This module adds what all of them need:
pyarrow's interface, retries of what may be repeated, and parallel listings.
"""

import errno
import itertools
import mmap
import posixpath
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import pyarrow
import pyarrow.fs
from pyarrow.fs import FileInfo, FileSelector, FileType

from poets.errors import NotAuthenticatedError
from poets.storage import system_error
from poets.storage.backend import Attributes, Backend, Status
from poets.storage.calls import call, threads
from poets.storage.streams import ReadFile, WriteFile

LISTING_THREADS = 16
WHOLE_BYTES = 16 << 20  # smaller files are written by one call, retried as a whole

T = TypeVar("T")


def file_system(backend: Backend) -> pyarrow.fs.PyFileSystem:
    """Returns the pyarrow file system of a backend."""
    return pyarrow.fs.PyFileSystem(Handler(backend))


class Handler(pyarrow.fs.FileSystemHandler):  # type: ignore[misc]
    """pyarrow's file system interface, and a few more methods, for any backend."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Handler):
            return self.backend is other.backend
        return NotImplemented

    # Beyond pyarrow.

    def read_bytes(self, path: str) -> bytes:
        """Returns a file's content."""
        return self._call(self.backend.read, path, what="reading the file")

    def write_bytes(self, path: str, data: bytes | mmap.mmap) -> None:
        """Creates or replaces a file; its folder must exist.

        An error never leaves a part of the file. Up to WHOLE_BYTES, the write is
        retried after a lost connection.
        """
        if len(data) <= WHOLE_BYTES:
            self._call(self.backend.write, path, data[:], what="writing the file")
            return
        file = self._open_to_write(path)
        for start in range(0, len(data), WHOLE_BYTES):
            file.write(data[start : start + WHOLE_BYTES])
        file.close()

    def rename(self, source: str, target: str, overwrite: bool = False) -> None:
        """Renames a file or a folder in one step.

        Raises:
          FileExistsError: if the target exists, unless it is a file, the source too,
            and `overwrite` is set.
        """

        def moved() -> bool:
            return self._found(target) and not self._found(source)

        self._call_once(
            self.backend.rename,
            source,
            target,
            overwrite,
            what=f"renaming to {posixpath.basename(target)!r}",
            is_done=moved,
        )

    def attributes(self, folder: str) -> dict[str, Attributes]:
        """Returns the attributes of the entries of a folder, by name."""
        return {
            posixpath.basename(status.path): Attributes(
                status.owner,
                status.group,
                stat.filemode(stat.S_IFREG | status.mode)[1:],
                status.replication,
                status.has_acl,
            )
            for status in self._listing(folder)
        }

    def walk(
        self,
        folder: str,
        enters: Callable[[str], bool] = lambda path: True,
        forbidden: Callable[[str, OSError], None] | None = None,
    ) -> Iterator[Status]:
        """Yields everything below a folder, listing folders in parallel.

        Args:
          enters: returns whether to list a folder, given its path.
          forbidden: is called for each folder below that may not be listed, which is
            then skipped; None raises.
        """

        def listing(path: str) -> list[Status]:
            try:
                return self._listing(path)
            except FileNotFoundError:  # deleted since its parent was listed
                return []
            except PermissionError as error:
                if forbidden is None or isinstance(error, NotAuthenticatedError):
                    raise
                forbidden(path, error)
                return []

        level: Iterable[list[Status]] = [self._listing(folder)]
        with threads(LISTING_THREADS, "listing") as pool:
            while level:
                deeper = []
                for status in itertools.chain.from_iterable(level):
                    yield status
                    if status.is_folder and enters(status.path):
                        deeper.append(status.path)
                level = pool.map(listing, deeper) if deeper else ()

    # pyarrow's interface.

    def get_type_name(self) -> str:
        """Returns the kind of file system, such as "hdfs"."""
        return self.backend.type_name

    def normalize_path(self, path: str) -> str:
        """Returns the path as it is."""
        return path

    def get_file_info(self, paths: list[str]) -> list[FileInfo]:
        """Returns what is at each path; raises if the storage does not answer."""
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector: FileSelector) -> list[FileInfo]:
        """Returns the entries of a folder or, if recursive, everything below it."""
        folder = selector.base_dir
        try:
            found = (
                [*self.walk(folder)] if selector.recursive else self._listing(folder)
            )
        except FileNotFoundError:
            if selector.allow_not_found:
                return []
            raise
        return [_info_of(status) for status in found]

    def create_dir(self, path: str, recursive: bool) -> None:
        """Creates a folder unless it exists."""
        make = self.backend.make_folder
        self._call(make, path, recursive, what="making the folder")

    def delete_file(self, path: str) -> None:
        """Deletes a file."""
        self._refuse(path, folder=True)
        self._delete(path, recursive=False)

    def delete_dir(self, path: str) -> None:
        """Deletes a folder with everything in it."""
        self._refuse(path, folder=False)
        self._delete(path, recursive=True)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        """Deletes everything in a folder."""
        if not path.strip("/"):
            self.delete_root_dir_contents()
        try:
            found = self._listing(path)
        except FileNotFoundError:
            if missing_dir_ok:
                return
            raise
        for status in found:
            self._delete(status.path, recursive=True)

    def delete_root_dir_contents(self) -> None:
        """Refuses: emptying a whole cluster can only be a mistake."""
        raise OSError(
            errno.EPERM, "refusing to empty the root folder", self.backend.root
        )

    move = rename  # by default, it replaces nothing

    def copy_file(self, src: str, dest: str) -> None:
        """Copies a file."""
        source, target = self._open_to_read(src), self._open_to_write(dest)
        try:
            while data := source.read(WHOLE_BYTES):
                target.write(data)
        except BaseException:
            target.abort()
            raise
        target.close()

    def open_input_file(self, path: str) -> pyarrow.PythonFile:
        """Opens a file for random access."""
        return pyarrow.PythonFile(self._open_to_read(path), mode="r")

    open_input_stream = open_input_file

    def open_output_stream(self, path: str, metadata: object) -> pyarrow.PythonFile:
        """Creates a file, which is removed if the block that writes it fails."""
        return pyarrow.PythonFile(self._open_to_write(path), mode="w")

    def open_append_stream(self, path: str, metadata: object) -> pyarrow.PythonFile:
        """Refuses: files are written once."""
        text = "files are written once; write another file"
        raise OSError(errno.ENOTSUP, text, self._url(path))

    # Requests to the backend.

    def _url(self, path: str) -> str:
        return self.backend.root + path

    def _call(self, function: Callable[..., T], path: str, *args: Any, what: str) -> T:
        return call(function, path, *args, what=what, url=self.backend.root + path)

    def _call_once(
        self,
        function: Callable[..., None],
        path: str,
        *args: Any,
        what: str,
        is_done: Callable[[], bool],
    ) -> None:
        """Makes a request whose answer may be lost after it was carried out.

        A retry then finds the path gone; `is_done` returns whether an earlier try did
        that.
        """
        lost = False

        def request() -> None:
            nonlocal lost
            try:
                function(path, *args)
            except FileNotFoundError:
                if not (lost and is_done()):
                    raise
            except ConnectionError as error:
                lost = lost or not isinstance(error, ConnectionRefusedError)
                raise

        call(request, what=what, url=self._url(path))

    def _delete(self, path: str, recursive: bool) -> None:
        self._call_once(
            self.backend.delete, path, recursive, what="deleting", is_done=lambda: True
        )

    def _status(self, path: str) -> Status:
        return self._call(self.backend.status, path, what="looking at the path")

    def _found(self, path: str) -> bool:
        return self._info(path).type != FileType.NotFound

    def _info(self, path: str) -> FileInfo:
        try:
            return _info_of(self._status(path)._replace(path=path))
        except (FileNotFoundError, NotADirectoryError):  # the latter: below a file
            return FileInfo(path, FileType.NotFound)

    def _refuse(self, path: str, folder: bool) -> None:
        """Raises IsADirectoryError if `folder` and it is one, or NotADirectoryError."""
        if self._status(path).is_folder == folder:
            number = errno.EISDIR if folder else errno.ENOTDIR
            raise system_error(number, self._url(path))

    def _listing(self, folder: str) -> list[Status]:
        return self._call(self.backend.listing, folder, what="listing the folder")

    def _open_to_read(self, path: str) -> ReadFile:
        return ReadFile(lambda: self.backend.reader(path), self._url(path))

    def _open_to_write(self, path: str) -> WriteFile:
        return WriteFile(lambda: self.backend.writer(path), self._url(path))


def status_of(info: FileInfo) -> Status:
    """Returns the metadata of an object, or of a folder that keys imply."""
    is_folder = info.type == FileType.Directory
    mtime_ms = 0 if is_folder else (info.mtime_ns or 0) // 1_000_000
    return Status(info.path, is_folder, info.size or 0, mtime_ms)


def _info_of(status: Status) -> FileInfo:
    mtime_ns = status.mtime_ms * 1_000_000 or None
    if status.is_folder:
        return FileInfo(status.path, FileType.Directory, mtime_ns=mtime_ns)
    return FileInfo(status.path, FileType.File, size=status.size, mtime_ns=mtime_ns)
