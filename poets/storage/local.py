"""Local paths and `file://` URLs."""

import os
from urllib.parse import unquote

import pyarrow.fs

from poets.errors import StorageError


def connect(url: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """Returns the local file system and the absolute path of `url`.

    Raises:
      StorageError: if a `file://` URL names another machine, or it is no path.
    """
    if "://" not in url:
        return pyarrow.fs.LocalFileSystem(), _absolute(url, url)
    # "#" and "?" are characters of a name here: a file has no query or fragment.
    machine, slash, path = url.partition("://")[2].partition("/")
    if machine not in ("", "localhost"):
        raise StorageError(
            f"cannot open {url!r}: it names the machine {machine!r}; "
            f"a local file is file:///{path} with three slashes"
        )
    return pyarrow.fs.LocalFileSystem(), _absolute(slash + unquote(path), url)


def _absolute(path: str, url: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError:
        found = "a character that is no Unicode text"
    else:
        found = "a NUL character" if "\0" in path else ""
    if found:
        raise StorageError(f"cannot open {url!r}: found {found}; name another path")
    return os.path.abspath(path)
