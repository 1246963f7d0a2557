"""Folders that are no data set: each refusal names what was found and what to do."""

import pytest

from poets.data.dataset import find_images
from poets.errors import DatasetError, StorageError
from tests.data.folders import fill, refusal

pytest_plugins = ["tests.far"]


def test_folders_that_become_one_label_are_refused_by_name(image_dir):
    fill(
        image_dir, "Red Roses/1.jpg", "red_roses/1.jpg", "b/1.jpg", "B/1.jpg", "c/1.jpg"
    )
    assert refusal(image_dir) == (
        "two folders are one label: 2 problems\n"
        "  - 'B' and 'b' both become 'b'\n"
        "  - 'Red Roses' and 'red_roses' both become 'red roses'; rename or merge the "
        "folders"
    )


def test_a_missing_folder_is_reported(image_dir):
    assert refusal(image_dir) == (
        f"Image directory {str(image_dir)!r} not found; give --image_dir a folder with "
        "one folder of images per label"
    )


def test_a_file_is_no_folder(image_dir):
    image_dir.write_bytes(b"")
    assert refusal(image_dir) == (
        f"--image_dir={str(image_dir)!r} is a file; give the folder that has one "
        "folder of images per label, or a pack (.parquet, .tar, .tar.gz, .tgz, .zip, "
        ".tfrecord, .tfrecords)"
    )


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([], "0 folders and no image"),
        (["1.jpg"], "0 folders and 1 images at the top"),
        (
            ["a/notes.txt", "b/notes.txt", "b/1.tiff"],
            "2 folders and no image, other files: 2 .txt, 1 .tiff, 1 files skipped, "
            "first 'b/1.tiff': not an image by its first bytes",
        ),
        (["_a/1.jpg", "_b/1.jpg"], "0 folders and no image, hidden: '_a', '_b'"),
        (
            ["1.jpg", "2.jpg", "labels.csv"],
            "0 folders and 2 images at the top, other files: 1 .csv; if the labels are "
            "in the .csv file, give it as --labels_csv, or move each image into a "
            "folder named after its label",
        ),
    ],
)
def test_where_no_folder_has_images_what_is_there_is_counted(image_dir, files, found):
    image_dir.mkdir()
    fill(image_dir, *files)
    assert refusal(image_dir) == (
        f"No valid folders of images found at {str(image_dir)!r}: found {found}; each "
        "label needs a folder with jpg, jpeg, png, webp, bmp, gif files"
    )


@pytest.mark.parametrize("levels", [1, 2])
def test_a_folder_above_the_labels_is_refused_with_the_one_that_fits(tmp_path, levels):
    labels = tmp_path / "data" / "flowers"
    fill(labels, "rose/1.jpg", "tulip/deep/1.jpg", "notes.txt")
    image_dir = labels.parents[levels - 1]
    assert refusal(image_dir).endswith(
        "add a folder of images for another label, or give "
        f"--image_dir={labels} if 'rose', 'tulip' are the labels"
    )


def test_a_folder_below_the_labels_is_refused_with_the_one_that_fits(
    image_dir, monkeypatch
):
    fill(image_dir, "rose/1.jpg", "tulip/1.jpg")
    monkeypatch.chdir(image_dir / "rose")
    for given in (image_dir / "rose", "."):
        assert f"have images, too: give --image_dir={image_dir};" in refusal(given)


def test_one_label_is_too_few(image_dir):
    fill(image_dir, "daisy/1.jpg", "daisy/2.jpg", "empty/notes.txt")
    assert refusal(image_dir) == (
        f"Only one valid folder of images found at {str(image_dir)!r} - multiple "
        "classes are needed for classification: found 'daisy'; add a folder of images "
        "for another label"
    )


def test_a_label_folder_that_cannot_be_read_is_reported(unprivileged):
    fill(unprivileged, "a/1.jpg", "b/1.jpg")
    (unprivileged / "b").chmod(0o000)
    text = refusal(unprivileged)
    assert text == (
        f"cannot list '{unprivileged}/b': permission denied; every label's folder "
        "must be readable for the user that runs the job"
    )


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        ("ConnectionError", StorageError, "': nobody answers"),
        ("NotAuthenticatedError", StorageError, "': no ticket"),
        ("PermissionError", DatasetError, "every label's folder must be readable"),
    ],
)
def test_a_storage_that_fails_is_no_mistake_of_the_user(
    image_dir, far, fault, kind, text
):
    fill(image_dir, "a/1.jpg", "b/1.jpg")
    far.fail({"list": fault})
    with pytest.raises(kind, match=f"cannot list 'far://.*{text}") as caught:
        find_images(far.url(image_dir))
    assert caught.value.exit_code == (1 if kind is StorageError else 2)
