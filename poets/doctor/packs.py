"""Checks packs of pictures: `poets doctor PACKS`, and every byte with `--all`.

    manifest   every pack is there, with its length (and its SHA-256)
    list       every pack can be listed: pictures, labels, what is left out
    read       the first and the last picture of each pack (or all of them)

It is a step without a deadline: a tar is read to list it.
"""

import hashlib
import posixpath
import time
from collections.abc import Iterator

import numpy as np
import pyarrow.fs

from poets.data.dataset import Dataset, find_images
from poets.data.image_files import ImageError, is_image
from poets.data.packing import MANIFEST, read_manifest
from poets.data.packs import suffix_of_pack
from poets.doctor import FAILED, OK, StepResult
from poets.errors import PoetsError
from poets.storage import join, open_storage, reason, storage_errors

NAME, CHECKS = (
    "packs",
    "packs are whole, and their pictures have labels and can be read",
)
PIECE_BYTES = 8 * 2**20


def are_packs(url: str) -> bool:
    """Returns whether there is a pack at a URL, or a folder with a pack in it.

    Raises:
      StorageError: if the storage does not answer.
    """
    filesystem, path = open_storage(url)
    with storage_errors(f"list {url!r}"):
        info = filesystem.get_file_info(path)
        if info.type == pyarrow.fs.FileType.File:
            return bool(suffix_of_pack(path))
        selector = pyarrow.fs.FileSelector(path, allow_not_found=True)
        return any(suffix_of_pack(i.path) for i in filesystem.get_file_info(selector))


def check_packs(url: str, every: bool) -> StepResult:
    """Returns what is wrong with packs, and what is in them.

    Args:
      url: a pack or a folder of packs.
      every: whether to read every byte: all pictures, and the digests of the manifest.
    """
    began_s = time.monotonic()
    problems: list[str] = []
    details: list[str] = []
    text = ""
    try:
        problems += _against_manifest(url, every)
        dataset = find_images(url)
        if not dataset.packs:
            return StepResult("", NAME, CHECKS, OK, "it has pictures beside its packs")
        problems += _unreadable(dataset, every)
        text = (
            f"{len(dataset.packs):,} pack{'s' * (len(dataset.packs) > 1)}, "
            f"{len(dataset.images):,} pictures, "
            f"{len(dataset.labels):,} labels"
        )
        counts = dataset.images.by_folder()
        details += [f"{count:,} {label}" for label, count in sorted(counts.items())]
        details += [f"left out: {path}: {why}" for path, why in dataset.skipped]
    except PoetsError as error:
        problems.append(str(error))
    status, cure = OK, ""
    if problems:
        status, text = FAILED, _first_of(problems)
        cure = "write these packs again from their source, for example by poets pack"
    took_s = time.monotonic() - began_s
    more = tuple(details[:20])
    return StepResult("", NAME, CHECKS, status, text, cure, "", more, took_s, 0.0)


def _against_manifest(url: str, every: bool) -> Iterator[str]:
    """Yields how a folder differs from its manifest, if it has one."""
    filesystem, root = open_storage(url)
    with storage_errors(f"read {url!r}"):
        if filesystem.get_file_info(root).type == pyarrow.fs.FileType.File:
            return
    for name, about in sorted(read_manifest(url).get("packs", {}).items()):
        path = posixpath.join(root, name)
        with storage_errors(f"read {join(url, name)!r}"):
            info = filesystem.get_file_info(path)
            if info.type != pyarrow.fs.FileType.File:
                yield f"{name} is missing, {MANIFEST} has it"
            elif info.size != about["bytes"]:
                known = about["bytes"]
                yield f"{name} has {info.size:,} bytes, {known:,} by {MANIFEST}"
            elif every and _sha256(filesystem, path) != about.get("sha256"):
                yield f"{name} has another SHA-256 than by {MANIFEST}"


def _sha256(filesystem: pyarrow.fs.FileSystem, path: str) -> str:
    digest = hashlib.sha256()
    with filesystem.open_input_file(path) as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _unreadable(dataset: Dataset, every: bool) -> Iterator[str]:
    """Yields the pictures that cannot be read: of the first and last, or of all."""
    images = dataset.images
    rows = images.in_reading_order(np.arange(len(images)))
    if not every:
        numbers = images.packs()[rows]
        firsts = np.flatnonzero(np.diff(numbers, prepend=-1))
        rows = rows[np.unique(np.append(firsts, [*(firsts[1:] - 1), len(rows) - 1]))]
    wanted = images.take(rows)
    found: dict[str, list[str]] = {}  # why -> paths
    for image, data in zip(wanted, dataset.source.read(wanted), strict=True):
        if isinstance(data, ImageError):
            found.setdefault(str(data), []).append(image.path)
        elif isinstance(data, OSError):
            found.setdefault(reason(data), []).append(image.path)
        elif not is_image(data):
            found.setdefault("not an image by its first bytes", []).append(image.path)
    for why, paths in found.items():
        more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
        yield f"{paths[0]}{more}: {why}"


def _first_of(problems: list[str]) -> str:
    """Returns the first problems as one line, and the number of the others."""
    more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
    return "; ".join(problems[:5]) + more
