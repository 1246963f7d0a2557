"""Makes a file system of an object store, for `poets.storage.objects`.

An object appears as a whole when its upload ends. Stores cannot rename: `rename` copies
on the server and then deletes, so two renames at once may both succeed. Folders are
derived from the keys of objects; an empty one exists only in the process that made it.
A folder replaces another one file by file, with `saved_model.pb` last; other files of
the earlier folder are deleted afterwards.
"""

import contextlib
import errno
import posixpath
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pyarrow
import pyarrow.fs
from pyarrow.fs import FileInfo, FileSelector, FileType

from poets.errors import NotAuthenticatedError
from poets.storage import system_error
from poets.storage.backend import Attributes, Backend, Status
from poets.storage.handler import Handler, status_of
from poets.storage.objects.errors import has_no_reason, no_bucket, translate_errors
from poets.storage.streams import Reader, Writer

COPYING_THREADS = 8
LAST = "saved_model.pb"
"""Its presence marks a folder as a SavedModel, so it is copied last."""


def file_system(store: pyarrow.fs.FileSystem, scheme: str) -> pyarrow.fs.PyFileSystem:
    """Returns the file system for one of pyarrow's clients."""
    return pyarrow.fs.PyFileSystem(ObjectHandler(ObjectBackend(store, scheme)))


