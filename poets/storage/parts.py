"""What is not yet a result: its names, and what killed jobs left of it.

    out/.graph.pb.0f3a52c7d1e9.part      a file or a folder, written beside its place
    out/.saved_model.0f3a52c7d1e9.aside  an earlier folder, while the new one moves in

Names are unique and hidden, so nobody takes them for a result. A job that is killed
leaves some; the next one that publishes there removes those that are nobody's.
"""

import contextlib
import posixpath
import re
import uuid
from collections.abc import Set
from datetime import datetime, timedelta

import pyarrow.fs

from poets.storage import is_folder, rename

PART_SUFFIX = ".part"
ASIDE_SUFFIX = ".aside"
KEPT = timedelta(hours=1)
"""No publication takes as long: an older part is nobody's."""

_UNFINISHED = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{12}(?P<kind>\.part|\.aside)")


def beside(path: str) -> str:
    """Returns the path of a new part in the folder of a path."""
    folder, name = posixpath.split(path.rstrip("/"))
    return posixpath.join(folder, f".{name}.{uuid.uuid4().hex[:12]}{PART_SUFFIX}")


def aside_of(part: str) -> str:
    """Returns where the earlier folder goes while a part takes its place."""
    return part.removesuffix(PART_SUFFIX) + ASIDE_SUFFIX


def delete(filesystem: pyarrow.fs.FileSystem, path: str) -> None:
    """Deletes a file, or a folder with all that is in it.

    Raises:
      OSError: as the storage tells it.
    """
    if is_folder(filesystem, path):
        filesystem.delete_dir(path)
    else:
        filesystem.delete_file(path)


def sweep(
    filesystem: pyarrow.fs.FileSystem, folder: str, now: datetime, left: Set[str]
) -> None:
    """Removes what killed jobs left in a folder; one that they put aside moves back.

    What cannot be removed stays: it disturbs nobody.

    Args:
      now: the time by the clock that gives files of this storage their times.
      left: the names of parts of jobs that are known to be killed. All others that
        are older than an hour are removed too.

    Raises:
      OSError: if the folder cannot be listed.
    """
    for info in filesystem.get_file_info(pyarrow.fs.FileSelector(folder)):
        match = _UNFINISHED.fullmatch(info.base_name)
        if not match:
            continue
        with contextlib.suppress(OSError):
            named = info.base_name in left
            if not named and now - _time_of(filesystem, info, now) <= KEPT:
                continue
            if match["kind"] == ASIDE_SUFFIX:
                place = posixpath.join(folder, match["name"])
                with contextlib.suppress(FileExistsError):
                    rename(filesystem, info.path, place, overwrite=False)
                    continue
            delete(filesystem, info.path)


def _time_of(
    filesystem: pyarrow.fs.FileSystem, info: pyarrow.fs.FileInfo, now: datetime
) -> datetime:
    """Returns when the newest file of a part was written."""
    infos = [info]
    if info.type == pyarrow.fs.FileType.Directory:
        below = pyarrow.fs.FileSelector(info.path, recursive=True)
        infos += filesystem.get_file_info(below)
    return max((i.mtime for i in infos if i.mtime is not None), default=now)
