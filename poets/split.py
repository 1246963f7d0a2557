"""Which images train, which validate, which test.

The split hangs on the label's folder and the path below it, never on where the data
lies: the same images get the same split on HDFS, here, and with "./" in front. Images
that must not be told apart stay together: those whose names differ only after
`_nohash_`, and those with the same content.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

from poets.config import RetrainConfig
from poets.dataset import Dataset, Image
from poets.errors import DatasetError

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")

MAX_HASH = 2**27 - 1
"""`MAX_NUM_IMAGES_PER_CLASS` of the original retrain.py."""


def percentage_of(key: str, split_seed: int = 0) -> float:
    """Returns where a key falls, 0 to 100, by the original's SHA-1 formula."""
    salted = f"{split_seed}:{key}" if split_seed else key
    digest = hashlib.sha1(salted.encode(), usedforsecurity=False).hexdigest()
    return int(digest, 16) % (MAX_HASH + 1) * (100.0 / MAX_HASH)


def split_images(
    images: Sequence[Image], digests: Sequence[bytes], config: RetrainConfig
) -> list[str]:
    """Returns "train", "validation" or "test" for every image.

    Args:
      images: N images.
      digests: the content digest of each.
      config: for the two percentages and `split_seed`.
    """
    splits = []
    for key in _group_keys(images, digests):
        percentage = percentage_of(key, config.split_seed)
        if percentage < config.validation_percentage:
            splits.append(VALIDATION)
        elif percentage < config.validation_percentage + config.testing_percentage:
            splits.append(TEST)
        else:
            splits.append(TRAIN)
    return splits


def _group_keys(images: Sequence[Image], digests: Sequence[bytes]) -> list[str]:
    """Returns for each image the least name of all images tied to it.

    Ties go through names and contents alike, so groups are the connected components
    (union by least name, with path halving).
    """
    names = [re.sub(r"_nohash_.*$", "", image.path) for image in images]
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    first: dict[bytes, str] = {}
    for name, digest in zip(names, digests, strict=True):
        one, other = root(name), root(first.setdefault(digest, name))
        parent[max(one, other)] = min(one, other)
    return [root(name) for name in names]


def check_split(dataset: Dataset, splits: Sequence[str]) -> list[str]:
    """Returns sentences about labels that a split lacks.

    Args:
      dataset: its images are those the splits are of.
      splits: the split of each image.

    Raises:
      DatasetError: if a label has nothing to train on, or a split is empty.
    """
    counts = Counter(
        (image.folder, split)
        for image, split in zip(dataset.images, splits, strict=True)
    )
    untrained = [folder for folder in dataset.folders if not counts[folder, TRAIN]]
    if untrained:
        raise DatasetError(
            f"no training images for {', '.join(map(repr, untrained))}: the split left "
            "none; add images, or lower --testing_percentage and "
            "--validation_percentage"
        )
    thin = []
    for split, flag in ((VALIDATION, "validation"), (TEST, "testing")):
        empty = [folder for folder in dataset.folders if not counts[folder, split]]
        if len(empty) == len(dataset.folders):
            raise DatasetError(
                f"the {split} split of {len(splits)} images is empty; add images, or "
                f"raise --{flag}_percentage"
            )
        if empty:
            names = ", ".join(map(repr, empty))
            thin.append(f"no {split} images for {names}: too few for a share of them")
    return thin
