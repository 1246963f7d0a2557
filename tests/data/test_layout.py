"""Folders read as labels or as the user's own split, by their names alone."""

from collections import Counter

import pytest

from poets.data.layout import SPLIT_NAMES, clean_label, layout_of, place_of
from poets.errors import DatasetError


def layout(*paths, how="auto"):
    return layout_of(Counter(map(place_of, paths)), how, "photos")


def filled(*folders, labels=("daisy", "roses")):
    """Returns a path for each label in each folder."""
    return [f"{folder}/{label}/1.jpg" for folder in folders for label in labels]


def refusal(*paths, how="auto"):
    with pytest.raises(DatasetError) as caught:
        layout(*paths, how=how)
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("train/daisy/1.jpg", ("train", "daisy")),
        ("train/daisy/2016/1.jpg", ("train", "daisy")),
        ("train/1.jpg", ("train", "")),
    ],
)
def test_a_place_is_the_first_two_folders(path, place):
    assert place_of(path) == place


@pytest.mark.parametrize("name", SPLIT_NAMES)
def test_every_name_of_a_split_is_known_in_any_case(name):
    other = "test" if SPLIT_NAMES[name] == "train" else "train"
    for spelled in (name, name.upper(), name.capitalize()):
        found = layout(*filled(spelled, other))
        assert found.splits == {spelled: SPLIT_NAMES[name], other: other}


@pytest.mark.parametrize(
    "folders",
    [
        ("train", "valid", "test"),
        ("train", "test"),
        ("Training", "Testing"),
        ("train", "val"),
        ("train", "val", "valid", "dev", "test"),
        ("train", "training", "test"),
    ],
)
def test_folders_that_share_labels_are_the_split(folders):
    found = layout(*filled(*folders))
    assert found.splits == {name: SPLIT_NAMES[name.lower()] for name in folders}
    assert set(found.labels.values()) == {"daisy", "roses"}
    assert found.labels.keys() == {
        (folder, label) for folder in folders for label in ("daisy", "roses")
    }
    assert not found.warnings


@pytest.mark.parametrize(
    "paths",
    [
        filled("daisy", "roses", labels=("2016", "2017")),
        ["train/1.jpg", "bus/1.jpg"],
        ["train/2016/1.jpg", "bus/2016/1.jpg"],
        filled("train"),
        filled("images", labels=("train", "test")),
        filled("train_old", "tests"),
        [],
    ],
    ids=str,
)
def test_other_folders_are_labels_without_a_word(paths):
    found = layout(*paths)
    assert (found.splits, found.decision, list(found.warnings)) == ({}, "", [])


@pytest.mark.parametrize(
    "paths",
    [
        ["train/1.jpg", "test/1.jpg"],
        [*filled("train", labels=["steam", "diesel"]), *filled("test", labels=["a"])],
        [*filled("train"), "test/1.jpg", "bus/1.jpg"],
        [*filled("train"), "bus/1.jpg"],
        [*filled("train"), *filled("bus")],
        [*filled("test"), "train/1.jpg"],
        [*filled("train", labels=["2016"]), "test/1.jpg"],
    ],
    ids=str,
)
def test_names_of_splits_that_are_taken_as_labels_are_logged(paths):
    found = layout(*paths)
    assert not found.splits
    names = ", ".join(repr(n) for n in ("test", "train") if f"'{n}/" in str(paths))
    assert found.warnings == [
        f"taken as labels: {names}; no two folders named for a split hold folders of "
        "the same name; if they are the split, give --split=folders"
    ]


def test_a_competitions_test_pictures_without_labels_are_left_out():
    found = layout(*filled("train"), "test/1.jpg", "test/2.jpg")
    assert found.splits == {"train": "train"}
    assert found.decision == (
        "the folders are a split: 'train' is train; validation and test "
        "images are taken from 'train'"
    )
    assert found.warnings == ["2 images left out: in 'test', without folders of labels"]
    three = layout(*filled("train", "valid"), "test/1.jpg")
    assert three.splits == {"train": "train", "valid": "validation"}
    assert three.decision.endswith("; test images are taken from 'train'")


def test_what_is_beside_the_split_is_left_out_and_counted():
    extra = [*filled("holdout", "unlabelled"), "train/a.jpg", "train/b.jpg"]
    found = layout(*filled("train", "test"), *extra)
    assert found.splits == {"train": "train", "test": "test"}
    assert found.warnings == [
        "4 images left out: in 'holdout', 'unlabelled', beside the folders of the "
        "split",
        "2 images left out: directly in 'train', without a folder of their label",
    ]


def test_hash_takes_folders_for_labels_whatever_their_names():
    found = layout(*filled("train", "test"), how="hash")
    assert (found.splits, list(found.warnings)) == ({}, [])


def test_folders_takes_the_names_alone():
    assert layout(*filled("train"), how="folders").splits == {"train": "train"}
    both = [*filled("train"), *filled("test", labels=["daisy"]), "bus/1.jpg"]
    assert layout(*both, how="folders").splits == {"train": "train", "test": "test"}


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        (filled("daisy"), "'daisy'"),
        (["train/1.jpg", "test/1.jpg"], "'test', 'train'"),
        (filled("val", "test"), "'test', 'val'"),
        ([], "no folder with images"),
    ],
)
def test_folders_without_train_are_refused(paths, found):
    assert refusal(*paths, how="folders") == (
        f"no training images in 'photos' by --split=folders: found {found}, and none "
        "of them is named train or training and holds a folder for each label; name "
        "one so, or give --split=hash to take the folders as labels"
    )


def test_a_split_that_nothing_trains_is_refused_by_auto_too():
    assert "no training images in 'photos' by --split=auto" in refusal(
        *filled("valid", "test")
    )


def test_a_label_that_never_trains_is_refused_by_name():
    paths = [*filled("train", "test"), "test/tulips/1.jpg", "train/empty.jpg"]
    assert refusal(*paths) == (
        "no training images for 'test/tulips': 'train' has no such label; add it "
        "there, or take the folder away, or give --split=hash to take the folders as "
        "labels"
    )


def test_a_label_has_the_spelling_of_train_in_all_splits():
    train = filled("train", labels=["Red Roses", "daisy"])
    found = layout("TEST/red_roses/1.jpg", *train)
    assert found.labels == {
        ("TEST", "red_roses"): "Red Roses",
        ("train", "Red Roses"): "Red Roses",
        ("train", "daisy"): "daisy",
    }


def test_two_folders_of_one_split_that_are_one_label_keep_their_spellings():
    both = ["Red Roses", "red_roses"]
    for split, other in (("train", "test"), ("test", "train")):
        found = layout(*filled(split, labels=both), f"{other}/red_roses/1.jpg")
        assert [found.labels[split, folder] for folder in both] == both


@pytest.mark.parametrize(
    ("folder", "label"),
    [
        ("daisy", "daisy"),
        ("Red Roses", "red roses"),
        ("Red__Roses-2", "red roses 2"),
        ("_a", " a"),
        ("a!", "a "),
        ("Käse", "k se"),
        ("花", "花"),
        ("Ж  Я", "ж я"),
        ("!!!", "!!!"),
    ],
)
def test_labels_are_cleaned_as_in_the_original(folder, label):
    assert clean_label(folder) == label
