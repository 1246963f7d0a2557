"""The steps common to all storages: list, read, write.

They make the requests of the job: a listing, some bytes of one file, a small file that
is written, renamed and removed. They leave nothing behind and create no folder.
"""

import contextlib
import posixpath
import time
from collections.abc import Iterator, Sequence

import pyarrow.fs
from pyarrow.fs import FileInfo, FileSelector, FileType

from poets.data.image_files import is_listed, passed_over
from poets.data.image_listing import some
from poets.doctor import Checkup, Finding, StepError, step
from poets.errors import PoetsError, StorageError
from poets.storage import folder_of, join, open_storage, scheme_of
from poets.storage.calls import allowed_s, threads
from poets.storage.publish import check_writable
from poets.storage.tree import walk

SAMPLE_BYTES = 65_536
"""More than a DataNode's packet, but quickly read."""

DEEPEST, WIDEST = 3, 5
"""How deep below a folder, and in how many folders of each, to look for a file."""

AT_ONCE = 8
"""The number of folders that are written to at once."""

WITHOUT_FOLDERS = ("s3", "gs")
"""Here a folder is part of a name, and permissions apply to prefixes of names."""


@step("list", "the input folders are there and can be listed")
def list_inputs(checkup: Checkup) -> Finding:
    """Lists each input folder, and the folders in it that the job would list."""
    first, *others = [line for url in checkup.reads for line in _list(url)]
    return Finding(first, tuple(others))


@step("read", "one small file of each input folder can be read")
def read_inputs(checkup: Checkup) -> Finding:
    """Reads the beginning of one file in each input folder."""
    texts = {url: try_reading(url) for url in checkup.reads}
    found = [text for text in texts.values() if text]
    missing = [f"no file found in {url} to try" for url in texts if not texts[url]]
    first, *others = found + missing
    return Finding(first, tuple(others), applies=bool(found))


@step("write", "a file can be written, renamed and deleted in each output folder")
def write_outputs(checkup: Checkup) -> Finding:
    """Tries it with a small file, in the parent of a folder that is still missing."""
    places = {url: _place_of(url) for url in checkup.writes}
    unique = list(dict.fromkeys(places.values()))
    for failure in try_writing(unique):
        raise failure
    first, *others = [f"{place} is writable" for place in unique]
    later = [f"{url} can be made" for url, place in places.items() if url != place]
    return Finding(first, (*others, *later))


def try_reading(url: str) -> str:
    """Reads the beginning of a file, or of one below a folder.

    Returns:
      what was read; "" if there is no file with content.

    Raises:
      StepError: if it cannot be read.
    """
    with _failing(f"cannot read {url!r}"):
        filesystem, path = open_storage(url)
        info = filesystem.get_file_info(path)
        found = info if info.type == FileType.File else _file_below(filesystem, path)
    if found is None:
        return ""
    with (
        _failing(f"cannot read {found.path!r}"),
        filesystem.open_input_stream(found.path) as stream,
    ):
        data = stream.read(min(found.size or 0, SAMPLE_BYTES))
    return f"{len(data):,} bytes of {found.path}"


def try_writing(urls: Sequence[str]) -> list[StepError]:
    """Writes, renames and deletes a small file where each folder is or will be.

    It creates no folder, so that a job which is refused leaves nothing behind. It works
    in parallel: HDFS may take half a second to close a file.

    Returns:
      what failed; empty if nothing did.
    """
    with threads(AT_ONCE, "writing") as pool:
        return [failure for failure in pool.map(_try_writing, urls) if failure]


def _try_writing(url: str) -> StepError | None:
    try:
        check_writable(_place_of(url))
    except StepError as error:
        where = "" if url in error.found else f"cannot write in {url!r}: "
        return StepError(f"{where}{error.found}", error.cure)
    except StorageError as error:
        cause = error.__cause__ or error
        return StepError.of(cause, f"cannot write in {url!r}", _cure(cause))
    return None


