"""Local paths and `file://` URLs."""

import ctypes
import errno
import os
from urllib.parse import unquote

import pyarrow.fs

from poets.errors import StorageError
from poets.storage import invalid_character, system_error


def connect(url: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """Returns the local file system and the absolute path of `url`.

    Raises:
      StorageError: if a `file://` URL names another machine, or the path is invalid.
    """
    path = url
    if "://" in url:
        # "#" and "?" are characters of a name here: a file has no query or fragment.
        machine, slash, below = url.partition("://")[2].partition("/")
        if machine not in ("", "localhost"):
            raise StorageError(
                f"cannot open {url!r}: it names the machine {machine!r}; "
                f"a local file is file:///{below} with three slashes"
            )
        path = slash + unquote(below)
    if found := invalid_character(path):
        raise StorageError(f"cannot open {url!r}: found {found}; name another path")
    return pyarrow.fs.LocalFileSystem(), os.path.abspath(path)


def rename(source: str, target: str, overwrite: bool) -> None:
    """Renames a file or a folder; a folder never replaces another.

    Raises:
      FileExistsError: if something is at `target` and `overwrite` is false, or one
        of the two is a folder.
      OSError: as the system reports it.
    """
    if os.path.isdir(source):
        if os.path.lexists(target):  # os.rename would silently replace an empty folder
            raise system_error(errno.EEXIST, target)
        try:
            os.rename(source, target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise system_error(errno.EEXIST, target) from error
            raise
    elif overwrite:
        try:
            os.replace(source, target)
        except IsADirectoryError as error:
            raise system_error(errno.EEXIST, target) from error
    else:
        os.link(source, target)  # unlike os.rename, it fails if the target exists
        os.unlink(source)


def exchange(one: str, other: str) -> bool:
    """Swaps the names of two folders in one step; returns whether that worked.

    renameat2(2) exists on Linux only, and some file systems lack it (NFS).
    """
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return renameat2(here, os.fsencode(one), here, os.fsencode(other), swap) == 0
