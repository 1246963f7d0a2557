"""Moves the pictures of a report's list out of the way, and back.

    list.csv ──> what to move ──> all checks ──> moved-<time>.csv ──> moves, one by one
    move,path    from, to                        in the new folder

The list of moves is written before the first move, so that a kill at any moment can be
undone. A picture is renamed within a storage; to another one it is copied, then
deleted. No file is ever replaced.
"""

import csv
import datetime
import errno
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import pyarrow.fs

from poets.data.image_files import passed_over
from poets.errors import ConfigError, StorageError, format_problems
from poets.report import METRICS
from poets.report.run_files import csv_file, csv_rows
from poets.storage import (
    exists,
    folder_of,
    join,
    kind_of,
    open_storage,
    read_bytes,
    read_url,
    rename,
    storage_errors,
)
from poets.storage.publish import write_atomically

FROM_TO = "from", "to"


@dataclass(frozen=True)
class Move:
    """A file to move: its URL, and its new URL, "" if it is not yet known."""

    source: str
    target: str


def listed_moves(list_url: str, move_to: str = "", image_dir: str = "") -> list[Move]:
    """Returns the moves that a list of the report asks for.

    Args:
      list_url: a CSV with a column `path` and perhaps a column `move`, "yes" or "no".
      move_to: the new folder; "" leaves the targets empty.
      image_dir: where the pictures are; "" for where the run beside the list had them.

    Raises:
      ConfigError: for all mistakes in the list and in the folders.
      StorageError: if the list cannot be read, or a storage fails.
    """
    problems, paths = [], []
    for number, row in enumerate(_read(list_url, ("path",)), 2):
        path, move = row["path"], row.get("move", "yes")
        if move not in ("yes", "no"):
            problems.append(f"line {number}: move is {move!r}, not yes or no")
        elif not {"", ".", ".."}.isdisjoint(path.split("/")):
            problems.append(f"line {number}: {path!r} is not a path below image_dir")
        elif move == "yes":
            paths.append(path)
    image_dir = image_dir or _image_dir_beside(list_url)
    if kind_of(image_dir) != pyarrow.fs.FileType.Directory:
        problems.append(
            f"{image_dir!r} is not a folder: give --image_dir; pictures in packs "
            "cannot be moved"
        )
    below = _below(move_to, image_dir) if move_to else None
    if below is not None and not passed_over(below):
        problems.append(
            f"--move_to={move_to} is in {image_dir!r}, where it would be a label: "
            "choose another folder"
        )
    if problems:
        raise ConfigError(format_problems(f"cannot clean by {list_url!r}", problems))
    return [
        Move(join(image_dir, path), join(move_to, path) if move_to else "")
        for path in dict.fromkeys(paths)
    ]


def undone_moves(list_url: str) -> list[Move]:
    """Returns the moves that take back those of a list that `move_all` wrote.

    Raises:
      ConfigError: if it is not such a list.
      StorageError: if it cannot be read.
    """
    return [Move(row["to"], row["from"]) for row in _read(list_url, FROM_TO)]


def move_all(moves: Sequence[Move], undo_folder: str = "") -> tuple[int, str]:
    """Moves files, and passes over those that are missing.

    First writes a list to `undo_folder` that undoes the moves, none for "".

    Returns:
      The number of files moved, and the URL of the list, "" without one.

    Raises:
      StorageError: if a target exists, before any move; if a move fails, and then the
        earlier ones are done.
    """
    there = [move for move in moves if exists(move.source)]
    if taken := [move.target for move in there if exists(move.target)]:
        raise StorageError(
            f"cannot move {len(there)} pictures: {taken[0]!r} exists"
            f"{f', and {len(taken) - 1} more' if taken[1:] else ''}; nothing was "
            "moved: choose another folder"
        )
    undo = ""
    if there and undo_folder:
        now = datetime.datetime.now(datetime.timezone.utc)
        undo = join(undo_folder, f"moved-{now:%Y%m%dT%H%M%S%f}.csv")
        write_atomically(undo, csv_file([FROM_TO, *map(astuple, there)]))
    for done, move in enumerate(there):
        advice = f"undo the others by {undo!r}" if undo and done else ""
        with storage_errors(f"move {move.source!r} to {move.target!r}", advice):
            _move(move)
    return len(there), undo


def _move(move: Move) -> None:
    here, source = open_storage(move.source)
    there, target = open_storage(move.target)
    there.create_dir(target.rpartition("/")[0], recursive=True)
    if here == there:
        try:
            rename(here, source, target, overwrite=False)
            return
        except OSError as error:
            if error.errno != errno.EXDEV:  # another disk
                raise
    write_atomically(move.target, read_bytes(here, source))
    here.delete_file(source)


def _read(url: str, columns: Sequence[str]) -> list[dict[str, str]]:
    """Returns the rows of a CSV that has certain columns."""
    rows, problem = [], ""
    reader = csv_rows(read_url(url), restval="")
    try:
        rows = list(reader)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        problem = f"it has no column {missing[0]!r}" if missing else ""
    except csv.Error as error:
        problem = f"it is not CSV ({error})"
    if problem:
        raise ConfigError(
            f"{url!r} is not a list of pictures: {problem}; give a CSV of the report, "
            "or with --undo the one that a move wrote"
        )
    return rows


def _image_dir_beside(list_url: str) -> str:
    """Returns the image_dir of the run in the folder of a list."""
    url = join(folder_of(list_url), METRICS)
    try:
        found = json.loads(read_url(url))["flags"]["image_dir"]
    except (StorageError, ValueError, LookupError, TypeError) as error:
        raise ConfigError(
            f"cannot find the pictures of {list_url!r}: no image_dir in {url!r} "
            f"({error}); give --image_dir"
        ) from error
    return str(found)


def _below(url: str, folder: str) -> str | None:
    """Returns the path of a URL below a folder, "" for the folder; None elsewhere."""
    here, path = open_storage(url)
    there, above = open_storage(folder)
    path, above = path.rstrip("/"), above.rstrip("/")
    if here != there or not f"{path}/".startswith(f"{above}/"):
        return None
    return path[len(above) + 1 :]
