"""Lists everything below a folder of any storage, each real folder once.

    flowers/rose/1.jpg            rose/1.jpg
    flowers/lily -> /data/lily    lily/1.jpg, if /data/lily is not listed as well
    flowers/rose/all -> ..        rose/all, a folder that is listed elsewhere

Real folders are listed before links to folders, and both in the order of their names.
So pictures keep the name of their own folder, whatever the order of the system's lists.
Only local folders can contain links to folders: HDFS lists a link as a file, and object
stores have none.
"""

import contextlib
import errno
import heapq
import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pyarrow.fs
from pyarrow.fs import FileType

from poets.storage import is_local

NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""The system's errors for a link that leads nowhere."""

Forbidden = Callable[[str, OSError], None]


class Place(NamedTuple):
    """Where a file lies that is packed with others in one large file.

    Attributes:
      pack: the number of the pack.
      block: the number of the part that is read at once.
      start: the byte of the pack, or the row of the block, at which it begins.
      size: bytes that it takes.
    """

    pack: int
    block: int
    start: int
    size: int


class Entry(NamedTuple):
    """A file or a folder below another folder.

    Attributes:
      path: below the folder, with "/".
      kind: NotFound is a link that leads nowhere, Unknown a pipe, socket or device.
      length: bytes, 0 for a folder.
      mtime_ns: modification time, nanoseconds since 1970, 0 if the storage has none.
      leads_to: for a folder that is listed under another name, its path; for a link
        that leads nowhere, its target; "" otherwise.
      place: of a file in a pack; None for one of its own.
    """

    path: str
    kind: FileType
    length: int = 0
    mtime_ns: int = 0
    leads_to: str = ""
    place: Place | None = None


def walk(
    filesystem: pyarrow.fs.FileSystem,
    root: str,
    enters: Callable[[str], bool] = lambda path: True,
    forbidden: Forbidden | None = None,
) -> Iterator[Entry]:
    """Yields everything below a folder, as it is listed.

    Args:
      filesystem: of any storage.
      root: the folder's path in it.
      enters: returns whether to list a folder, given its path below `root`. Object
        stores list all of them.
      forbidden: is called for each folder that may not be listed, which is then
        skipped; None raises.

    Raises:
      OSError: as the storage reports it; its `filename` is the folder's.
    """
    root = root.rstrip("/")
    if is_local(filesystem):
        yield from _walk_here(root or "/", enters, forbidden)
        return

    def below(path: str) -> str:
        return path[len(root) + 1 :]

    def pass_over(path: str, error: OSError) -> None:
        if forbidden is None:
            raise error
        forbidden(below(path), error)

    for status in filesystem.handler.walk(
        root or "/", lambda path: enters(below(path)), pass_over
    ):
        if path := below(status.path):
            kind = FileType.Directory if status.is_folder else FileType.File
            yield Entry(path, kind, status.size, status.mtime_ms * 1_000_000)


def _walk_here(
    root: str, enters: Callable[[str], bool], forbidden: Forbidden | None
) -> Iterator[Entry]:
    listed = _above(root)
    folders, links = [""], list[str]()
    while folders or links:
        folder = folders.pop() if folders else heapq.heappop(links)
        path = os.path.join(root, folder) if folder else root
        try:
            known = _note(path, listed)
            if folder:
                yield Entry(folder, FileType.Directory, leads_to=known)
            if not known:
                below = []
                for entry, found in _entries(path, folder):
                    if entry.kind is not FileType.Directory or not enters(entry.path):
                        yield entry
                    elif found.is_symlink():
                        heapq.heappush(links, entry.path)
                    else:
                        below.append(entry.path)
                folders += sorted(below, reverse=True)
        except FileNotFoundError:  # deleted since the folder above was listed
            if not folder:
                raise
        except PermissionError as error:
            if not folder or forbidden is None:
                raise
            forbidden(folder, error)


def _entries(path: str, folder: str) -> Iterator[tuple[Entry, "os.DirEntry[str]"]]:
    """Yields the entries of a folder, each with the system's own."""
    start = f"{folder}/" if folder else ""
    with os.scandir(path) as names:
        for found in names:
            if entry := _entry(start + found.name, found):
                yield entry, found


def _entry(path: str, found: "os.DirEntry[str]") -> Entry | None:
    """Returns the entry of a name; None if it was deleted since."""
    try:
        if found.is_dir():
            return Entry(path, FileType.Directory)
        status = found.stat()
    except OSError as error:
        if error.errno not in NOWHERE:
            raise
        if not found.is_symlink():
            return None
        return Entry(path, FileType.NotFound, leads_to=os.readlink(found.path))
    kind = FileType.File if stat.S_ISREG(status.st_mode) else FileType.Unknown
    return Entry(path, kind, status.st_size, status.st_mtime_ns)


def _note(path: str, listed: dict[tuple[int, int], str]) -> str:
    """Records that a folder is listed; returns where, if it already was."""
    status = os.stat(path)
    identity = status.st_dev, status.st_ino
    if known := listed.get(identity, ""):
        return known
    listed[identity] = path
    return ""


def _above(root: str) -> dict[tuple[int, int], str]:
    """Returns the parents of a folder: links to them would lead into it again."""
    found: dict[tuple[int, int], str] = {}
    path = os.path.realpath(root)
    while (above := os.path.dirname(path)) != path:
        path = above
        with contextlib.suppress(PermissionError):
            _note(path, found)
    return found