def _list(url: str) -> list[str]:
    with _failing(f"cannot list {url!r}"):
        filesystem, path = open_storage(url)
        info = filesystem.get_file_info(path)
        if info.type == FileType.File:
            return [f"{url} is a file of {info.size:,} bytes"]
        has_folders = scheme_of(url) not in WITHOUT_FOLDERS
        if info.type == FileType.NotFound and has_folders:
            raise StepError(
                f"there is no {url!r}{_what_is_there(filesystem, path)}",
                "put the images there, or name the folder that has them",
            )
        infos = filesystem.get_file_info(FileSelector(path, allow_not_found=True))
    if not infos and not has_folders:
        raise StepError(
            f"there is nothing in {url!r}",
            "put the images there, or name the folder that has them",
        )
    folders = sum(info.type == FileType.Directory for info in infos)
    lines = [f"{url} holds {folders} folders and {len(infos) - folders} files"]
    if path.strip("/") and has_folders:  # "/" of a cluster or a machine is too large
        lines += _list_below(url)
    return lines


def _list_below(url: str) -> Iterator[str]:
    """Lists what the job would list, for at most half the deadline of a step.

    Yields:
      What is passed over, and whether the time was too short.

    Raises:
      StepError: if a folder cannot be listed.
    """

    def forbidden(path: str, error: OSError) -> None:
        what = f"cannot list {join(url, path)!r}"
        raise StepError.of(error, what, _cure(error)) from error

    filesystem, path = open_storage(url)
    hidden, end = set(), time.monotonic() + allowed_s() / 2
    with _failing(f"cannot list {url!r}"):
        for count, entry in enumerate(walk(filesystem, path, is_listed, forbidden)):
            if name := passed_over(entry.path):
                hidden.add(name)
            if time.monotonic() > end:
                yield f"{count:,} files and folders were listed, the others not"
                break
    if hidden:
        yield f"passed over, as by the job: {some(hidden)}"


def _place_of(url: str) -> str:
    """Returns a folder or, if it does not exist, the nearest parent that does."""
    if scheme_of(url) in WITHOUT_FOLDERS:
        return url
    place = url
    with _failing(f"cannot write in {url!r}"):
        filesystem, path = open_storage(url)
        for _ in _missing(filesystem, path):
            place = folder_of(place)
    if "://" in place and place.count("/") == 2:
        place += "/"  # without a slash, it would be the user's folder
    return place


def _file_below(
    filesystem: pyarrow.fs.FileSystem, folder: str, depth: int = 1
) -> FileInfo | None:
    """Returns the smallest file with content in the first folder that has one."""
    infos = filesystem.get_file_info(FileSelector(folder, allow_not_found=True))
    files = [info for info in infos if info.type == FileType.File and info.size]
    if files or depth == DEEPEST:
        return min(files, key=lambda info: info.size, default=None)
    folders = [
        info.path
        for info in infos
        if info.type == FileType.Directory and is_listed(info.base_name)
    ]
    below = (_file_below(filesystem, path, depth + 1) for path in folders[:WIDEST])
    return next((found for found in below if found), None)


def _missing(filesystem: pyarrow.fs.FileSystem, path: str) -> list[str]:
    """Returns the folders of a path that do not exist yet, innermost first.

    Raises:
      StepError: if one of them is a file.
    """
    missing = []
    path = path.rstrip("/") or "/"
    while (info := filesystem.get_file_info(path)).type != FileType.Directory:
        if info.type == FileType.File:
            raise StepError(f"{path!r} is a file", "name a folder")
        if path in ("", "/"):
            break
        missing.append(path)
        path = posixpath.dirname(path)
    return missing


def _what_is_there(filesystem: pyarrow.fs.FileSystem, path: str) -> str:
    """Returns what the innermost existing folder of a path contains."""
    missing = _missing(filesystem, path)
    there = posixpath.dirname(missing[-1]) if missing else path
    infos = filesystem.get_file_info(FileSelector(there))
    names = ", ".join(sorted(info.base_name for info in infos)[:8]) or "nothing"
    return f": {there!r} holds {names}{' …' if len(infos) > 8 else ''}"


@contextlib.contextmanager
def _failing(what: str) -> Iterator[None]:
    try:
        yield
    except StepError:
        raise
    except (PoetsError, OSError) as error:
        if isinstance(error, TimeoutError) and not error.args:
            raise  # the caller knows how long it waited
        raise StepError.of(error, what, _cure(error)) from error


def _cure(error: BaseException) -> str:
    if isinstance(error, PermissionError):
        return "give this user the permission, or name another folder"
    return ""
