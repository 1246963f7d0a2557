"""Lists the pictures in the packs of a folder, by the paths of a labelled folder.

    pack                      name in it                 label     path
    flower_photos.tgz         flower_photos/daisy/1.jpg            daisy/1.jpg
    000.tar                   17.jpg, 17.cls             daisy     daisy/17.jpg
    train-0-of-2.parquet      1.jpg                      daisy     train/daisy/1.jpg
    test.parquet              7.jpg                      daisy     test/daisy/7.jpg

A folder that all files of archives lie in is left out. The names of packs are splits if
all of them have one, and not the same. Names in packs of `poets pack` are whole paths.

Packs without a directory (tar, TFRecord) are read from start to end. What they hold is
kept beside the feature store, by the pack's URL, length and time.
"""

import contextlib
import hashlib
import io
import itertools
import logging
import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
from pyarrow.fs import FileType

from poets.data.image_files import is_image_name, passed_over, utf8
from poets.data.layout import split_named
from poets.data.packs import Member, Pack, PackError, damage, open_pack, suffix_of_pack
from poets.errors import DatasetError, PoetsError, StorageError, format_problems
from poets.storage import is_local, join, open_storage, read_url, reason
from poets.storage.calls import threads
from poets.storage.publish import write_atomically
from poets.storage.tree import Entry, Place

logger = logging.getLogger(__name__)

SCANNED = (".tar", ".tar.gz", ".tgz", ".tfrecord", ".tfrecords")
"""Suffixes of packs without a directory."""

AT_ONCE = 8
"""Packs of another machine that are listed at once."""

SCHEMA = pa.schema(
    {
        "name": pa.large_string(),
        "label": pa.string(),
        "length": pa.int64(),
        "mtime_ns": pa.int64(),
        "block": pa.int32(),
        "start": pa.int64(),
        "size": pa.int64(),
        "problem": pa.string(),
    }
)
_OURS = b"ours"
_ROWS = 1024
"""Members that are made columns, or columns members, at once."""


def list_packs(
    url: str, packs: Sequence[Pack], skipped: list[tuple[str, str]], index_url: str = ""
) -> Iterator[Entry]:
    """Yields the files in packs, by their paths; each with its place.

    Args:
      url: the folder of the packs, or the pack.
      packs: one or more.
      skipped: gets (path, reason) of what cannot be used.
      index_url: folder for lists of packs that have none; "" keeps none.

    Raises:
      DatasetError: names all packs that are damaged.
      StorageError: if the storage does not answer.
    """
    lists = _lists(url, packs, index_url)
    splits = [_split_of(pack.path or url) for pack in packs]
    if not all(splits) or len(set(splits)) < 2:
        splits = [""] * len(packs)
    tops = {
        split: _top(each for each, s in zip(lists, splits, strict=True) if s == split)
        for split in set(splits)
    }
    for number, (pack, data, split) in enumerate(
        zip(packs, lists, splits, strict=True)
    ):
        table, ours = _table_of(data), _is_ours(data)
        where = pack.path or url
        stem = posixpath.basename(where).partition(".")[0]
        for row, member in enumerate(_members(table)):
            name = _plain(member.name)
            leads_out = ".." in name.split("/") and "its name leads out of the folder"
            if problem := member.problem or leads_out:
                name = name or posixpath.basename(where)
                skipped.append((name, f"in {where}: {problem}"))
                continue
            if not ours:
                name = _path(name or f"{stem}-{row:06d}.jpg", member.label, split, tops)
            yield Entry(
                name,
                FileType.File,
                member.length,
                member.mtime_ns or pack.mtime_ns,
                place=Place(number, member.block, member.start, member.size),
            )


def _path(name: str, label: str | None, split: str, tops: dict[str, str]) -> str:
    """Returns the path that a file in a pack has in a labelled folder."""
    if label is None:
        name = name.removeprefix(tops[split])
    else:
        folder = label.replace("/", "_")  # as one folder; the same once cleaned
        if split:
            name = name.removeprefix(f"{split}/")
        if not name.startswith(f"{folder}/"):
            name = f"{folder}/{name}"
    return f"{split}/{name}" if split else name


