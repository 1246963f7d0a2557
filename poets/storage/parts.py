"""Temporary names of results, and cleanup after killed jobs.

    out/.graph.pb.0f3a52c7d1e9.part      a file or a folder, written beside its place
    out/.saved_model.0f3a52c7d1e9.aside  an earlier folder, while the new one moves in

These names are unique and hidden, so that nothing takes them for results. A killed job
leaves some; the next job that publishes to the folder removes them.
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
ABANDONED_AFTER = timedelta(hours=1)
"""Publishing takes less: an older part was left by a killed job."""

_UNFINISHED = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{12}(?P<kind>\.part|\.aside)")


def beside(path: str) -> str:
    """Returns a new temporary path in the same folder."""
    folder, name = posixpath.split(path.rstrip("/"))
    return posixpath.join(folder, f".{name}.{uuid.uuid4().hex[:12]}{PART_SUFFIX}")


def aside_of(part: str) -> str:
    """Returns where to put the earlier folder while a part replaces it."""
    return part.removesuffix(PART_SUFFIX) + ASIDE_SUFFIX


def delete(filesystem: pyarrow.fs.FileSystem, path: str) -> None:
    """Deletes a file, or a folder with everything in it.

    Raises:
      OSError: as the storage reports it.
    """
    if is_folder(filesystem, path):
        filesystem.delete_dir(path)
    else:
        filesystem.delete_file(path)


def sweep(
    filesystem: pyarrow.fs.FileSystem, folder: str, now: datetime, left: Set[str]
) -> None:
    """Removes what killed jobs left in a folder, and restores what they put aside.

    What cannot be removed stays, which does no harm.

    Args:
      now: the time by the storage's own clock.
      left: the parts of jobs that are known to be killed. Other parts are removed
        once they are older than an hour.

    Raises:
      OSError: if the folder cannot be listed.
    """
    for info in filesystem.get_file_info(pyarrow.fs.FileSelector(folder)):
        match = _UNFINISHED.fullmatch(info.base_name)
        if not match:
            continue
        with contextlib.suppress(OSError):
            named = info.base_name in left
            if not named and now - _time_of(filesystem, info, now) <= ABANDONED_AFTER:
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
