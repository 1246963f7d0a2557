"""Opens local paths, HDFS, S3 and Google Cloud Storage alike: `open_storage(url)`.

    tf_files/flowers            LocalFileSystem, <cwd>/tf_files/flowers
    file:///data/flowers        LocalFileSystem, /data/flowers
    hdfs://default/flowers      PyFileSystem, /flowers
    s3://photos/flowers         PyFileSystem, photos/flowers

Functions take a `pyarrow.fs.FileSystem` and a path in it. A `PyFileSystem` also has
`filesystem.handler`, with methods that pyarrow lacks: see `poets.storage.handler`.
Adapters are listed in `ADAPTERS` and imported on first use.
"""

import contextlib
import importlib
import os
import posixpath
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from poets.errors import StorageError, UnknownSchemeError

if TYPE_CHECKING:  # pyarrow takes 0.1 s, and only opening a storage needs it
    import mmap

    import pyarrow.fs

ADAPTERS = {  # scheme -> (module, what installs it)
    "": ("poets.storage.local", None),
    "file": ("poets.storage.local", None),
    "hdfs": ("poets.storage.hadoop.native", "python -m pip install hdfs-native"),
    "viewfs": ("poets.storage.hadoop.native", "python -m pip install hdfs-native"),
    "webhdfs": ("poets.storage.hadoop.web", "python -m pip install 'poets[webhdfs]'"),
    "swebhdfs": ("poets.storage.hadoop.web", "python -m pip install 'poets[webhdfs]'"),
    "s3": ("poets.storage.objects", None),
    "gs": ("poets.storage.objects", None),
}

