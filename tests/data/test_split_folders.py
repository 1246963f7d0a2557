"""Folders that are a split: their labels, what is left out, and what is refused."""

from poets.data.dataset import find_images
from tests.data.folders import fill, refusal

pytest_plugins = ["tests.far"]

SPLIT = {"test": "test", "train": "train", "valid": "validation"}


def test_split_folders_are_not_labels(image_dir, caplog):
    caplog.set_level("INFO")
    fill(image_dir, "train/Red Roses/a/1.jpg", "train/daisy/1.jpg", "train/loose.jpg")
    fill(image_dir, "valid/red_roses/1.jpg", "README/notes.txt", "extra/tulips/1.jpg")
    dataset = find_images(str(image_dir))
    assert dataset.labels == ("daisy", "red roses")
    assert dataset.folders == ("daisy", "Red Roses")
    assert dataset.splits == {"train": "train", "valid": "validation"}
    assert {image.path: image.folder for image in dataset.images} == {
        "train/Red Roses/a/1.jpg": "Red Roses",
        "train/daisy/1.jpg": "daisy",
        "valid/red_roses/1.jpg": "Red Roses",
    }
    assert dataset.notes == (
        "the folders are a split: 'train' is train, 'valid' is validation; "
        "test images are taken from 'train'",
        "1 images left out: in 'extra', beside the folders of the split",
        "1 images left out: directly in 'train', without a folder of their label",
    )
    assert {*dataset.notes, "Looking for images in 'Red Roses'"} <= set(caplog.messages)
    assert "No files found in 'README': it is not a label" in caplog.messages


def test_split_folders_are_labels_by_hash(image_dir):
    fill(image_dir, "train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "test/b/1.jpg")
    assert find_images(str(image_dir)).labels == ("a", "b")
    assert find_images(str(image_dir), "folders").labels == ("a", "b")
    dataset = find_images(str(image_dir), "hash")
    assert (dataset.labels, dataset.splits) == (("test", "train"), {})


def test_splits_of_one_label_are_refused(image_dir):
    fill(image_dir, *(f"{split}/images/1.jpg" for split in ("train", "valid", "test")))
    assert refusal(image_dir).endswith(
        "found 'images'; add a folder of images for another label, or give "
        "--split=hash to take the folders as labels"
    )


def test_two_folders_of_one_split_that_are_one_label_are_refused(image_dir):
    fill(image_dir, "train/a b/1.jpg", "train/a_b/1.jpg", "test/a_b/1.jpg")
    assert "'a b' and 'a_b' both become 'a b'" in refusal(image_dir)


def test_split_folders_are_the_same_on_another_storage(image_dir, far):
    fill(image_dir, *(f"{split}/{label}/1.jpg" for split in SPLIT for label in "ab"))
    found, here = find_images(far.url(image_dir)), find_images(str(image_dir))
    assert found.splits == here.splits == SPLIT
    assert [image.folder for image in found.images] == [
        image.folder for image in here.images
    ]
    assert (found.labels, found.notes) == (here.labels, here.notes)
