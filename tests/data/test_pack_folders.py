"""A folder of packs as a data set: splits, skipped pictures, damaged packs."""

import re

import pytest

from poets.classifier.sources import find_sources
from poets.data.dataset import find_images
from poets.errors import DatasetError
from tests import packs
from tests.packs import FILES, JPEG


def test_packs_beside_pictures_are_not_read(folder):
    packs.ours_tar(folder, {"lily/1.jpg": JPEG, "iris/1.jpg": JPEG})
    for name in ("a/1.jpg", "b/2.jpg"):
        (folder / name).parent.mkdir()
        (folder / name).write_bytes(JPEG)
    dataset = find_images(str(folder))
    assert dataset.labels == ("a", "b")
    assert dataset.packs == ()


def test_names_of_packs_are_splits(folder):
    for split in ("train", "test"):
        packs.datasets_parquet(folder, FILES, split)
    dataset = find_images(str(folder))
    assert dataset.splits == {"train": "train", "test": "test"}
    assert "test/Red Roses/3.jpg" in dataset.images.paths.to_pylist()
    assert len(dataset.images) == 2 * len(FILES)


def test_folders_of_packs_are_splits_and_their_archives_too(folder):
    for split in ("train", "valid"):
        (folder / split).mkdir()
        packs.folder_tar(
            folder / split, {f"{split}/{name}": data for name, data in FILES.items()}
        )
    assert find_images(str(folder)).splits == {"train": "train", "valid": "validation"}


def test_one_pack_named_for_a_split_has_labels(folder):
    packs.datasets_parquet(folder, FILES, "train")
    dataset = find_images(str(folder))
    assert dataset.splits == {}
    assert dataset.labels == ("daisy", "red roses", "tulips")


def test_a_second_picture_of_a_path_is_skipped_and_named(folder):
    packs.folder_zip(folder, FILES)
    packs.folder_tar(folder, FILES)
    dataset = find_images(str(folder))
    assert len(dataset.images) == len(FILES)
    assert len(dataset.skipped) == len(FILES)
    path, why = dataset.skipped[0]
    assert path == "Red Roses/0.jpg"
    assert re.fullmatch(
        r"in photos.zip, block 0, at \d+: another one has its path", why
    )


def test_the_same_rules_hold_in_packs_as_in_folders(folder):
    lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    packs.folder_tar(
        folder,
        {
            **FILES,
            "daisy/_1.jpg": JPEG,
            "daisy/.hidden/1.jpg": JPEG,
            "daisy/x": JPEG + b"x",
            "daisy/y": lfs,
            "daisy/notes.txt": b"text",
            "daisy/1.jpg.icloud": b"bplist00",
        },
    )
    dataset = find_images(str(folder))
    paths = set(dataset.images.paths.to_pylist())
    assert paths == {*FILES, "daisy/x"}
    assert set(dict(dataset.skipped)) == {
        *("daisy/_1.jpg", "daisy/y", "daisy/1.jpg.icloud")
    }


def test_all_broken_packs_are_named_together(folder):
    for name in ("a.tar", "b.zip", "c.parquet"):
        (folder / name).write_bytes(b"text, no pack")
    with pytest.raises(DatasetError) as caught:
        find_images(str(folder))
    assert "3 problems" in str(caught.value)
    assert all(name in str(caught.value) for name in ("a.tar", "b.zip", "c.parquet"))


def test_pictures_in_packs_are_labelled_by_name(folder):
    pack = packs.folder_zip(folder, FILES)
    sources = find_sources([str(pack)])
    assert [source.name for source in sources] == [
        f"{pack}/{name}" for name in sorted(FILES)
    ]
    assert list(sources[0].source.read([sources[3].image])) == [
        FILES[sources[3].image.path]
    ]
