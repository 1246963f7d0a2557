"""Packs labelled pictures into few large files, and unpacks them.

    image_dir: folders or packs ──> plan ──> images-00000-of-00012.parquet, ...
                                             manifest.json

Pictures keep their bytes, paths and times, so a job on the packs gives the same model.
Each pack is written beside its place and renamed, then noted in the manifest with its
digest and the digest of its list. A run that was interrupted goes on: a pack that the
manifest has, of the same pictures, is not written again.
"""

import contextlib
import hashlib
import json
import logging
import os
import posixpath
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow.fs import FileSystem, FileType

from poets.data.dataset import Dataset, find_images
from poets.data.image_columns import Image, Images
from poets.data.image_files import ImageError, is_listed
from poets.data.packs import suffix_of_pack, writer_of
from poets.errors import ConfigError, StorageError, listed
from poets.storage import (
    exists,
    is_local,
    join,
    open_storage,
    read_url,
    reason,
    rename,
    storage_errors,
)
from poets.storage.parts import beside
from poets.storage.publish import check_writable, write_atomically
from poets.storage.reading import raise_outage
from poets.storage.tree import walk
from poets.system.progress import log_some, track

logger = logging.getLogger(__name__)

FORMATS = ("parquet", "tar")
MANIFEST = "manifest.json"

PACKS_AT_ONCE = 2
"""Packs that are made at once: each is in memory, and reads 32 files at once."""

FILES_AT_ONCE = 32
"""Files that are unpacked at once on another machine."""

UNKNOWN_LENGTH = 100_000
"""Bytes of a picture whose pack does not say."""


@dataclass(frozen=True)
class Packed:
    """What packing or unpacking did.

    Attributes:
      files: number of files that are there now.
      kept: of these, those that were there before.
      images: number of pictures in them.
      skipped: (path, reason) of pictures that are left out.
      length: bytes of the packs; 0 after unpacking.
    """

    files: int
    kept: int
    images: int
    skipped: list[tuple[str, str]]
    length: int = 0


@dataclass(frozen=True)
class _Planned:
    """A pack to be written: its name, its pictures, and a digest of their list."""

    name: str
    images: Images
    digest: str


def pack_images(
    image_dir: str,
    packs_dir: str,
    form: str = "parquet",
    file_mb: int = 128,
    labels_csv: str = "",
) -> Packed:
    """Writes the labelled pictures of a folder, or of packs, into new packs.

    Args:
      image_dir: as for a job, in any storage.
      packs_dir: the folder of the packs, in any storage.
      form: of FORMATS.
      file_mb: megabytes (2^20 bytes) of pictures in a pack.
      labels_csv: as for a job.

    Raises:
      ConfigError: if `packs_dir` holds other files than packs of ours.
      DatasetError: if there are no labelled pictures.
      StorageError: if a storage fails; packs that are done are kept.
    """
    manifest = read_manifest(packs_dir)
    _check_target(packs_dir, manifest)
    check_writable(packs_dir)
    dataset = find_images(image_dir, labels_csv=labels_csv)
    plan = list(_plan(dataset, form, file_mb << 20))
    before = manifest.get("packs", {})
    done = {
        pack.name: before[pack.name]
        for pack in plan
        if before.get(pack.name, {}).get("list") == pack.digest
        and exists(join(packs_dir, pack.name))
    }
    kept = len(done)
    lock = threading.Lock()

    def make(pack: _Planned) -> None:
        data, missing = _packed(dataset, pack, form, advance)
        log_some(logger.warning, [f"left out {p}: {w}" for p, w in missing], "more")
        write_atomically(join(packs_dir, pack.name), data)
        with lock:
            done[pack.name] = {
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
                "images": len(pack.images) - len(missing),
                "skipped": missing,
                "list": pack.digest,
            }
            about = {"format": form, "packs": dict(sorted(done.items()))}
            text = json.dumps(about, indent=1) + "\n"
            write_atomically(join(packs_dir, MANIFEST), text.encode())

    left = [pack for pack in plan if pack.name not in done]
    with track(sum(len(pack.images) for pack in left), "packing") as advance:
        _all(make, left, PACKS_AT_ONCE)
    _remove(packs_dir, sorted(before.keys() - done.keys()))
    made = [done[pack.name] for pack in plan]
    skipped = [(path, why) for each in made for path, why in each["skipped"]]
    return Packed(
        files=len(made),
        kept=kept,
        images=sum(each["images"] for each in made),
        skipped=[*dataset.skipped, *skipped],
        length=sum(each["bytes"] for each in made),
    )


