"""Which files are images, by names and first bytes, and what is said of the others."""

import functools

import pytest

from poets.data import image_files, image_listing
from poets.data.dataset import find_images
from poets.data.image_files import (
    ImageError,
    is_image,
    passed_over,
    pointer_by_name,
    pointer_in,
    suffix_of,
    utf8,
)
from poets.data.image_listing import ImageFiles
from poets.data.images import decode
from poets.errors import StorageError
from tests.data import folders
from tests.data.folders import paths_of
from tests.packs import JPEG

pytest_plugins = ["tests.far"]
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"

fill = functools.partial(folders.fill, data=JPEG)


@pytest.fixture
def image_dir(tmp_path):
    """Two labels with an image each."""
    folder = tmp_path / "flowers"
    fill(folder, "rose/1.jpg", "tulip/1.jpg")
    return folder


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("_temporary/0/1.jpg", "_temporary"),
        ("rose/_old/deep/1.jpg", "rose/_old"),
        ("rose/_1.jpg", "rose/_1.jpg"),
        (".snapshot", ".snapshot"),
        ("../1.jpg", ".."),
        ("lost+found", "lost+found"),
        ("rose/@eaDir/1.jpg", "rose/@eaDir"),
        ("System Volume Information/x", "System Volume Information"),
        ("rose/1.jpg", ""),
        ("rose_/a.b/1_2.jpg", ""),
        ("my lost+found/1.jpg", ""),
        ("", ""),
        ("/rose/1.jpg", ""),
    ],
)
def test_names_are_passed_over_as_hadoop_does_with_all_below_them(path, found):
    assert passed_over(path) == found


def test_hidden_and_system_folders_are_no_labels_and_said_once(image_dir, caplog):
    fill(image_dir, "_temporary/0/1.jpg", "_unknown_/1.jpg", ".snapshot/s/1.jpg")
    fill(image_dir, "_SUCCESS", "rose/_old/1.jpg", "lost+found/1.jpg")
    assert paths_of(image_dir) == ["rose/1.jpg", "tulip/1.jpg"]
    (line,) = [line for line in warnings(caplog) if "_" in line]
    assert line == (
        "passed over '.snapshot', '_SUCCESS', '_temporary', '_unknown_', 'lost+found' "
        "and 1 more: names that begin with '_' or '.', as in Hadoop, and the file "
        "system's own; rename what holds pictures to use"
    )


def test_a_hidden_picture_is_listed_as_skipped(image_dir, caplog):
    fill(image_dir, "rose/_DSC1.jpg", "rose/._1.jpg")
    dataset = find_images(str(image_dir))
    assert dataset.skipped == (
        ("rose/_DSC1.jpg", "hidden, since its name begins with '_': rename it"),
    )
    assert "skipped rose/_DSC1.jpg: hidden" in caplog.text


@pytest.mark.parametrize("mode", [0o000, 0o700])
def test_what_is_passed_over_need_not_be_readable(unprivileged, mode, caplog):
    caplog.set_level("INFO")
    fill(unprivileged, "rose/1.jpg", "tulip/1.jpg")
    for name in ("lost+found", "_temporary", "rose/.cache"):
        (unprivileged / name).mkdir(mode=mode)
    assert paths_of(unprivileged) == ["rose/1.jpg", "tulip/1.jpg"]
    assert "passed over '_temporary', 'lost+found', 'rose/.cache': names" in caplog.text


@pytest.mark.parametrize(
    "name",
    [
        *("1.jfif", "1.jpe", "2.jpg.1", "3.jpg?w=500", "4.JPG:large", "5.jpg_original"),
        *("a8f3", "6.heic", "7.unknown", "8.jpg~"),
    ],
)
@pytest.mark.parametrize("far_away", [False, True])
def test_an_image_by_its_first_bytes_is_read(image_dir, far, name, far_away):
    fill(image_dir, f"rose/{name}")
    fill(image_dir, f"tulip/{name}", data=b"text")
    url = far.url(image_dir) if far_away else str(image_dir)
    found = [image.path for image in find_images(url).images]
    assert found == sorted(["rose/1.jpg", f"rose/{name}", "tulip/1.jpg"])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (JPEG, True),
        (b"\x89PNG\r\n\x1a\n\0", True),
        (b"GIF89a\1", True),
        (b"RIFF\1\2\3\4WEBPVP8 ", True),
        (b"BM\1\1\1\1\0\0\0\0", True),
        (b"BMW is a car", False),
        (b"RIFF\1\2\3\4WAVEfmt ", False),
        (b"\xff\xd8", False),
        (b"", False),
    ],
)
def test_images_are_known_by_their_signatures(data, expected):
    assert is_image(data) is expected


