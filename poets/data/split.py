"""Splits the images into training, validation and test images.

The split depends on the label's folder and the path below it, never on the storage or
`image_dir`: the same images get the same split on HDFS, on a local disk, and with "./"
in front. Images stay together if their names differ only after `_nohash_`, if they have
the same content, or if the caller found them to be near-duplicates.

A split that the user made by folders stays unchanged (`poets.data.layout`). A split
that it lacks is taken from its training images, in the same way.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
import pyarrow as pa

from poets.config import RetrainConfig
from poets.data.columns import BLOCK
from poets.data.dataset import Dataset
from poets.errors import DatasetError, listed

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")

MAX_HASH = 2**27 - 1
"""`MAX_NUM_IMAGES_PER_CLASS` of the original retrain.py."""


BINNED = 2**20
"""Digests that are sorted together: more take 50 bytes each at the worst moment."""


def percentage_of(key: str, split_seed: int = 0) -> float:
    """Returns the position of a key, 0 to 100, by the original's SHA-1 formula."""
    salted = f"{split_seed}:{key}" if split_seed else key
    digest = hashlib.sha1(salted.encode(), usedforsecurity=False).hexdigest()
    return int(digest, 16) % (MAX_HASH + 1) * (100.0 / MAX_HASH)


class Splits:
    """The split of each image, a byte each.

    It is compared and indexed as an array of names is: `splits == TEST` is bool [N].

    Args:
      codes: uint8 [N], positions in SPLITS.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, codes: np.ndarray) -> None:
        self.codes = codes

    @classmethod
    def of(cls, names: Iterable[str]) -> "Splits":
        """Returns the splits of some names."""
        return cls(np.fromiter(map(SPLITS.index, names), np.uint8))

    def __eq__(self, split: object) -> np.ndarray:  # type: ignore[override]
        return self.codes == SPLITS.index(split)

    def __ne__(self, split: object) -> np.ndarray:  # type: ignore[override]
        return ~(self == split)

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, rows: int | np.integer) -> str: ...
    @overload
    def __getitem__(self, rows: np.ndarray) -> "Splits": ...
    def __getitem__(self, rows: int | np.integer | np.ndarray) -> "str | Splits":
        some = self.codes[rows]
        return Splits(some) if isinstance(some, np.ndarray) else SPLITS[some]

    def __iter__(self) -> Iterator[str]:
        return map(SPLITS.__getitem__, self.codes)

    def tolist(self) -> list[str]:
        """Returns the names."""
        return list(self)

    def counts(self, codes: np.ndarray, num: int) -> dict[str, list[int]]:
        """Returns how many images of each kind are in each split.

        Args:
          codes: int [N], the kind of each image.
          num: number of kinds.
        """
        total = np.zeros(num * len(SPLITS), np.int64)
        for at in range(0, len(self), BLOCK):
            both = (
                self.codes[at : at + BLOCK].astype(np.int64) * num
                + codes[at : at + BLOCK]
            )
            total += np.bincount(both, minlength=len(total))
        return dict(zip(SPLITS, total.reshape(-1, num).tolist(), strict=True))


def split_images(
    dataset: Dataset,
    digests: np.ndarray | None,
    config: RetrainConfig,
    copies: Sequence[np.ndarray] = (),
) -> Splits:
    """Returns the split of every image.

    Args:
      dataset: N images, and the split of their folders if the user made it.
      digests: the content digest of each, bytes [N]; None if they are not known, which
        takes all contents as different.
      config: for the two percentages and `split_seed`.
      copies: int [2 or more] each, groups of images that stay together, too.
    """
    paths, own = dataset.images.paths, dataset.splits
    ties = [*copies, *(same_content(digests) if digests is not None else ())]
    if not own:
        return Splits(_carve(paths, range(len(paths)), ties, config, SPLITS))
    code_of = {first: SPLITS.index(split) for first, split in own.items()}
    codes = np.empty(len(paths), np.uint8)
    for start in range(0, len(paths), BLOCK):
        some = paths.slice(start, BLOCK).to_pylist()
        codes[start : start + BLOCK] = [code_of[p.partition("/")[0]] for p in some]
    splits = Splits(codes)
    if lacking := [split for split in SPLITS if split not in own.values()]:
        rows = np.flatnonzero(splits == TRAIN)
        ties = [tie[splits[tie] == TRAIN] for tie in ties]
        codes[rows] = _carve(paths, rows, ties, config, lacking, above=1)
    return splits


def _carve(
    paths: pa.Array,
    rows: Sequence[int] | np.ndarray,
    ties: Sequence[np.ndarray],
    config: RetrainConfig,
    wanted: Sequence[str],
    above: int = 0,
) -> np.ndarray:
    """Returns the splits of the images at `rows`, uint8 [n], positions in SPLITS.

    Splits that are not `wanted` are replaced by training. The first `above` folders of
    a path do not count.
    """
    testing = config.validation_percentage + config.testing_percentage
    ends = np.array([config.validation_percentage, testing])
    splits = [split if split in wanted else TRAIN for split in (VALIDATION, TEST)]
    codes = np.array([*map(SPLITS.index, (*splits, TRAIN))], np.uint8)
    blocks = []
    for keys in _group_keys(paths, rows, ties, above):
        places = [percentage_of(key, config.split_seed) for key in keys]
        blocks.append(codes[np.searchsorted(ends, places, "right")])
    return np.concatenate(blocks) if blocks else np.empty(0, np.uint8)


def same_content(digests: np.ndarray) -> list[np.ndarray]:
    """Returns groups of images with the same content, in the order of the first image.

    Args:
      digests: the content digest of each image, bytes [N].
    """
    bins = 1 + len(digests) // BINNED
    if bins == 1:
        return _same_content(digests)
    bytes_of = digests.view(np.uint8).reshape(len(digests), -1)
    numbers = (bytes_of[:, 0] + bytes_of[:, 1].astype(np.uint16)) % min(bins, 256)
    groups = []
    for number in range(bins):
        rows = np.flatnonzero(numbers == number)
        groups += [rows[group] for group in _same_content(digests[rows])]
    return sorted(groups, key=lambda images: images[0])


def _same_content(digests: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(digests, kind="stable")
    ordered = digests[order]
    as_before = np.zeros(len(order) + 1, bool)
    as_before[1:-1] = ordered[1:] == ordered[:-1]
    several = as_before[:-1] | as_before[1:]
    firsts = np.flatnonzero(~as_before[:-1][several])
    groups = np.split(order[several], firsts[1:]) if len(firsts) else []
    return sorted(groups, key=lambda images: images[0])


def _group_keys(
    paths: pa.Array,
    rows: Sequence[int] | np.ndarray,
    ties: Sequence[np.ndarray],
    above: int,
) -> Iterator[list[str]]:
    """Yields for each image the least name among all images tied to it, in blocks.

    Equal names are ties, too; groups are the connected components (union by least name,
    with path halving).
    """
    lesser: dict[str, str] = {}  # a name -> a lesser one that it is tied to

    def names(some: np.ndarray) -> list[str]:
        found = paths.take(pa.array(some)).to_pylist()
        if above:
            found = [path.split("/", above)[-1] for path in found]
        return [
            re.sub(r"_nohash_.*$", "", path) if "_nohash_" in path else path
            for path in found
        ]

    def root(name: str) -> str:
        while name in lesser:
            if (higher := lesser[name]) in lesser:
                lesser[name] = lesser[higher]
            name = higher
        return name

    for tie in ties:
        tied = names(tie)
        for one, other in zip(tied, tied[1:], strict=False):
            least, greatest = sorted((root(one), root(other)))
            if least != greatest:
                lesser[greatest] = least
    for start in range(0, len(rows), BLOCK):
        yield [*map(root, names(np.asarray(rows[start : start + BLOCK])))]


def check_split(dataset: Dataset, splits: Splits) -> list[str]:
    """Returns sentences about labels that a split lacks.

    Raises:
      DatasetError: if a label has no training images, or a split is empty.
    """
    names = dataset.images.names
    lacking = {}
    for split, counts in splits.counts(dataset.images.codes, len(names)).items():
        found = {name for name, count in zip(names, counts, strict=True) if count}
        lacking[split] = [each for each in dataset.folders if each not in found]
    if untrained := lacking[TRAIN]:
        raise DatasetError(
            f"no training images for {listed(untrained)}: the split left "
            "none; add images, or lower --testing_percentage and "
            "--validation_percentage"
        )
    thin = []
    own = set(dataset.splits.values())
    for split, flag in ((VALIDATION, "validation"), (TEST, "testing")):
        empty = lacking[split]
        if len(empty) == len(dataset.folders):
            hint = "" if split in own else f", or raise --{flag}_percentage"
            raise DatasetError(
                f"the {split} split of {len(splits)} images is empty; add images{hint}"
            )
        if empty:
            why = (
                "its folder has none" if split in own else "too few for a share of them"
            )
            thin.append(f"no {split} images for {listed(empty)}: {why}")
    return thin