def unpack_images(packs_dir: str, image_dir: str) -> Packed:
    """Writes the pictures in packs as files of a labelled folder, with their times.

    A file of the same length is kept, so that an interrupted run goes on.

    Args:
      packs_dir: as the `image_dir` of a job.
      image_dir: the new folder, in any storage.

    Raises:
      DatasetError: if there are no labelled pictures.
      StorageError: if a storage fails; files that are done are kept.
    """
    check_writable(image_dir)
    dataset = find_images(packs_dir)
    filesystem, root = open_storage(image_dir)
    with storage_errors(f"list {image_dir!r}"):
        there = {
            entry.path: entry.length
            for entry in walk(filesystem, root, is_listed)
            if entry.kind is FileType.File
        }
    images = dataset.images
    rows = images.in_reading_order(np.arange(len(images)))
    left = [
        image for image in images.take(rows) if there.get(image.path) != image.length
    ]
    missing: list[tuple[str, str]] = []
    folders = {posixpath.dirname(image.path) for image in left}
    with storage_errors(f"write {image_dir!r}"):
        for folder in sorted(folders):
            filesystem.create_dir(posixpath.join(root, folder), recursive=True)

    def write(found: tuple[Image, bytes]) -> None:
        image, data = found
        path = posixpath.join(root, image.path)
        with storage_errors(f"write {join(image_dir, image.path)!r}"):
            _write_file(filesystem, path, data, image.mtime_ns)
        advance(1)

    with track(len(left), "unpacking") as advance:
        found = _contents(dataset, left, missing)
        _all(write, found, 1 if is_local(filesystem) else FILES_AT_ONCE)
    count, kept = len(images) - len(missing), len(images) - len(left)
    return Packed(count, kept, count, skipped=[*dataset.skipped, *missing])


def _plan(dataset: Dataset, form: str, length: int) -> Iterator[_Planned]:
    """Yields the packs of a data set; the same data set has the same ones."""
    images = dataset.images
    rows = images.in_reading_order(np.arange(len(images)))
    parts = {"images": rows}
    if dataset.splits:
        firsts = np.array([path.partition("/")[0] for path in images.paths.to_pylist()])
        parts = {each: rows[firsts[rows] == each] for each in sorted(dataset.splits)}
    for name, own in parts.items():
        yield from _plan_split(name, images.take(own), form, length)


def _plan_split(
    name: str, images: Images, form: str, length: int
) -> Iterator[_Planned]:
    lengths = np.where(images.lengths > 0, images.lengths, UNKNOWN_LENGTH)
    numbers = (np.cumsum(lengths) - lengths) // length
    starts = [*np.flatnonzero(np.diff(numbers, prepend=-1)).tolist(), len(images)]
    count = len(starts) - 1
    for number, (start, end) in enumerate(zip(starts, starts[1:], strict=False)):
        some = images.take(np.arange(start, end))
        digest = hashlib.sha256(form.encode())
        for image in some:
            digest.update(f"{image.path}\n{image.length}\n{image.mtime_ns}\n".encode())
        file = f"{name}-{number:05d}-of-{count:05d}.{form}"
        yield _Planned(file, some, digest.hexdigest()[:32])


