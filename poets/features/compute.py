"""Bottlenecks of a list of images: from the store, or computed and stored.

extraction = compute_bottlenecks(images, spec, workers)
extraction.matrix        float32 [N, D], one row for each image that could be read
"""

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from poets.data.columns import BLOCK, Column
from poets.data.image_columns import Images
from poets.errors import StorageError
from poets.features.chunks import Chunks
from poets.features.index import NONE, Index
from poets.features.matrix import empty_matrix
from poets.features.pool import Workers
from poets.features.process import PLAIN, Spec
from poets.features.store import CorruptPartError, Store
from poets.system.progress import track

logger = logging.getLogger(__name__)

ATTEMPTS = 3


@dataclass(frozen=True)
class Extraction:
    """The bottlenecks of N images and their copies.

    Attributes:
      usable: bool [N], the images that have all their bottlenecks, M of them.
      digests: SHA-256 of the content of each of these, 32 bytes each [M].
      matrix: float32 [M * C, D] for C copies; the C rows of an image are adjacent, and
        the bottlenecks of several networks are side by side.
      skipped: (path, reason) of the images that are left out.
      computed: number of bottlenecks that this call computed or copied.
    """

    usable: np.ndarray
    digests: np.ndarray
    matrix: np.ndarray
    skipped: tuple[tuple[str, str], ...]
    computed: int

    @property
    def kept(self) -> np.ndarray:
        """The numbers of the M images, ascending."""
        return np.flatnonzero(self.usable)


def compute_bottlenecks(
    images: Images,
    spec: Spec,
    workers: Workers,
    copies: Sequence[int] = (PLAIN,),
    verify: bool = False,
) -> Extraction:
    """Returns the bottlenecks of images, computing those the store lacks.

    Args:
      images: N images.
      spec: how they are computed; `known_content` is set here.
      workers: this machine's processes, or those of all workers.
      copies: numbers of the distorted copies wanted, or PLAIN for the image itself.
      verify: read every image and compare it with the store.

    Raises:
      StorageError: if the store cannot be read or written.
      PoetsError: if the processes do not start.
      OSError: if the disk is too full for the bottlenecks.
    """
    stores = [Store(network.store_url, network.size) for network in spec.networks]
    variants = [spec.variant(copy) for copy in copies]
    computed = 0
    unread: dict[str, str] = {}
    for _ in range(ATTEMPTS):
        known = [_Known.of(images, store, variants) for store in stores]
        # This worker computes what another could not read or store.
        for processes in (workers, workers.alone):
            groups = _groups(images, known, copies, unread, verify, processes)
            verify = False
            if not groups:
                break
            for members, chunks in groups:
                part = replace(
                    spec,
                    networks=tuple(spec.networks[member] for member in members),
                    known_content=any(known[m].has_content() for m in members),
                )
                with track(chunks.total, "bottlenecks") as advance:
                    first = max(stores[member].next_number() for member in members)
                    unread.update(processes.compute(part, chunks, advance, first))
                computed += chunks.total
            known.clear()  # it takes much memory
            known += [_Known.of(images, store, variants) for store in stores]
        try:
            return _gather(images, known, unread, computed)
        except CorruptPartError:
            continue
    raise StorageError(
        f"the feature store {spec.store_url!r} was damaged {ATTEMPTS} times while it "
        "was in use; look for another program that writes there, or a failing disk"
    )


@dataclass(frozen=True)
class _Known:
    """What a store has of the images.

    Attributes:
      store: the store of one network.
      index: its index.
      rows: int64 [C, N], of all copies of the images, or NONE.
    """

    store: Store
    index: Index
    rows: np.ndarray

    @classmethod
    def of(cls, images: Images, store: Store, variants: Sequence[str]) -> "_Known":
        """Returns what a store has now."""
        index = store.read_index()
        rows = np.empty((len(variants), len(images)), np.int64)
        for row, variant in enumerate(variants):
            rows[row] = index.fresh(images, variant)
        return cls(store, index, rows)

    def has_content(self) -> bool:
        """Returns whether the store has any bottleneck, of any image."""
        return not self.index.failed.all()

    def undecodable(self) -> np.ndarray:
        """Returns which images cannot be decoded, in any copy: bool [N]."""
        failed = np.append(self.index.failed, False)[self.rows]
        return ((self.rows != NONE) & failed).any(axis=0)


def _groups(
    images: Images,
    known: Sequence[_Known],
    copies: Sequence[int],
    unread: Mapping[str, str],
    verify: bool,
    workers: Workers,
) -> list[tuple[list[int], Chunks]]:
    """Returns sets of networks, and the images that these and no others compute."""
    undecodable = np.logical_or.reduce([each.undecodable() for each in known])
    left_out = images.are_at(unread) if unread else np.zeros(len(images), bool)
    bit = np.min_scalar_type((1 << len(known)) - 1).type
    sets = np.zeros(len(images), bit)  # a bit for each network
    for number, each in enumerate(known):
        missing = each.rows == NONE
        wanted = missing.any(axis=0) & ~undecodable
        if verify:
            wanted |= ~missing[0]
        sets |= (wanted & ~left_out) * bit(1 << number)
    groups = []
    for bits in np.unique(sets[sets > 0]).tolist():
        members = [number for number in range(len(known)) if bits >> number & 1]
        rows = images.in_reading_order(np.flatnonzero(sets == bits))
        of_members = [known[member] for member in members]
        wanted = np.logical_or.reduce([each.rows == NONE for each in of_members])
        verified = ~wanted[0] & verify
        wanted |= verified
        expected = functools.partial(_expected, of_members[0], verified)
        chunks = Chunks(images, rows, copies, wanted, expected, workers.processes)
        groups.append((members, chunks))
    return groups


def _expected(known: _Known, verified: np.ndarray, image: int) -> str | None:
    """Returns the digest that an image's content should have, if it is verified."""
    if not verified[image]:
        return None
    return known.index.digests[known.rows[0, image]].tobytes().hex()


def _gather(
    images: Images, known: Sequence[_Known], unread: Mapping[str, str], computed: int
) -> Extraction:
    usable = ~np.logical_or.reduce([each.undecodable() for each in known])
    for each in known:
        usable &= (each.rows != NONE).all(axis=0)
    if unread:
        usable &= ~images.are_at(unread)
    skipped = []
    for number in np.flatnonzero(~usable).tolist():
        path = images[number].path
        found = ((each.index, each.rows[:, number]) for each in known)
        errors = (
            error for index, row in found for error in index.errors(row[row != NONE])
        )
        why = unread.get(path) or next(filter(None, errors), "")
        skipped.append((path, why or "its bottleneck was not stored"))
    kept = [each.rows if usable.all() else each.rows[:, usable] for each in known]
    count = kept[0].shape[1]
    sizes = [each.store.bottleneck_size for each in known]
    matrix = empty_matrix(kept[0].size, sum(sizes))
    columns = np.split(matrix, np.cumsum(sizes)[:-1], axis=1)  # views
    for each, rows, into in zip(known, kept, columns, strict=True):
        each.store.read_bottlenecks(each.index, rows.T.reshape(-1), into)
    digests = Column("V32")
    for start in range(0, count, BLOCK):
        digests.append(known[0].index.digests[kept[0][0, start : start + BLOCK]])
    return Extraction(
        usable=usable,
        digests=digests.array(),
        matrix=matrix,
        skipped=tuple(skipped),
        computed=computed,
    )
