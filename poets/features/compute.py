"""Bottlenecks of a list of images: from the store, or computed and stored.

extraction = compute_bottlenecks(images, spec, size, workers)
extraction.matrix        float32 [N, D], one row for each image that could be read
"""

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from poets.data.dataset import Images
from poets.errors import StorageError
from poets.features.index import NONE, Index
from poets.features.pool import Chunk, Workers
from poets.features.process import PLAIN, ImageTask, Spec
from poets.features.store import CorruptPartError, Store
from poets.system.progress import track

logger = logging.getLogger(__name__)

MAX_CHUNK = 256
"""Copies in a part: a quarter of a second on one core. A kill may lose a few parts."""

MIN_CHUNK = 32
"""Copies in the last parts: one process may have to wait for another's."""

ATTEMPTS = 3


@dataclass(frozen=True)
class Extraction:
    """The bottlenecks of N images and their copies.

    Attributes:
      kept: int64 [M], the images that have all their bottlenecks, ascending.
      digests: SHA-256 of the content of each of these, 32 bytes each [M].
      matrix: float32 [M * C, D] for C copies; the C rows of an image are adjacent.
      skipped: (path, reason) of the images that are left out.
      computed: number of bottlenecks that this call computed or copied.
    """

    kept: np.ndarray
    digests: np.ndarray
    matrix: np.ndarray
    skipped: tuple[tuple[str, str], ...]
    computed: int


def compute_bottlenecks(
    images: Images,
    spec: Spec,
    bottleneck_size: int,
    workers: Workers,
    copies: Sequence[int] = (PLAIN,),
    verify: bool = False,
) -> Extraction:
    """Returns the bottlenecks of images, computing those the store lacks.

    Args:
      images: N images.
      spec: how they are computed; `known_content` is set here.
      bottleneck_size: D.
      workers: this machine's processes, or those of all workers.
      copies: numbers of the distorted copies wanted, or PLAIN for the image itself.
      verify: read every image and compare it with the store.

    Raises:
      StorageError: if the store cannot be read or written.
      PoetsError: if the processes do not start.
      OSError: if the disk is too full for the bottlenecks.
    """
    store = Store(spec.store_url, bottleneck_size)
    variants = [_variant(spec, copy) for copy in copies]
    computed = 0
    unread: dict[str, str] = {}
    for _ in range(ATTEMPTS):
        index = store.read_index()
        # This worker computes what another could not read or store.
        for processes in (workers, workers.alone):
            rows = np.stack([index.fresh(images, variant) for variant in variants])
            tasks = _tasks(images, rows, copies, index, unread, verify)
            verify = False
            if not tasks:
                break
            total = sum(len(task.copies) for task in tasks)
            spec = replace(spec, known_content=not index.failed.all())
            with track(total, "bottlenecks") as advance:
                chunks = _chunks(tasks, processes.processes)
                first = store.next_number()
                unread.update(processes.compute(spec, chunks, advance, first))
            computed += total
            index = store.read_index()
        try:
            rows = np.stack([index.fresh(images, variant) for variant in variants])
            return _gather(images, rows, index, unread, store, computed)
        except CorruptPartError:
            continue
    raise StorageError(
        f"the feature store {spec.store_url!r} was damaged {ATTEMPTS} times while it "
        "was in use; look for another program that writes there, or a failing disk"
    )


def _variant(spec: Spec, copy: int) -> str:
    return (
        "" if copy == PLAIN or not spec.distortions else spec.distortions.variant(copy)
    )


def _tasks(
    images: Images,
    rows: np.ndarray,
    copies: Sequence[int],
    index: Index,
    unread: Mapping[str, str],
    verify: bool,
) -> list[ImageTask]:
    """Returns the tasks to compute; `rows` [C, N] are those of all copies of images."""
    missing = rows == NONE
    wanted = missing.any(axis=0) & ~_undecodable(rows, index)
    if verify:
        wanted |= ~missing[0]
    numbers = images.in_reading_order(np.flatnonzero(wanted))
    tasks = []
    for number, image in zip(numbers, images.take(numbers), strict=True):
        path, _, length, mtime_ns, place = image
        if path in unread:
            continue
        if verify and not missing[0, number]:
            expected = index.digests[rows[0, number]].tobytes().hex()
            every = tuple(copies)
            tasks.append(ImageTask(path, length, mtime_ns, every, expected, place))
            continue
        lacking = tuple(itertools.compress(copies, missing[:, number]))
        tasks.append(ImageTask(path, length, mtime_ns, lacking, None, place))
    return tasks


def _undecodable(rows: np.ndarray, index: Index) -> np.ndarray:
    """Returns which images cannot be decoded, in any copy: bool [N]."""
    return ((rows != NONE) & np.append(index.failed, False)[rows]).any(axis=0)


def _chunks(tasks: Sequence[ImageTask], processes: int) -> list[Chunk]:
    """Returns the tasks in chunks that get smaller towards the end.

    This lets all processes finish at about the same time (guided self-scheduling;
    Polychronopoulos and Kuck, 1987).
    """
    copies = max(len(task.copies) for task in tasks)
    chunks, start = [], 0
    while start < len(tasks):
        share = (len(tasks) - start) // (2 * processes)
        size = max(MIN_CHUNK // copies, min(MAX_CHUNK // copies, share), 1)
        end = _end_of_block(tasks, start + size, start + 2 * size)
        chunks.append(tasks[start:end])
        start = end
    return chunks


def _end_of_block(tasks: Sequence[ImageTask], end: int, at_most: int) -> int:
    """Returns where a chunk ends, so that another one need not read its last block.

    Args:
      tasks: all of them.
      end: where the chunk should end.
      at_most: where it may end; if the block goes on, it ends where it should.
    """
    for number in range(end, min(at_most, len(tasks)) + 1):
        if number == len(tasks):
            return number
        here, before = tasks[number].place, tasks[number - 1].place
        if here is None or before is None or here[:2] != before[:2]:
            return number
    return end


def _gather(
    images: Images,
    rows: np.ndarray,
    index: Index,
    unread: Mapping[str, str],
    store: Store,
    computed: int,
) -> Extraction:
    """Returns the extraction; `rows` [C, N] are those of all copies of images."""
    usable = (rows != NONE).all(axis=0) & ~_undecodable(rows, index)
    if unread:
        usable &= [path not in unread for path in images.paths.to_pylist()]
    kept = np.flatnonzero(usable)
    skipped = []
    for number in np.flatnonzero(~usable).tolist():
        path = images[number].path
        found = rows[:, number]
        errors = filter(None, index.errors(found[found != NONE]))
        why = unread.get(path) or next(errors, "its bottleneck was not stored")
        skipped.append((path, why))
    return Extraction(
        kept=kept,
        digests=index.digests[rows[0, kept]],
        matrix=store.read_bottlenecks(index, rows[:, kept].T.reshape(-1)),
        skipped=tuple(skipped),
        computed=computed,
    )
