"""Lists a folder in the format of `hdfs dfs -ls`.

    Found 2 items
    -rw-r--r--   3 tensorflow tensorflow    5488743 2018-04-17 12:48 run/graph.pb
    drwxr-xr-x   - tensorflow tensorflow          0 2018-04-17 12:31 run/summaries

The columns are those of Hadoop's FsShell, so programs that read its listing can read
this one. Owner, group, permissions and replication are not part of a
`pyarrow.fs.FileInfo`: the handlers of our storages supply them. "?" marks an unknown
value.
"""

import contextlib
import grp
import os
import pwd
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow.fs

from poets.errors import StorageError
from poets.report.text import printable
from poets.storage import is_local, join, open_storage, storage_errors
from poets.storage.backend import Attributes

MODIFIED_FORMAT = "%Y-%m-%d %H:%M"  # local time, as FsShell does
MIN_REPLICATION_WIDTH = 3
MIN_SIZE_WIDTH = 10


@dataclass(frozen=True)
class Entry:
    """One line of a listing; `path` is the folder as given, joined with the name."""

    path: str
    is_folder: bool
    size_bytes: int
    modified: datetime | None
    attributes: Attributes

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


def list_folder(url: str) -> list[Entry]:
    """Returns the files and folders directly in a folder, sorted by path.

    Names that begin with "." are left out: they are unfinished files.

    Raises:
      StorageError: if there is no such folder or it cannot be listed.
    """
    filesystem, path = open_storage(url)
    with storage_errors(f"list {url!r}"):
        folder = filesystem.get_file_info(path)
        if folder.type == pyarrow.fs.FileType.NotFound:
            raise StorageError(
                f"cannot list {url!r}: no such file or folder; "
                "give the folder that a run wrote its graph to"
            )
        if folder.type == pyarrow.fs.FileType.File:
            raise StorageError(
                f"cannot list {url!r}: it is a file; give the folder that holds it"
            )
        infos = filesystem.get_file_info(pyarrow.fs.FileSelector(path))
        attributes = _attributes_in(filesystem, path)
    return [
        _entry(url, info, attributes[info.base_name])
        for info in sorted(infos, key=lambda info: info.base_name)
        if info.base_name in attributes and not info.base_name.startswith(".")
    ]


def format_listing(entries: Sequence[Entry]) -> str:
    """Returns the lines of `hdfs dfs -ls` for these entries; "" without entries."""
    if not entries:
        return ""
    rows = []
    for entry in entries:
        found = entry.attributes
        kind, acl = "d" if entry.is_folder else "-", "+" if found.has_acl else " "
        replication = "-" if entry.is_folder else str(found.replication)
        modified = entry.modified.strftime(MODIFIED_FORMAT) if entry.modified else "-"
        owners = found.owner, found.group
        path, size = printable(entry.path), str(entry.size_bytes)
        mode = kind + found.permissions + acl
        rows.append((mode, replication, *owners, size, modified, path))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[1] = max(widths[1], MIN_REPLICATION_WIDTH)
    widths[4] = max(widths[4], MIN_SIZE_WIDTH)
    lines = [f"Found {len(rows)} items"]
    lines += [
        f"{mode}{replication:>{widths[1]}} {owner:<{widths[2]}} {group:<{widths[3]}} "
        f"{size:>{widths[4]}} {modified:<16} {path}"
        for mode, replication, owner, group, size, modified, path in rows
    ]
    return "\n".join(lines)


def _entry(url: str, info: pyarrow.fs.FileInfo, attributes: Attributes) -> Entry:
    is_folder = info.type == pyarrow.fs.FileType.Directory
    return Entry(
        path=join(url, info.base_name),
        is_folder=is_folder,
        size_bytes=0 if is_folder else info.size or 0,
        modified=info.mtime.astimezone() if info.mtime else None,
        attributes=attributes,
    )


def _attributes_in(
    filesystem: pyarrow.fs.FileSystem, folder: str
) -> dict[str, Attributes]:
    """Returns the attributes of what is in a folder, by name."""
    if not is_local(filesystem):
        return filesystem.handler.attributes(folder)
    found = {}
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):  # just deleted, or a broken link
            found[entry.name] = _attributes_of(entry.stat())
    return found


def _attributes_of(status: os.stat_result) -> Attributes:
    owner, group = str(status.st_uid), str(status.st_gid)  # if they have no name
    with contextlib.suppress(KeyError):
        owner = pwd.getpwuid(status.st_uid).pw_name
    with contextlib.suppress(KeyError):
        group = grp.getgrgid(status.st_gid).gr_name
    return Attributes(owner, group, stat.filemode(status.st_mode)[1:])
