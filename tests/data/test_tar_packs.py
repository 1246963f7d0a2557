"""Tars of pictures: the kept listing, bad members, labels of WebDataset, bombs."""

import tarfile

import pytest

from poets.data.dataset import find_images
from poets.errors import DatasetError
from tests import packs
from tests.packs import FILES, JPEG, add_files
from tests.retraining import snapshot

pytest_plugins = ["tests.far"]


def test_what_a_pack_without_directory_holds_is_read_once(folder, tmp_path, far):
    packs.folder_tar(folder, FILES)
    url, index = far.url(folder), str(tmp_path / "bottlenecks")
    first = find_images(url, index_url=index)
    far.log()
    again = find_images(url, index_url=index)
    assert again.images == first.images
    assert not [line for line in far.log() if line.startswith(("open", "range"))]
    (kept,) = snapshot(tmp_path / "bottlenecks")
    (tmp_path / "bottlenecks" / kept).write_bytes(b"torn")
    assert find_images(url, index_url=index).images == first.images


def test_a_tar_that_changes_is_listed_anew(folder, tmp_path):
    index = str(tmp_path / "bottlenecks")
    packs.folder_tar(folder, FILES)
    find_images(str(folder), index_url=index)
    packs.folder_tar(folder, {**FILES, "lily/1.jpg": JPEG})
    assert "lily" in find_images(str(folder), index_url=index).labels


@pytest.mark.parametrize(
    "name", ["../../etc/1.jpg", "daisy/../../1.jpg", "/../daisy/1.jpg"]
)
def test_a_name_that_leads_out_of_the_folder_is_skipped(folder, name):
    with tarfile.open(folder / "more.tar", "w") as archive:
        add_files(archive, {**FILES, name: JPEG})
    ((_, why),) = find_images(str(folder)).skipped
    assert why == "in more.tar: its name leads out of the folder"


def test_links_in_a_tar_are_skipped(folder):
    with tarfile.open(folder / "a.tar", "w") as archive:
        add_files(archive, FILES)
        info = tarfile.TarInfo("daisy/link.jpg")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    why = dict(find_images(str(folder)).skipped)["daisy/link.jpg"]
    assert "a link, a device or another special file" in why


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"daisy\n", "daisy"),
        (b"3", "3"),
        (b"", None),
        (b"two\nlines", None),
        (b"\xff", None),
    ],
)
def test_labels_of_a_web_dataset(folder, text, found):
    with tarfile.open(folder / "a.tar", "w") as archive:
        for key, label in (("a", b"x"), ("b", b"y"), ("c", text)):
            add_files(archive, {f"{key}.jpg": JPEG, f"{key}.cls": label})
    dataset = find_images(str(folder))
    assert (found in dataset.labels) == (found is not None)
    expected = [] if found else [("c.jpg", "in a.tar: no label in 'c.cls'")]
    assert list(dataset.skipped) == expected


def test_a_compressed_tar_that_grows_without_end_is_refused(folder):
    with tarfile.open(folder / "bomb.tgz", "w:gz", compresslevel=9) as archive:
        zeros = bytes(20 * 2**20)
        add_files(archive, {f"daisy/{number}.jpg": zeros for number in range(8)})
    with pytest.raises(DatasetError, match="a decompression bomb"):
        find_images(str(folder))


def test_a_header_of_any_claimed_length_is_not_read(folder):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2**33
    (folder / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2**21))
    with pytest.raises(DatasetError, match=r"a header of 8,589,934,592 bytes"):
        find_images(str(folder))
