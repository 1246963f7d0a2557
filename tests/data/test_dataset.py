"""Labelled folders: what is an image of which label, and what is passed over."""

import os

import numpy as np
import pytest

from poets.data.dataset import find_images
from poets.data.image_columns import Image, Images
from poets.data.image_files import IMAGE_SUFFIXES
from tests.data.folders import fill, paths_of

pytest_plugins = ["tests.far"]
JPEG = b"\xff\xd8\xff\xe0"


def test_images_are_sorted_and_know_their_folder_length_and_time(image_dir):
    fill(image_dir, "b/2.jpg", "b/10.jpg", "a/1.jpg", data=b"12345")
    os.utime(image_dir / "a" / "1.jpg", ns=(1, 1_700_000_000_123_456_789))
    dataset = find_images(str(image_dir))
    assert [image.path for image in dataset.images] == [
        "a/1.jpg",
        "b/10.jpg",
        "b/2.jpg",
    ]
    assert dataset.images[0] == ("a/1.jpg", "a", 5, 1_700_000_000_123_456_789, None)
    assert dataset.image_dir == str(image_dir)
    assert dataset.labels == dataset.folders == ("a", "b")


def test_images_come_out_of_their_columns_as_they_went_in():
    rows = [
        Image("b/ü.jpg", "b", 5, 1_700_000_000_123_456_789),
        Image("a/😀.jpg", "a", 2**40, 0),
        Image("a/ﬀ.jpg", "a", 0, 1),
    ]
    images = Images.of(rows)
    assert list(images) == [images[row] for row in range(3)] == rows
    assert list(images.sorted()) == sorted(rows)
    assert [image.folder for image in images] == ["b", "a", "a"]
    assert list(images.take(np.array([2, 0]))) == [rows[2], rows[0]]
    assert images == Images.of(iter(images))
    assert images != Images.of(rows[:2])
    assert len(Images.of([])) == 0
    assert list(Images.of([]).sorted()) == []


@pytest.mark.parametrize("suffix", [*IMAGE_SUFFIXES, ".JPG", ".JPEG", ".Png", ".WebP"])
def test_all_image_suffixes_count(image_dir, suffix):
    fill(image_dir, f"a/1{suffix}", "b/1.jpg")
    assert paths_of(image_dir) == [f"a/1{suffix}", "b/1.jpg"]


def test_nested_folders_count_for_the_label_above(image_dir):
    fill(image_dir, "Red Roses/2016/May/1.jpg", "Red Roses/2.jpg", "b/b/1.jpg")
    dataset = find_images(str(image_dir))
    assert {image.path: image.folder for image in dataset.images} == {
        "Red Roses/2.jpg": "Red Roses",
        "Red Roses/2016/May/1.jpg": "Red Roses",
        "b/b/1.jpg": "b",
    }


def test_hidden_and_other_files_are_passed_over(image_dir, caplog):
    caplog.set_level("INFO")
    fill(image_dir, "a/1.jpg", "b/1.jpg", "top.jpg", "a/notes.txt", "a/jpg", "a/1.jpg~")
    fill(image_dir, "a/.hidden.jpg", ".git/1.jpg", "b/.thumbs/1.jpg", ".DS_Store")
    assert paths_of(image_dir) == ["a/1.jpg", "b/1.jpg"]
    assert "Looking for images in 'a'" in caplog.messages
    assert "1 files are not images and passed over: .txt, in 'a'" in caplog.messages
    (hidden,) = [line for line in caplog.messages if ".git" in line or ".DS" in line]
    assert hidden.startswith(
        "passed over '.DS_Store', '.git', '.hidden.jpg', 'b/.thumbs': names that begin "
    )


@pytest.mark.parametrize(
    "name",
    ["it's", "a b", "käse", "花", "a#b?c", "100%", "a\\b", 'a"b', "a\nb", "[x]*", "-x"],
)
def test_any_name_is_a_label(tmp_path, name):
    image_dir = tmp_path / name
    fill(image_dir, f"{name}/{name}.jpg", "zzz/1.jpg")
    dataset = find_images(str(image_dir))
    assert f"{name}/{name}.jpg" in [image.path for image in dataset.images]
    assert set(dataset.folders) == {name, "zzz"}


@pytest.mark.parametrize("tail", ["", "/", "//", "/."])
def test_the_spelling_of_the_folder_changes_nothing(image_dir, tail, monkeypatch):
    fill(image_dir, "a/1.jpg", "b/1.jpg")
    expected = find_images(str(image_dir)).images
    monkeypatch.chdir(image_dir.parent)
    assert find_images(f"{image_dir}{tail}").images == expected
    assert find_images(f"./{image_dir.name}{tail}").images == expected
    assert find_images(f"file://{image_dir}{tail}").images == expected