def _packed(
    dataset: Dataset, pack: _Planned, form: str, advance: Callable[[int], None]
) -> tuple[bytes, list[tuple[str, str]]]:
    """Returns the bytes of a pack, and the pictures that are left out."""
    missing: list[tuple[str, str]] = []

    def pictures() -> Iterator[tuple[str, str, int, bytes]]:
        for image, data in _contents(dataset, pack.images, missing):
            yield image.path, image.folder, image.mtime_ns, data
            advance(1)

    sink = pa.BufferOutputStream()
    writer_of(form)(sink, pictures(), dataset.folders)
    return sink.getvalue().to_pybytes(), missing


def _contents(
    dataset: Dataset, images: Images | Sequence[Image], missing: list[tuple[str, str]]
) -> Iterator[tuple[Image, bytes]]:
    """Yields pictures with their bytes; adds those that cannot be read to `missing`."""
    for image, data in zip(images, dataset.source.read(images), strict=True):
        if isinstance(data, ImageError):
            missing.append((image.path, str(data)))
        elif isinstance(data, OSError):
            raise_outage(data, join(dataset.image_dir, image.path))
            missing.append((image.path, reason(data)))
        else:
            yield image, data


def _write_file(filesystem: FileSystem, path: str, data: bytes, mtime_ns: int) -> None:
    """Writes a file beside its place, with its time where that can be set."""
    part = beside(path)
    if is_local(filesystem):
        with open(part, "xb") as file:
            file.write(data)
        if mtime_ns:
            os.utime(part, ns=(mtime_ns, mtime_ns))
        os.replace(part, path)
    else:
        filesystem.handler.write_bytes(part, data)
        rename(filesystem, part, path, overwrite=True)


def _all(function: Callable[[Any], None], items: Iterable[Any], at_once: int) -> None:
    """Calls a function on all items, some at once; raises its first error."""
    with ThreadPoolExecutor(at_once, "packing") as threads:
        calls: deque[Future[None]] = deque()
        try:
            for item in items:
                if len(calls) == 2 * at_once:
                    calls.popleft().result()
                calls.append(threads.submit(function, item))
            for call in calls:
                call.result()
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise


def read_manifest(packs_dir: str) -> dict[str, Any]:
    """Returns the manifest of a folder of packs; {} if it has none.

    Raises:
      StorageError: if it cannot be read, or is not one.
    """
    url = join(packs_dir, MANIFEST)
    if not exists(url):
        return {}
    try:
        found = json.loads(read_url(url))
        for pack in found["packs"].values():
            pack["skipped"], pack["list"], pack["bytes"]  # noqa: B018 - must be there
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            f"{url!r} is not a manifest of packs: {error!r}; name another folder"
        ) from error
    return dict(found)


def _check_target(packs_dir: str, manifest: dict[str, Any]) -> None:
    """Raises ConfigError if a folder holds other files than those of the manifest."""
    filesystem, root = open_storage(packs_dir)
    known = {MANIFEST, *manifest.get("packs", {})}
    names: list[str] = []
    with storage_errors(f"list {packs_dir!r}"), contextlib.suppress(FileNotFoundError):
        names = sorted(
            entry.path
            for entry in walk(filesystem, root, is_listed)
            if is_listed(entry.path) and entry.path not in known
        )
    # A pack of a run that was killed before its manifest was written is ours, too.
    others = [name for name in names if not suffix_of_pack(name) or manifest == {}]
    if others:
        raise ConfigError(
            f"cannot write packs to {packs_dir!r}: it holds {listed(others)}; name an "
            "empty folder, a new one or one of packs that poets pack wrote"
        )


def _remove(packs_dir: str, names: Sequence[str]) -> None:
    """Removes packs of an earlier list of pictures."""
    filesystem, root = open_storage(packs_dir)
    for name in names:
        with storage_errors(f"remove {join(packs_dir, name)!r}"):
            if filesystem.get_file_info(posixpath.join(root, name)).type.name == "File":
                filesystem.delete_file(posixpath.join(root, name))