class ObjectBackend(Backend):
    """The requests of pyarrow's client, with errors translated into built-ins."""

    def __init__(self, store: pyarrow.fs.FileSystem, scheme: str) -> None:
        self.type_name = scheme
        self.root = f"{scheme}://"
        self._store = store
        self._errors = partial(translate_errors, scheme)
        self._buckets: set[str] = set()
        self._made: set[str] = set()  # folders, which may still be empty

    def status(self, path: str) -> Status:
        with self._explained(path):
            info = self._store.get_file_info(path)
        if info.type == FileType.NotFound:
            self.require_bucket(path)
            if path not in self._made:
                raise system_error(errno.ENOENT, self.root + path)
            info = FileInfo(path, FileType.Directory)
        return status_of(info)

    def listing(self, folder: str) -> list[Status]:
        if self.type_name == "s3":
            return self.tree(folder, 0)
        # Google's client leaves out a folder that has no object of its own.
        found: dict[str, Status] = {}
        for status in self.tree(folder, 1):
            name, slash, _ = status.path[len(folder) + 1 :].partition("/")
            path = posixpath.join(folder, name)
            if slash:
                status = status_of(FileInfo(path, FileType.Directory))
            found[path] = status
        return list(found.values())

    def tree(self, folder: str, depth: int) -> list[Status]:
        """Returns the entries of a folder or, if `depth` > 0, everything below it.

        It takes one request for each 1,000 objects.
        """
        selector = FileSelector(folder, recursive=depth > 0)
        try:
            with self._errors(folder):
                infos = self._store.get_file_info(selector)
        except FileNotFoundError:
            if folder not in self._made:
                raise
            infos = []
        return [status_of(info) for info in infos]

    def read(self, path: str) -> bytes:
        with self._explained(path), self._store.open_input_stream(path) as stream:
            return stream.read()

    def reader(self, path: str) -> Reader:
        with self._explained(path):
            file = self._store.open_input_file(path)
            size = file.size()
        read_at = self._errors(path)(file.read_at)
        return Reader(size, lambda offset, length: read_at(length, offset))

    def writer(self, path: str) -> Writer:
        translate = self._errors(path)
        stream = translate(self._store.open_output_stream)(path)

        def discard() -> None:
            # A stream cannot be aborted: this completes half an object.
            with contextlib.suppress(Exception):
                stream.close()
                self.delete(path, recursive=False)

        return Writer(translate(stream.write), translate(stream.close), discard)

    def make_folder(self, path: str, parents: bool) -> None:
        """Remembers the folder: a store has it only once something is in it."""
        while "/" in path:
            self._made.add(path)
            path = posixpath.dirname(path)

    def delete(self, path: str, recursive: bool) -> None:
        if recursive and "/" not in path.strip("/"):
            raise OSError(errno.EPERM, "refusing to empty a bucket", self.root + path)
        if recursive and self.status(path).is_folder:
            self._delete_folder(path)
            return
        with self._errors(path):
            self._store.delete_file(path)

    def rename(self, source: str, target: str, overwrite: bool) -> None:
        is_folder = self.status(source).is_folder
        with self._errors(target):
            found = self._store.get_file_info(target).type
        same = (found == FileType.Directory) == is_folder
        if found != FileType.NotFound and not (overwrite and same):
            raise system_error(errno.EEXIST, self.root + target)
        if is_folder:
            self._move_folder(source, target, found != FileType.NotFound)
        else:
            with self._errors(target):
                self._store.copy_file(source, target)
                self._store.delete_file(source)

    def require_bucket(self, path: str) -> None:
        """Raises FileNotFoundError if the bucket of a path does not exist.

        If the store forbids asking, the bucket is assumed to exist.
        """
        bucket = path.partition("/")[0]
        if bucket in self._buckets:
            return
        with contextlib.suppress(PermissionError), self._errors(path):
            if self._store.get_file_info(bucket).type == FileType.NotFound:
                raise no_bucket(self.type_name, path)
        self._buckets.add(bucket)

    @contextlib.contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        """Translates errors of its body; finds the reason of a refusal without one.

        S3 answers HEAD requests, which precede each read, with a status only: 400 for
        an expired token, 403 for a revoked key or for one forbidden object. Its answer
        to a listing is complete, so the error of a listing is the reason.
        """
        try:
            with self._errors(path):
                yield
        except OSError as error:
            if has_no_reason(error):
                self._raise_reason(path)
            raise

    def _raise_reason(self, path: str) -> None:
        try:
            self.tree(path, 0)
        except NotAuthenticatedError:
            raise
        except (FileNotFoundError, PermissionError):
            pass  # nothing new: one object may be gone or forbidden

    def _move_folder(self, source: str, target: str, replaces: bool) -> None:
        names = self._names(source)
        stale = self._names(target) - names if replaces else set()

        def copy(name: str) -> None:
            here, there = posixpath.join(source, name), posixpath.join(target, name)
            with self._errors(target):
                self._store.copy_file(here, there)

        with ThreadPoolExecutor(COPYING_THREADS) as pool:
            list(pool.map(copy, names - {LAST}))
        if LAST in names:
            copy(LAST)
        with self._errors(target):
            for name in stale:
                self._store.delete_file(posixpath.join(target, name))
        self._delete_folder(source)

    def _delete_folder(self, path: str) -> None:
        below = f"{path}/"
        self._made = {made for made in self._made if not f"{made}/".startswith(below)}
        # Google's client empties the folder, then misses an object of its own name.
        with contextlib.suppress(FileNotFoundError), self._errors(path):
            self._store.delete_dir(path)

    def _names(self, folder: str) -> set[str]:
        return {
            status.path[len(folder) + 1 :]
            for status in self.tree(folder, 1 << 30)
            if not status.is_folder
        }


class ObjectHandler(Handler):
    """The methods that differ from file systems with real folders."""

    replaces_folders = True  # by `rename` with `overwrite`
    backend: ObjectBackend

    def get_file_info(self, paths: list[str]) -> list[FileInfo]:
        """Returns what is at each path.

        Raises:
          FileNotFoundError: if the bucket does not exist.
        """
        infos = super().get_file_info(paths)
        for info in infos:
            if info.type == FileType.NotFound:
                self._call(
                    self.backend.require_bucket, info.path, what="looking at the bucket"
                )
        return infos

    def attributes(self, folder: str) -> dict[str, Attributes]:
        """Returns question marks: objects have neither an owner nor permissions."""
        return {
            posixpath.basename(status.path): Attributes()
            for status in self._listing(folder)
        }

    def walk(self, folder: str, *_: object, **__: object) -> Iterator[Status]:
        """Yields all objects below a folder, and the folders that their keys imply.

        Permissions apply to prefixes of keys, so no folder is left out.
        """
        yield from self._call(self.backend.tree, folder, 1, what="listing the folder")