def test_links_to_folders_and_files_count(image_dir, tmp_path):
    fill(tmp_path / "elsewhere", "1.jpg", "2.jpg")
    fill(image_dir, "b/1.jpg")
    (image_dir / "a").symlink_to(tmp_path / "elsewhere")
    (image_dir / "b" / "2.jpg").symlink_to(tmp_path / "elsewhere" / "2.jpg")
    assert paths_of(image_dir) == ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"]


def test_what_is_no_file_is_passed_over(image_dir):
    fill(image_dir, "a/1.jpg", "b/1.jpg", "b/folder.jpg/notes.txt")
    os.mkfifo(image_dir / "a" / "pipe.jpg")  # opening it would wait for ever
    (image_dir / "b" / "2.jpg").symlink_to("nowhere.jpg")
    assert paths_of(image_dir) == ["a/1.jpg", "b/1.jpg"]


def test_a_name_that_is_not_utf8_is_passed_over_and_named(image_dir, caplog):
    fill(image_dir, "a/1.jpg", "b/1.jpg")
    (image_dir / os.fsdecode(b"a/caf\xe9.jpg")).write_bytes(b"x")
    assert paths_of(image_dir) == ["a/1.jpg", "b/1.jpg"]
    assert (
        f"1 names are not UTF-8 and passed over, first '{image_dir}/a/caf\\xe9.jpg'; "
        "rename them"
    ) in caplog.messages


def test_a_folder_without_images_is_no_label(image_dir, caplog):
    fill(image_dir, "a/1.jpg", "b/1.jpg", "c/notes.txt", "d/deep/notes.txt")
    assert find_images(str(image_dir)).folders == ("a", "b")
    for folder in ("c", "d"):
        assert f"No files found in '{folder}': it is not a label" in caplog.messages


@pytest.mark.parametrize(("count", "warns"), [(19, True), (20, False)])
def test_few_images_are_warned_about_in_the_originals_words(
    image_dir, caplog, count, warns
):
    fill(image_dir, *(f"{label}/{i}.jpg" for label in "ab" for i in range(count)))
    find_images(str(image_dir))
    text = "WARNING: Folder has less than 20 images, which may cause issues. 'a' has 19"
    assert (text in caplog.messages) is warns


def test_labels_are_sorted_and_folders_follow_them(image_dir):
    fill(image_dir, "Zebra/1.jpg", "apple/1.jpg", "(b/1.jpg")
    dataset = find_images(str(image_dir))
    assert dataset.labels == (" b", "apple", "zebra")
    assert dataset.folders == ("(b", "apple", "Zebra")


def test_a_folder_without_images_collides_with_none(image_dir):
    fill(image_dir, "Roses/notes.txt", "roses/1.jpg", "b/1.jpg")
    assert find_images(str(image_dir)).labels == ("b", "roses")


def test_images_beside_the_folders_are_counted(image_dir, caplog):
    fill(image_dir, "a/1.jpg", "b/1.jpg", "1.jpg", "2.jfif", data=JPEG)
    assert paths_of(image_dir) == ["a/1.jpg", "b/1.jpg"]
    assert "2 images beside the folders have no label and are passed over" in (
        caplog.text
    )


def test_a_thousand_small_folders_take_twenty_lines(image_dir, caplog):
    caplog.set_level("INFO")
    fill(image_dir, *(f"{k:03d}/{name}.jpg" for k in range(30) for name in "ab"))
    fill(image_dir, *(f"e{k:03d}/notes.txt" for k in range(25)))
    find_images(str(image_dir))
    for start, more in (
        ("Looking for", "35 more folders"),
        ("No files", "5 more folders have no images and are not labels"),
        ("WARNING: Folder", "10 more folders have less than 20 images"),
    ):
        assert sum(line.startswith(start) for line in caplog.messages) == 20
        assert sum(line.startswith(more) for line in caplog.messages) == 1


def test_the_photographs_are_found_quickly(photographs):
    dataset = find_images(str(photographs))
    assert len(dataset.images) == 4317
    assert dataset.labels == ("daisy", "dandelion", "rose", "sunflower", "tulip")


def test_another_storage_is_listed_once(image_dir, far):
    fill(image_dir, *(f"label{k % 7}/deep/{k}.jpg" for k in range(300)))
    far.log()
    found = find_images(far.url(image_dir))
    assert len(far.log()) == 2  # is it a folder; what is below it
    here = find_images(str(image_dir))
    assert [i.path for i in found.images] == [i.path for i in here.images]
    assert (found.labels, found.folders) == (here.labels, here.folders)