_WEB = ("http", "https")
_WITH_A_HOST = (*_WEB, "s3", "gs")  # the others have a default host
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(?!//)([/\\]?)")


def scheme_of(url: str) -> str:
    """Returns the part of `url` before "://", lower case, or "" for a local path.

    Raises:
      UnknownSchemeError: if it looks like a URL but is malformed, such as "hdfs:/p".
    """
    if problem := misspelling(url):
        raise UnknownSchemeError(f"cannot open {without_keys(url)!r}: {problem}")
    scheme, separator, _ = url.partition("://")
    return scheme.lower() if separator else ""


def misspelling(url: str) -> str:
    """Returns what is wrong with the start of a URL and how to write it, or "".

    Without this check, "hdfs:/p" and "s3:b" would be local paths, and "s3:///b" a
    bucket without a name. Write "./s3:b" for a local path of that form. Other names
    may contain a colon ("10:30.jpg"), but not a colon and a slash ("host:/p").
    """
    match = _SCHEME.match(url)
    scheme = (match[1] if match else url.partition("://")[0]).lower()
    known = scheme in ADAPTERS or scheme in _WEB
    if match and (known or match[2]):
        found = f"no '//' after '{match[1]}:'"
    elif scheme in _WITH_A_HOST and url[len(scheme) :].startswith(":///"):
        found = f"no name after '{url[: len(scheme)]}://'"
    else:
        return ""
    shown = without_keys(url)
    local = f"./{shown} is a local path"
    if not known:
        return f"found {found}; {local}, a URL begins with one of {_known()}"
    path = shown[len(scheme) + 1 :].removeprefix("***@").replace("\\", "/").lstrip("/")
    names_host = scheme in _WITH_A_HOST or ":" in path.partition("/")[0]
    slashes = "//" if names_host else "///"
    return f"found {found}; write {scheme}:{slashes}{path} ({local})"


def _known() -> str:
    return ", ".join(sorted(f"{name}://" for name in ADAPTERS if name))


def without_keys(url: str) -> str:
    """Returns a URL with its keys, or user and password, masked."""
    scheme, colon, rest = url.partition(":")
    keys, at, place = rest.rpartition("@")
    return f"{scheme}:***@{place}" if ":" in keys else url


def invalid_character(path: str) -> str:
    """Returns the character that no storage takes in a name, as text; "" for none."""
    if "\0" in path:
        return "a NUL character"
    valid = path.encode(errors="ignore").decode() == path
    return "" if valid else "a character that is not valid Unicode"


def open_storage(url: str) -> "tuple[pyarrow.fs.FileSystem, str]":
    """Returns the file system that holds `url`, and the path in it.

    Raises:
      UnknownSchemeError: if no adapter is known for the URL's scheme, or it is
        misspelled.
      StorageError: if the adapter's client is not installed.
    """
    scheme = scheme_of(url)
    if scheme not in ADAPTERS:
        plain = scheme.partition("+")[0] or scheme
        other = f"{plain}:// instead"  # of hdfs+libhdfs, hdfs+jvm
        if plain not in ADAPTERS:
            other = f"a local path or {_known()}"
        raise UnknownSchemeError(
            f"no storage for {url!r}: the scheme is {scheme!r}; use {other}"
        )
    module, install = ADAPTERS[scheme]
    try:
        adapter = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if install is None:  # a bug in poets, not a missing client
            raise
        raise StorageError(
            f"cannot open {url!r}: {error.name} is not installed; {install}"
        ) from error
    return adapter.connect(url)


def join(url: str, *names: str) -> str:
    """Returns the URL of `names` below the folder `url`."""
    separator = "" if url.endswith("/") else "/"
    return url + separator + "/".join(names)


def folder_of(url: str) -> str:
    """Returns the URL of the folder that a file or a folder lies in."""
    scheme, separator, path = url.rstrip("/").rpartition("://")
    folder = posixpath.dirname(path)
    if not separator:
        return folder or "."
    root = "" if "/" in folder else "/"  # hdfs://host alone is the user's home folder
    return f"{scheme}{separator}{folder}{root}"


def is_local(filesystem: "pyarrow.fs.FileSystem") -> bool:
    """Returns whether paths of this file system are paths of this machine."""
    return filesystem.type_name == "local"


def read_bytes(filesystem: "pyarrow.fs.FileSystem", path: str) -> bytes:
    """Returns a file's content.

    Raises:
      OSError: as the storage reports it (FileNotFoundError, PermissionError, ...).
    """
    if is_local(filesystem):  # takes a third of the time of pyarrow's stream
        with open(path, "rb") as file:
            return file.read()
    return filesystem.handler.read_bytes(path)


def write_bytes(
    filesystem: "pyarrow.fs.FileSystem", path: str, data: "bytes | mmap.mmap"
) -> None:
    """Creates or replaces a file; its folder must exist.

    Raises:
      OSError: as the storage reports it.
    """
    if is_local(filesystem):
        with open(path, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    else:
        filesystem.handler.write_bytes(path, data)


def rename(
    filesystem: "pyarrow.fs.FileSystem", source: str, target: str, overwrite: bool
) -> None:
    """Renames a file or a folder, in one step where the storage can.

    Args:
      source: the path of a file or a folder.
      target: its new path, in a folder that exists.
      overwrite: whether to replace a file at `target`. Only object stores replace
        folders, see `poets.storage.objects`.

    Raises:
      FileExistsError: if `target` exists and may not be replaced.
      OSError: as the storage reports it (FileNotFoundError, PermissionError, ...).
    """
    if is_local(filesystem):
        local = importlib.import_module(ADAPTERS["file"][0])
        local.rename(source, target, overwrite)
    else:
        filesystem.handler.rename(source, target, overwrite)


def read_url(url: str) -> bytes:
    """Returns the content of the file at `url`.

    Raises:
      StorageError: if it cannot be read, with the reason.
    """
    filesystem, path = open_storage(url)
    with storage_errors(f"read {url!r}"):
        return read_bytes(filesystem, path)


def kind_of(url: str) -> "pyarrow.fs.FileType":
    """Returns what is at `url`: a file, a folder (Directory) or nothing (NotFound).

    Raises:
      StorageError: if the storage does not answer, or forbids it.
    """
    filesystem, path = open_storage(url)
    with storage_errors(f"access {url!r}"):
        return filesystem.get_file_info(path).type


def exists(url: str) -> bool:
    """Returns whether there is a file or a folder at `url`.

    Raises:
      StorageError: if the storage does not answer, or forbids it.
    """
    return kind_of(url).name != "NotFound"


def is_folder(filesystem: "pyarrow.fs.FileSystem", path: str) -> bool:
    """Returns whether there is a folder at a path.

    Raises:
      OSError: as the storage reports it.
    """
    return filesystem.get_file_info(path).type.name == "Directory"


@contextlib.contextmanager
def storage_errors(what: str, advice: str = "") -> Iterator[None]:
    """Turns the errors of a block into StorageError, which `poets.errors` describes.

    Args:
      what: what the block does, such as "read 'hdfs://default/flowers'".
      advice: what to do; "" if the reasons have it.

    Raises:
      StorageError: for each OSError.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        end = f"; {advice}" if advice else ""
        raise StorageError(f"cannot {what}: {reason(error)}{end}") from error


def system_error(number: int, path: str) -> OSError:
    """Returns the built-in error of an errno, with the system's own text."""
    return OSError(number, os.strerror(number), path)


def reason(error: OSError) -> str:
    """Returns an error's text without the path, which the caller's message has."""
    text = error.strerror or str(error) or type(error).__name__
    if detail := re.search(r"Detail: \[errno \d+\] (.+)", text):  # as pyarrow puts it
        return detail[1].lower()
    own = error.errno is not None and text == os.strerror(error.errno)
    return text.lower() if own else text
