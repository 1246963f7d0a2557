"""Local paths and `file://` URLs."""

import os
from urllib.parse import unquote, urlsplit

import pyarrow.fs

from poets.errors import StorageError


def connect(url: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """Returns the local file system and the absolute path of `url`.

    Raises:
      StorageError: if a `file://` URL names another machine, or it is no path.
    """
    if "://" not in url:
        return pyarrow.fs.LocalFileSystem(), _absolute(url, url)
    parts = urlsplit(url, allow_fragments=False)
    if parts.netloc not in ("", "localhost"):
        raise StorageError(
            f"cannot open {url!r}: it names the machine {parts.netloc!r}; "
            f"a local file is file://{parts.path} with three slashes"
        )
    return pyarrow.fs.LocalFileSystem(), _absolute(unquote(parts.path), url)


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
