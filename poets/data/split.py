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
from collections import Counter
from collections.abc import Sequence

import numpy as np

from poets.config import RetrainConfig
from poets.data.dataset import Dataset
from poets.errors import DatasetError, listed

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")

MAX_HASH = 2**27 - 1
"""`MAX_NUM_IMAGES_PER_CLASS` of the original retrain.py."""


def percentage_of(key: str, split_seed: int = 0) -> float:
    """Returns the position of a key, 0 to 100, by the original's SHA-1 formula."""
    salted = f"{split_seed}:{key}" if split_seed else key
    digest = hashlib.sha1(salted.encode(), usedforsecurity=False).hexdigest()
    return int(digest, 16) % (MAX_HASH + 1) * (100.0 / MAX_HASH)


def split_images(
    dataset: Dataset,
    digests: np.ndarray | None,
    config: RetrainConfig,
    copies: Sequence[np.ndarray] = (),
) -> list[str]:
    """Returns "train", "validation" or "test" for every image.

    Args:
      dataset: N images, and the split of their folders if the user made it.
      digests: the content digest of each, bytes [N]; None if they are not known, which
        takes all contents as different.
      config: for the two percentages and `split_seed`.
      copies: int [2 or more] each, groups of images that stay together, too.
    """
    paths = dataset.images.paths.to_pylist()
    ties = [*copies, *(same_content(digests) if digests is not None else ())]
    own = dataset.splits
    if not own:
        return _carve(paths, ties, config, SPLITS)
    splits = [own[path.partition("/")[0]] for path in paths]
    rows = [row for row, split in enumerate(splits) if split == TRAIN]
    place_of = np.full(len(paths), -1)
    place_of[rows] = np.arange(len(rows))
    within = [places[places >= 0] for places in (place_of[tie] for tie in ties)]
    carved = _carve(
        [paths[row].partition("/")[2] for row in rows],
        within,
        config,
        [TRAIN, *(split for split in SPLITS if split not in own.values())],
    )
    for row, split in zip(rows, carved, strict=True):
        splits[row] = split
    return splits


def _carve(
    paths: Sequence[str],
    ties: Sequence[np.ndarray],
    config: RetrainConfig,
    wanted: Sequence[str],
) -> list[str]:
    """Returns the split of each path; splits not wanted are replaced by training."""
    splits = []
    for key in _group_keys(paths, ties):
        percentage = percentage_of(key, config.split_seed)
        if percentage < config.validation_percentage:
            split = VALIDATION
        elif percentage < config.validation_percentage + config.testing_percentage:
            split = TEST
        else:
            split = TRAIN
        splits.append(split if split in wanted else TRAIN)
    return splits


def same_content(digests: np.ndarray) -> list[np.ndarray]:
    """Returns groups of images with the same content, in the order of the first image.

    Args:
      digests: the content digest of each image, bytes [N].
    """
    order = np.argsort(digests, kind="stable")
    ordered = digests[order]
    as_before = np.zeros(len(order) + 1, bool)
    as_before[1:-1] = ordered[1:] == ordered[:-1]
    several = as_before[:-1] | as_before[1:]
    firsts = np.flatnonzero(~as_before[:-1][several])
    groups = np.split(order[several], firsts[1:]) if len(firsts) else []
    return sorted(groups, key=lambda images: images[0])


def _group_keys(paths: Sequence[str], ties: Sequence[np.ndarray]) -> list[str]:
    """Returns for each image the least name among all images tied to it.

    Equal names are ties, too; groups are the connected components (union by least name,
    with path halving).
    """
    names = [
        re.sub(r"_nohash_.*$", "", path) if "_nohash_" in path else path
        for path in paths
    ]
    above: dict[str, str] = {}  # a name -> a lesser one that it is tied to

    def root(name: str) -> str:
        while name in above:
            if (higher := above[name]) in above:
                above[name] = above[higher]
            name = higher
        return name

    for tie in ties:
        for one, other in zip(tie, tie[1:], strict=False):
            least, greatest = sorted((root(names[one]), root(names[other])))
            if least != greatest:
                above[greatest] = least
    return [root(name) for name in names] if above else names


def check_split(dataset: Dataset, splits: Sequence[str]) -> list[str]:
    """Returns sentences about labels that a split lacks.

    Args:
      dataset: N images.
      splits: the split of each image.

    Raises:
      DatasetError: if a label has no training images, or a split is empty.
    """
    counts = Counter(zip(dataset.images.folders, splits, strict=True))
    untrained = [folder for folder in dataset.folders if not counts[folder, TRAIN]]
    if untrained:
        raise DatasetError(
            f"no training images for {listed(untrained)}: the split left "
            "none; add images, or lower --testing_percentage and "
            "--validation_percentage"
        )
    thin = []
    own = set(dataset.splits.values())
    for split, flag in ((VALIDATION, "validation"), (TEST, "testing")):
        empty = [folder for folder in dataset.folders if not counts[folder, split]]
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
