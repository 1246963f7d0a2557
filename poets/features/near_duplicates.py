"""Finds images that show the same picture: copies that were cropped, scaled, mirrored.

images ──> same content: one of each ──> closest pairs ──> pixels of these ──> groups
           (digests)                     (bottlenecks)     (same_picture)

Only the pictures of the closest pairs are read. With many more candidates than that,
the closest ones are a sample of the near-duplicates; `Copies.left_out` counts the rest.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from poets.data.dataset import Dataset
from poets.data.image_files import ImageError
from poets.data.images import decode
from poets.data.same_picture import SAME, similarity, small_gray
from poets.data.split import same_content
from poets.features.neighbours import closest_pairs
from poets.head.examples import Examples
from poets.storage import join
from poets.storage.reading import raise_outage
from poets.system.machine import room_for_processes

logger = logging.getLogger(__name__)

LEAST_COSINE = 0.5
"""Of photographs and their copies cropped to 80 %, 99 % have more."""

MOST_PAIRS = 1000
"""Pairs whose pixels are compared for a report; of very many images, a hundredth of
their number. It takes half a second on two cores."""

GUARDED_PAIRS = 50_000
"""Pairs whose pixels are compared for a split: as many as images, up to this number."""

MOST_SEARCHED = 2_000_000
"""Images among which pairs are searched, each with 250 bytes; of more, a sample."""

AT_ONCE = 64
"""Pictures that are read before the threads decode them."""


@dataclass(frozen=True)
class Copies:
    """Images that show the same picture.

    Attributes:
      groups: int64 [2 or more] each, the images of a group, ascending; the groups are
        disjoint, and in the order of their first images.
      searched: number of images among which pairs were searched.
      compared: number of pairs whose pixels were compared.
      left_out: number of pairs that were less close, and not compared.
    """

    groups: tuple[np.ndarray, ...]
    searched: int
    compared: int
    left_out: int


def find_copies(
    dataset: Dataset,
    examples: Examples,
    digests: np.ndarray,
    seed: int,
    thorough: bool = False,
) -> Copies:
    """Returns the near-duplicates of a dataset, those of equal content among them.

    Args:
      dataset: N images.
      examples: their bottlenecks.
      digests: the content digest of each, bytes [N].
      seed: of the search; equal seeds find the same pairs.
      thorough: compare GUARDED_PAIRS rather than MOST_PAIRS.

    Raises:
      StorageError: if the storage of the images fails. A file that is gone, or can no
        longer be decoded, has no near-duplicates.
    """
    twins = same_content(digests)
    first_of_each = np.ones(len(digests), bool)
    for group in twins:
        first_of_each[group[1:]] = False
    rows = np.flatnonzero(first_of_each)
    if len(rows) > MOST_SEARCHED:
        random = np.random.default_rng([seed, 8])
        rows = np.sort(random.choice(rows, MOST_SEARCHED, replace=False))
    most = max(MOST_PAIRS, len(rows) // 100)
    if thorough:
        most = max(most, min(len(rows), GUARDED_PAIRS))
    pairs, left_out = closest_pairs(examples.choose(rows), LEAST_COSINE, most, seed)
    pairs = rows[pairs]
    with ThreadPoolExecutor(room_for_processes()) as threads:
        wanted = np.unique(pairs)
        found = dict(
            zip(wanted.tolist(), _small_pictures(dataset, wanted, threads), strict=True)
        )

        def same(pair: Sequence[int]) -> bool:
            one, other = found[pair[0]], found[pair[1]]
            if one is None or other is None:
                return False
            return similarity(one, other) >= SAME

        decided = np.array(list(threads.map(same, pairs.tolist())), bool)
    links = [*pairs[decided].tolist()]
    links += [[group[0], other] for group in twins for other in group[1:]]
    searched = min(len(digests), MOST_SEARCHED)
    return Copies(tuple(_connected(links)), searched, len(pairs), left_out)


def report_copies(copies: Copies) -> list[str]:
    """Logs what stays together in the split, and returns sentences on what may not."""
    logger.info(
        "%d groups of near-duplicates stay in one split, of %d images.",
        len(copies.groups),
        sum(map(len, copies.groups)),
    )
    if not copies.left_out:
        return []
    return [
        f"--group_near_duplicates compared the {copies.compared} most similar pairs of "
        f"images; {copies.left_out} less similar ones may hold more near-duplicates"
    ]


def _small_pictures(
    dataset: Dataset, rows: np.ndarray, threads: ThreadPoolExecutor
) -> Iterator[np.ndarray | None]:
    """Yields `small_gray` of each image; None for one that cannot be used."""
    images = list(dataset.images.take(rows))
    left = zip(images, dataset.source.read(images), strict=True)
    while some := list(islice(left, AT_ONCE)):
        for image, data in some:
            if isinstance(data, OSError):
                raise_outage(data, join(dataset.image_dir, image.path))
        yield from threads.map(_small_picture, [data for _, data in some])


def _small_picture(data: bytes | OSError | ImageError) -> np.ndarray | None:
    if not isinstance(data, bytes):
        return None
    try:
        return small_gray(decode(data))
    except ImageError:
        return None


def _connected(links: Iterable[Sequence[int]]) -> list[np.ndarray]:
    """Returns the connected components of a graph, given by its edges."""
    group_of: dict[int, list[int]] = {}
    for one, other in links:
        large, small = group_of.get(one, [one]), group_of.get(other, [other])
        if large is small:
            continue
        if len(large) < len(small):
            large, small = small, large
        large += small
        group_of |= dict.fromkeys(small, large) | {large[0]: large}
    groups = {id(group): np.sort(group) for group in group_of.values()}
    return sorted(groups.values(), key=lambda group: int(group[0]))