def test_other_files_are_counted_by_suffix_and_label(image_dir, caplog):
    fill(image_dir, *(f"{k}/{k}.txt" for k in "abcdefg"), data=b"text")
    fill(image_dir, "rose/1.tiff", "rose/2.TIFF", "tulip/1.jfif", data=b"II*\0")
    fill(image_dir, "tulip/Makefile", "README.md", data=b"text")
    dataset = find_images(str(image_dir))
    assert [line for line in warnings(caplog) if "not images" in line] == [
        "1 files are not images and passed over: no suffix, in 'tulip'",
        "1 files are not images and passed over: .jfif, in 'tulip'",
        "2 files are not images and passed over: .tiff, in 'rose'",
        "7 files are not images and passed over: .txt, in 'a', 'b', 'c', 'd', 'e' and "
        "2 more",
    ]
    assert [path for path, _ in dataset.skipped] == [
        *("rose/1.tiff", "rose/2.TIFF", "tulip/1.jfif")
    ]


@pytest.mark.parametrize(
    ("path", "suffix"),
    [
        ("a/1.TXT", ".txt"),
        ("a/1.jfif", ".jfif"),
        ("a/1.jpg.1", ".jpg…"),
        ("a/1.jpeg?w=5&x=.b", ".jpeg…"),
        ("a.jpg/readme", ""),
        ("a/2019.03.12", ""),
        ("a/1.jpgs", ".jpgs"),
        ("a/none", ""),
    ],
)
def test_suffixes_are_few_whatever_the_names(path, suffix):
    assert suffix_of(path) == suffix


@pytest.mark.parametrize(("images", "taken"), [(3, 6), (1, 1)])
def test_of_many_files_the_first_are_looked_at_and_speak_for_the_others(
    image_dir, monkeypatch, caplog, images, taken
):
    caplog.set_level("INFO")
    monkeypatch.setattr(image_listing, "MOST_LOOKS", 4)
    for k in range(7):
        fill(image_dir, f"rose/{k}.jfif", data=JPEG if k < images else b"text")
    found = [path for path in paths_of(image_dir) if path.endswith(".jfif")]
    assert len(found) == taken
    number = f"3 more are taken for {'images' if images == 3 else 'other files'}"
    assert f"{images} of 4 files (.jfif) are images, and {number}" in caplog.text


def test_only_names_that_say_too_little_cost_a_request(image_dir, far):
    fill(image_dir, "rose/1.txt", "rose/1.url", "rose/_1", "rose/1.jpg.part")
    fill(image_dir, "rose/2.jfif", "rose/3.jpg?w=5")
    far.log()
    find_images(far.url(image_dir))
    opened = {line.rpartition("/")[2] for line in far.log() if line.startswith("open")}
    assert opened == {"2.jfif", "3.jpg?w=5"}