def _top(lists: Iterable[bytes]) -> str:
    """Returns the folder, with "/", that holds the labelled folders of archives."""
    folders = {
        tuple(_plain(name).split("/")[:-1])
        for table in (_table_of(data) for data in lists if not _is_ours(data))
        for name, label in zip(
            table["name"].to_pylist(), table["label"].to_pylist(), strict=True
        )
        if label is None and is_image_name(name) and not passed_over(_plain(name))
    }
    top = os.path.commonprefix(sorted(folders))
    below = {folder[len(top)] for folder in folders if len(folder) > len(top)}
    return "".join(f"{name}/" for name in top) if len(below) > 1 else ""


def _plain(name: str) -> str:
    """Returns a name without what tar and unpackers leave out, too."""
    return name.lstrip("/").removeprefix("./")


def _split_of(path: str) -> str:
    """Returns the split that a pack's name or its folder is named after, or ""."""
    folder, _, name = path.rpartition("/")
    stem = name.removesuffix(suffix_of_pack(name))
    words = [*re.split(r"[^A-Za-z]+", stem), folder.rpartition("/")[2]]
    return next((word.lower() for word in words if split_named(word)), "")


def _lists(url: str, packs: Sequence[Pack], index_url: str) -> list[bytes]:
    """Returns the list of each pack, compressed: the lists of all are large."""
    filesystem, root = open_storage(url)
    broken: list[str] = []

    def list_of(pack: Pack) -> bytes:
        own = join(url, pack.path) if pack.path else url
        path = posixpath.join(root, pack.path) if pack.path else root
        kept = _index_url(own, pack, index_url)
        if kept and (found := _kept(kept)) is not None:
            return found
        try:
            with filesystem.open_input_file(path) as file, damage():
                reader = open_pack(file, path)
                table = _table(reader.members())
                table = table.replace_schema_metadata({_OURS: str(int(reader.ours))})
            data = _compressed(table)
        except PackError as error:
            broken.append(f"{own!r}: {error}")
            return _compressed(SCHEMA.empty_table())
        except OSError as error:
            if isinstance(error, PoetsError):
                raise
            raise StorageError(f"cannot read {own!r}: {reason(error)}") from error
        if kept:
            _keep(kept, data)
        return data

    with threads(1 if is_local(filesystem) else AT_ONCE, "packs") as pool:
        lists = list(pool.map(list_of, packs))
    if broken:
        raise DatasetError(
            format_problems("cannot read all packs", sorted(broken))
            + "; write them again, or take them away"
        )
    return lists


def _table(members: Iterator[Member]) -> pa.Table:
    """Returns members as columns; a million of them take 100 MB."""
    batches = []
    while some := list(itertools.islice(members, _ROWS)):
        names, *others = zip(*some, strict=True)
        columns = zip([[*map(utf8, names)], *others], SCHEMA.types, strict=True)
        arrays = [pa.array(column, type_) for column, type_ in columns]
        batches.append(pa.record_batch(arrays, schema=SCHEMA))
    return pa.Table.from_batches(batches, SCHEMA)


def _members(table: pa.Table) -> Iterator[Member]:
    for batch in table.to_batches(_ROWS):
        yield from map(Member, *(column.to_pylist() for column in batch.columns))


def _is_ours(data: bytes) -> bool:
    """Returns whether a list is of a pack that `poets pack` wrote."""
    return (pq.read_schema(io.BytesIO(data)).metadata or {}).get(_OURS) == b"1"


def _compressed(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def _table_of(data: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(data))


def _index_url(own: str, pack: Pack, index_url: str) -> str:
    """Returns where the list of a pack is kept, "" if it is not."""
    if not index_url or not pack.mtime_ns or suffix_of_pack(own) not in SCANNED:
        return ""
    key = f"{own}\n{pack.length}\n{pack.mtime_ns}"
    digest = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
    return join(index_url, "packs", f"{digest[:32]}.parquet")


def _kept(kept: str) -> bytes | None:
    """Returns the list that was kept, None if there is none."""
    with contextlib.suppress(PoetsError, PackError), damage():
        data = read_url(kept)
        return data if _table_of(data).schema.equals(SCHEMA) else None
    return None


def _keep(kept: str, data: bytes) -> None:
    try:
        write_atomically(kept, data)
    except PoetsError as error:  # it is made again
        logger.info("%s", error)
