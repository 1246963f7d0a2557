"""Bottlenecks of a list of images: from the store, or computed and stored.

extraction = compute_bottlenecks(images, spec, size, pool)
extraction.matrix        float32 [N, D], one row an image that could be read
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from poets.bottlenecks.crew import Crew
from poets.bottlenecks.pool import Chunk, Pool
from poets.bottlenecks.process import PLAIN, Spec, Task
from poets.bottlenecks.store import CorruptPartError, Index, Place, Store
from poets.dataset import Image
from poets.errors import StorageError
from poets.progress import track

logger = logging.getLogger(__name__)

MAX_CHUNK = 256
"""Copies in a part, a quarter of a second of a core's work; a kill may lose a few."""

MIN_CHUNK = 32
"""Copies in the last parts, for which a process may have to wait for another."""

ATTEMPTS = 3


@dataclass(frozen=True)
class Extraction:
    """What became of N images and their copies.

    Attributes:
      kept: indices of the M images that have all their bottlenecks, ascending.
      digests: SHA-256 of the content of each of these.
      matrix: float32 [M * C, D] for C copies; the C rows of an image are adjacent.
      skipped: (path, reason) of the images that are left out.
      computed: how many bottlenecks were computed or copied now.
    """

    kept: tuple[int, ...]
    digests: tuple[bytes, ...]
    matrix: np.ndarray
    skipped: tuple[tuple[str, str], ...]
    computed: int


def compute_bottlenecks(
    images: Sequence[Image],
    spec: Spec,
    bottleneck_size: int,
    pool: Pool | Crew,
    copies: Sequence[int] = (PLAIN,),
    verify: bool = False,
) -> Extraction:
    """Returns the bottlenecks of images, computing those the store lacks.

    Args:
      images: N images.
      spec: how they are computed; `known_content` is set here.
      bottleneck_size: D.
      pool: the processes, or those of all workers.
      copies: numbers of the distorted copies wanted, or PLAIN for the image itself.
      verify: read every image and compare it with the store.

    Raises:
      StorageError: if the store cannot be read or written.
      PoetsError: if the processes do not start.
    """
    store = Store(spec.store_url, bottleneck_size)
    variants = [_variant(spec, copy) for copy in copies]
    computed = 0
    unread: dict[str, str] = {}
    for _ in range(ATTEMPTS):
        index = store.read_index()
        # What another worker could not read or store is left to this one.
        for processes in (pool, pool.alone):
            tasks = [
                task
                for image in images
                if image.path not in unread
                and (task := _task(image, copies, variants, index, verify))
            ]
            verify = False
            if not tasks:
                break
            total = sum(len(task.copies) for task in tasks)
            spec = replace(spec, known_content=bool(index.by_content))
            with track(total, "bottlenecks") as advance:
                chunks = _chunks(tasks, processes.processes)
                first = store.next_number()
                unread.update(processes.run(spec, chunks, advance, first))
            computed += total
            index = store.read_index()
        try:
            return _gather(images, variants, index, unread, store, computed)
        except CorruptPartError:
            continue
    raise StorageError(
        f"the feature store {spec.store_url!r} was damaged {ATTEMPTS} times while it "
        "was used; look for another program that writes there, or a failing disk"
    )


def _variant(spec: Spec, copy: int) -> str:
    return (
        "" if copy == PLAIN or not spec.distortions else spec.distortions.variant(copy)
    )


def _task(
    image: Image,
    copies: Sequence[int],
    variants: Sequence[str],
    index: Index,
    verify: bool,
) -> Task | None:
    """Returns what is to be done for an image, or None."""
    fresh = [
        index.fresh(image.path, variant, image.length, image.mtime_ns)
        for variant in variants
    ]
    if verify and fresh[0]:
        expected = fresh[0].digest.hex()
        return Task(image.path, image.length, image.mtime_ns, tuple(copies), expected)
    if any(place and place.error for place in fresh):
        return None  # it cannot be decoded, whatever the copy
    missing = tuple(
        copy for copy, place in zip(copies, fresh, strict=True) if place is None
    )
    if not missing:
        return None
    return Task(image.path, image.length, image.mtime_ns, missing, None)


def _chunks(tasks: Sequence[Task], processes: int) -> list[Chunk]:
    """Returns the tasks in chunks that get smaller towards the end.

    So the processes end together (guided self-scheduling; Polychronopoulos and Kuck,
    1987).
    """
    copies = max(len(task.copies) for task in tasks)
    chunks, start = [], 0
    while start < len(tasks):
        share = (len(tasks) - start) // (2 * processes)
        size = max(MIN_CHUNK // copies, min(MAX_CHUNK // copies, share), 1)
        chunks.append(tasks[start : start + size])
        start += size
    return chunks


def _gather(
    images: Sequence[Image],
    variants: Sequence[str],
    index: Index,
    unread: dict[str, str],
    store: Store,
    computed: int,
) -> Extraction:
    kept: list[int] = []
    places: list[Place] = []
    skipped: list[tuple[str, str]] = []
    for number, image in enumerate(images):
        found = [
            index.fresh(image.path, variant, image.length, image.mtime_ns)
            for variant in variants
        ]
        error = next((place.error for place in found if place and place.error), None)
        if error is None and image.path not in unread and all(found):
            kept.append(number)
            places.extend(place for place in found if place)
        else:
            why = unread.get(image.path) or error or "its bottleneck was not stored"
            skipped.append((image.path, why))
    return Extraction(
        kept=tuple(kept),
        digests=tuple(_first_of_each(places, len(variants))),
        matrix=store.read_bottlenecks(places),
        skipped=tuple(skipped),
        computed=computed,
    )


def _first_of_each(places: Sequence[Place], copies: int) -> Iterable[bytes]:
    return (places[start].digest for start in range(0, len(places), copies))
