"""Local paths and `file://` URLs."""

import os
from urllib.parse import unquote, urlsplit

import pyarrow.fs

from poets.errors import StorageError


def connect(url: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """Returns the local file system and the absolute path of `url`.

    Raises:
      StorageError: if a `file://` URL names another machine.
    """
    if "://" not in url:
        return pyarrow.fs.LocalFileSystem(), os.path.abspath(url)
    parts = urlsplit(url, allow_fragments=False)
    if parts.netloc not in ("", "localhost"):
        raise StorageError(
            f"cannot open {url!r}: it names the machine {parts.netloc!r}; "
            f"a local file is file://{parts.path} with three slashes"
        )
    return pyarrow.fs.LocalFileSystem(), os.path.abspath(unquote(parts.path))
