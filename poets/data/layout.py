"""Decides whether folders are labels, or the user's own split into train and test.

    flowers/daisy/1.jpg              a folder is a label
    flowers/train/daisy/1.jpg        a folder is a split, which holds the labels
    flowers/test/daisy/2.jpg

Downloads of Kaggle, Roboflow, Ultralytics and torchvision have the second form. Only
the first two folders of a path count, so no picture is read.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from poets.errors import DatasetError, listed

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Name of a folder in lower case -> its split."""

Folders = tuple[str, str]
"""The first two folders of an image's path; the second is "" without one."""


@dataclass(frozen=True)
class Layout:
    """The meaning of the folders below `image_dir`.

    Attributes:
      splits: folder -> "train", "validation" or "test"; empty if folders are labels.
      labels: place -> the label's folder, in one spelling for all splits; images in
        other places are left out. Empty if the folders are labels.
      decision: a sentence on the split folders; "" if there are none.
      warnings: sentences on unusual folders, and images left out.
    """

    splits: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[Folders, str] = field(default_factory=dict)
    decision: str = ""
    warnings: Sequence[str] = ()


def clean_label(folder: str) -> str:
    """Returns a folder's name as the original script writes labels.

    Lower case; each run of characters outside a-z and 0-9 becomes one space. A name
    without any of those characters keeps its own: all such names would become " ".
    """
    cleaned = re.sub(r"[^a-z0-9]+", " ", folder.lower())
    return cleaned if cleaned.strip() else " ".join(folder.lower().split())


def split_named(folder: str) -> str | None:
    """Returns the split that a folder is named after, or None."""
    return SPLIT_NAMES.get(folder.casefold())


def place_of(path: str) -> Folders:
    """Returns the place of an image, whose path has at least one folder."""
    first, _, below = path.partition("/")
    second, separator, _ = below.partition("/")
    return first, second if separator else ""


def layout_of(counts: Mapping[Folders, int], how: str, image_dir: str) -> Layout:
    """Returns the layout of the folders.

    Args:
      counts: images of each place.
      how: `--split`. "hash" takes folders for labels; "folders" takes those that are
        named for a split for splits; "auto" does so if at least two of them hold
        labels of the same name, or if "train" holds labels and all other folders are
        splits without labels.
      image_dir: for messages.

    Raises:
      DatasetError: if there are no training images, or a label has none.
    """
    inside: dict[str, list[str]] = {}
    for first, second in sorted(counts):
        inside.setdefault(first, []).extend([second] if second else [])
    named = [folder for folder in inside if split_named(folder)]
    if how == "hash" or (how == "auto" and not named):
        return Layout()
    own = {folder: inside[folder] for folder in named if inside[folder]}
    if how == "auto" and not (_share_labels(own) or _lone_train(own, inside)):
        return Layout(warnings=_taken_as_labels(named, inside))
    splits = {folder: SPLIT_NAMES[folder.casefold()] for folder in own}
    _check_train(splits, own, list(inside), how, image_dir)
    return Layout(
        splits=splits,
        labels=_labels(splits, own),
        decision=_decision(splits),
        warnings=_left_out(counts, splits),
    )


def _share_labels(own: Mapping[str, Sequence[str]]) -> bool:
    """Returns whether two split folders hold a label of the same name."""
    seen = Counter(
        label for below in own.values() for label in set(map(clean_label, below))
    )
    return any(count > 1 for count in seen.values())


def _lone_train(
    own: Mapping[str, Sequence[str]], inside: Mapping[str, Sequence[str]]
) -> bool:
    """Returns whether only "train" holds labels, beside pictures without a label.

    Competitions publish their test pictures that way.
    """
    return (
        [split_named(folder) for folder in own] == ["train"]
        and all(len(below) > 1 for below in own.values())
        and len(inside) > 1
        and all(map(split_named, inside))
    )


def _taken_as_labels(
    named: Sequence[str], inside: Mapping[str, Sequence[str]]
) -> list[str]:
    """Returns a warning if folders taken as labels look like a split."""
    nested = any(len(inside[folder]) > 1 for folder in named)
    if len(inside) < 2 or (len(named) < 2 and not nested):
        return []
    return [
        f"taken as labels: {listed(named)}; no two folders named for a split hold "
        "folders of the same name; if they are the split, give --split=folders"
    ]


def _check_train(
    splits: Mapping[str, str],
    own: Mapping[str, Sequence[str]],
    found: Sequence[str],
    how: str,
    image_dir: str,
) -> None:
    train = [folder for folder, split in splits.items() if split == "train"]
    if not train:
        raise DatasetError(
            f"no training images in {image_dir!r} by --split={how}: found "
            f"{listed(found) or 'no folder with images'}, and none of them is named "
            "train or training and holds a folder for each label; name one so, or give "
            "--split=hash to take the folders as labels"
        )
    trained = {clean_label(label) for folder in train for label in own[folder]}
    lacking = [
        f"{folder}/{label}"
        for folder, labels in own.items()
        for label in labels
        if clean_label(label) not in trained
    ]
    if lacking:
        raise DatasetError(
            f"no training images for {listed(lacking)}: {listed(train)} has no such "
            "label; add it there, or take the folder away, or give --split=hash to "
            "take the folders as labels"
        )


def _labels(
    splits: Mapping[str, str], own: Mapping[str, Sequence[str]]
) -> dict[Folders, str]:
    """Returns the label's folder of each place, in the spelling of "train".

    Two folders of one split with the same label keep their spellings: they are refused
    later.
    """
    spellings: dict[str, str] = {}
    labels = {}
    for folder in sorted(own, key=lambda folder: splits[folder] != "train"):
        repeated = Counter(map(clean_label, own[folder]))
        for below in own[folder]:
            label = clean_label(below)
            spelling = spellings.setdefault(label, below)
            labels[folder, below] = below if repeated[label] > 1 else spelling
    return labels


def _decision(splits: Mapping[str, str]) -> str:
    order = list(dict.fromkeys(SPLIT_NAMES.values()))
    folders = sorted(splits, key=lambda folder: order.index(splits[folder]))
    whole = ", ".join(f"{folder!r} is {splits[folder]}" for folder in folders)
    train = listed([folder for folder in folders if splits[folder] == "train"])
    carved = [split for split in order if split not in splits.values()]
    taken = f"; {' and '.join(carved)} images are taken from {train}" if carved else ""
    return f"the folders are a split: {whole}{taken}"


def _left_out(counts: Mapping[Folders, int], splits: Mapping[str, str]) -> list[str]:
    """Returns a sentence for each reason not to use images."""
    unused: dict[str, Counter[str]] = {}
    for (first, second), count in counts.items():
        if first in splits and second:
            continue
        if first in splits:
            why = "directly in {}, without a folder of their label"
        elif split_named(first):
            why = "in {}, without folders of labels"
        else:
            why = "in {}, beside the folders of the split"
        unused.setdefault(why, Counter())[first] += count
    return [
        f"{folders.total()} images left out: {why.format(listed(sorted(folders)))}"
        for why, folders in unused.items()
    ]