def test_a_storage_that_fails_while_files_are_looked_at_ends_the_listing(
    image_dir, far
):
    fill(image_dir, "rose/2.jfif")
    far.fail({"2.jfif": "ConnectionError"})
    with pytest.raises(StorageError, match=r"cannot read 'far://.*2\.jfif': nobody"):
        find_images(far.url(image_dir))
    far.fail({"2.jfif": "PermissionError"})
    assert find_images(far.url(image_dir)).skipped == (
        ("rose/2.jfif", "permission denied"),
    )


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("rose/.1.jpg.icloud", "a placeholder of a cloud drive"),
        ("rose/1.jpg.nextcloud", "a placeholder of a cloud drive"),
        ("rose/1.jpg.url", "a shortcut"),
        ("rose/1.lnk", "a shortcut"),
        ("rose/1.jpg.dvc", "a pointer of DVC"),
        ("rose/1.jpg._COPYING_", "an unfinished copy"),
        ("rose/1.jpg.crdownload", "an unfinished copy"),
    ],
)
def test_a_pointer_is_named_by_its_name_whatever_is_in_it(
    image_dir, caplog, name, what
):
    fill(image_dir, name)
    ((path, why),) = find_images(str(image_dir)).skipped
    assert path == name
    assert why.startswith(what)
    assert f"skipped {name}: {what}" in caplog.text


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("../.git/annex/objects/x/1.jpg", "a pointer of git-annex"),
        ("nowhere.jpg", "a link that leads nowhere"),
        ("2.jpg", "a link that leads nowhere"),
    ],
)
def test_a_link_without_its_picture_is_named(image_dir, target, what):
    (image_dir / "rose" / "2.jpg").symlink_to(target)
    ((path, why),) = find_images(str(image_dir)).skipped
    assert path == "rose/2.jpg"
    assert why.startswith(what)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (LFS, "a pointer of Git LFS"),
        (b"/annex/objects/SHA256E-s1--2.jpg\n", "a pointer of git-annex"),
        (b"../../.git/annex/objects/q/1.jpg", "a pointer of git-annex"),
        (b"[InternetShortcut]\r\nURL=http://x/1.jpg\r\n", "a shortcut"),
        (b"L\0\0\0\x01\x14\x02\0\0\0\0\0", "a shortcut"),
        (b"bplist00\xd4", "a placeholder of a cloud drive"),
    ],
)
def test_a_pointer_with_an_images_name_is_named_where_it_is_decoded(data, what):
    with pytest.raises(ImageError, match=f"^{what}"):
        decode(data)
    assert pointer_in(data[: image_files.BEGINNING]).startswith(what)


def test_other_content_and_names_are_no_pointers():
    assert pointer_in(b"version 1") == pointer_in(b"") == pointer_in(JPEG) == ""
    assert pointer_by_name("a/1.jpg") == pointer_by_name("a/cloud") == ""


def test_files_that_are_skipped_take_twenty_lines_for_each_reason(image_dir, caplog):
    fill(image_dir, *(f"rose/{k:02d}.jpg.url" for k in range(25)), "rose/1.jpg.part")
    assert len(find_images(str(image_dir)).skipped) == 26
    lines = warnings(caplog)
    assert sum(line.endswith("copy the picture there") for line in lines) == 20
    assert "5 more files skipped: see skipped_images.csv" in lines
    assert any("rose/1.jpg.part" in line for line in lines)


def test_a_link_to_a_folder_that_is_listed_is_named(image_dir, caplog):
    (image_dir / "rose" / "all").symlink_to("..")
    assert paths_of(image_dir) == ["rose/1.jpg", "tulip/1.jpg"]
    assert f"'rose/all' is passed over: it links to '{image_dir}', which" in caplog.text


def test_stray_keys_are_listed_as_skipped(s3):
    bucket, client = s3.make_bucket(), s3.client()
    strays = ("/rose/x.jpg", "rose//y.jpg", "rose/a//b/z.jpg")
    for key in (*strays, "rose/1.jpg", "tulip/1.jpg", "_temporary/0/1.jpg"):
        client.put_object(Bucket=bucket, Key=f"flowers/{key}", Body=JPEG)
    dataset = find_images(f"s3://{bucket}/flowers")
    assert dataset.folders == ("rose", "tulip")
    assert [path for path, _ in dataset.skipped] == list(strays)
    assert {why for _, why in dataset.skipped} == {
        "a folder in its key has no name ('//'): give the object another key"
    }


def test_images_by_their_first_bytes_are_found_in_an_object_store(s3):
    bucket, client = s3.make_bucket(), s3.client()
    for key in ("rose/1.jfif", "tulip/1.jpg?w=500", "tulip/2"):
        client.put_object(Bucket=bucket, Key=key, Body=JPEG)
    client.put_object(Bucket=bucket, Key="rose/2.jfif", Body=b"text")
    files = ImageFiles(f"s3://{bucket}")
    assert sorted(entry.path for entry in files if entry.length) == [
        *("rose/1.jfif", "tulip/1.jpg?w=500", "tulip/2")
    ]


def test_a_table_of_what_is_in_packs_takes_names_that_are_not_unicode():
    assert [*map(utf8, ["a", "ä", "\udcff.jpg"])] == ["a", "ä", "\\xff.jpg"]
