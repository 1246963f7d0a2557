"""Publishes results as a whole: writes them beside their place, then renames.

    with Publication(lock) as publication:
        publication.add_file("out/graph.pb", data)     # out/.graph.pb.<id>.part
        publication.add_folder("out/saved_model/1", local_dir)
        publication.commit()                           # now they are all there

A full disk, a lost connection or a kill before `commit` leaves earlier results as they
were. With a lock, only one of two jobs can publish to a folder; the other one fails.
"""

import contextlib
import errno
import mmap
import os
import posixpath
import uuid
from collections.abc import Callable

import pyarrow.fs

from poets.storage import (
    folder_of,
    is_folder,
    is_local,
    join,
    open_storage,
    rename,
    storage_errors,
    system_error,
    write_bytes,
)
from poets.storage.local import exchange
from poets.storage.parts import aside_of, beside, delete
from poets.storage.publish_lock import PublishLock

UNCHANGED = "what was there before is unchanged"


class Publication:
    """Files and folders that are written first, and then renamed together.

    Args:
      lock: keeps other jobs from publishing during the renames; None for files that
        any job may replace.
    """

    def __init__(self, lock: PublishLock | None = None) -> None:
        self._lock = lock
        self._renames: list[tuple[pyarrow.fs.FileSystem, str, str, str]] = []

    def __enter__(self) -> "Publication":
        return self

    def __exit__(self, *exception: object) -> None:
        self.discard()

    def add_file(self, url: str, data: bytes | mmap.mmap) -> None:
        """Writes `data` beside `url`.

        Raises:
          StorageError: if it cannot be written, or a folder is there; nothing has
            changed then.
        """
        filesystem, path = open_storage(url)
        part = beside(path)
        self._renames.append((filesystem, part, path, url))
        with storage_errors(f"write {url!r}", UNCHANGED):
            _refuse_folder(filesystem, path)
            filesystem.create_dir(posixpath.dirname(path), recursive=True)
            write_bytes(filesystem, part, data)

    def add_folder(self, url: str, local_dir: str) -> None:
        """Copies the files below a local folder beside the folder `url`.

        Raises:
          StorageError: if they cannot be written; nothing has changed then.
        """
        filesystem, path = open_storage(url)
        part = beside(path)
        self._renames.append((filesystem, part, path.rstrip("/"), url))
        with storage_errors(f"write {url!r}", UNCHANGED):
            for folder, _, names in os.walk(local_dir):
                relative = os.path.relpath(folder, local_dir)
                target = posixpath.normpath(posixpath.join(part, relative))
                filesystem.create_dir(target, recursive=True)
                for name in names:
                    with open(os.path.join(folder, name), "rb") as file:
                        data = file.read()
                    write_bytes(filesystem, posixpath.join(target, name), data)

    def commit(self) -> None:
        """Renames everything into place, in the order it was added.

        Raises:
          StorageError: if another job has published, and then nothing has changed;
            if a rename fails, and then the earlier ones are done.
        """
        held: contextlib.AbstractContextManager[Callable[[], None]]
        held = contextlib.nullcontext(lambda: None)
        if self._lock and self._renames:
            parts = [posixpath.basename(part) for _, part, _, _ in self._renames]
            folders = {folder_of(url) for _, _, _, url in self._renames}
            held = self._lock.held([*parts, *map(aside_of, parts)], folders)
        with held as refresh:
            while self._renames:
                filesystem, part, path, url = self._renames[0]
                refresh()
                with storage_errors(f"publish {url!r}", UNCHANGED):
                    _replace(filesystem, part, path)
                del self._renames[0]

    def discard(self) -> None:
        """Removes what was written and not committed."""
        for filesystem, part, _, _ in self._renames:
            with contextlib.suppress(OSError):
                delete(filesystem, part)
        self._renames.clear()


def write_atomically(url: str, data: bytes) -> None:
    """Writes a file so that readers see all of it or nothing.

    Raises:
      StorageError: if it cannot be written; an earlier file is unchanged then.
    """
    with Publication() as publication:
        publication.add_file(url, data)
        publication.commit()


def check_writable(folder_url: str) -> None:
    """Writes, renames and removes a small file in a folder, which it creates.

    Raises:
      StorageError: if one of these fails.
    """
    probe = join(folder_url, f".poets-{uuid.uuid4().hex}.probe")
    write_atomically(probe, b"poets\n")
    filesystem, path = open_storage(probe)
    with storage_errors(f"delete {probe!r}", UNCHANGED):
        filesystem.delete_file(path)


def _refuse_folder(filesystem: pyarrow.fs.FileSystem, path: str) -> None:
    """Raises IsADirectoryError if a file would replace a folder."""
    if is_folder(filesystem, path):
        raise system_error(errno.EISDIR, path)


def _replace(filesystem: pyarrow.fs.FileSystem, part: str, path: str) -> None:
    """Renames `part` to `path`, in one step where the storage can."""
    if not is_folder(filesystem, part):
        _refuse_folder(filesystem, path)
        rename(filesystem, part, path, overwrite=True)
    elif not is_folder(filesystem, path):
        rename(filesystem, part, path, overwrite=False)
    else:
        _replace_folder(filesystem, part, path)


def _replace_folder(filesystem: pyarrow.fs.FileSystem, part: str, path: str) -> None:
    if getattr(getattr(filesystem, "handler", None), "replaces_folders", False):
        rename(filesystem, part, path, overwrite=True)
        return
    earlier = part
    if not (is_local(filesystem) and exchange(part, path)):
        earlier = aside_of(part)
        rename(filesystem, path, earlier, overwrite=False)
        try:
            rename(filesystem, part, path, overwrite=False)
        except BaseException:
            rename(filesystem, earlier, path, overwrite=False)
            raise
    with contextlib.suppress(OSError):  # the results are in place already
        filesystem.delete_dir(earlier)
