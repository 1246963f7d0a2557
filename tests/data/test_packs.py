"""Packs of every form give the pictures of the labelled folder, and name what is bad.

These tests are the contract of all forms: a new one is a row of FORMS. What is
particular to a form is in the file of its name.
"""

import pytest

from poets.data.dataset import find_images
from poets.data.image_files import ImageError
from poets.data.packs import KINDS, suffix_of_pack
from poets.errors import DatasetError, StorageError
from tests.packs import FILES, FORMS, MTIME_NS

pytest_plugins = ["tests.far"]


@pytest.fixture
def unpacked(tmp_path):
    """The labelled folder."""
    for name, data in FILES.items():
        path = tmp_path / "unpacked" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return find_images(str(tmp_path / "unpacked"))


@pytest.mark.parametrize("form", FORMS)
def test_a_pack_has_the_pictures_of_the_folder(form, folder, unpacked):
    FORMS[form](folder, FILES)
    dataset = find_images(str(folder))
    assert dataset.images.paths == unpacked.images.paths
    assert [image.folder for image in dataset.images] == [
        image.folder for image in unpacked.images
    ]
    assert (dataset.folders, dataset.labels) == (unpacked.folders, unpacked.labels)
    assert dataset.skipped == ()
    contents = list(dataset.source.read(dataset.images))
    assert contents == [FILES[image.path] for image in dataset.images]


@pytest.mark.parametrize("form", FORMS)
def test_a_pack_may_be_named_itself(form, folder, unpacked):
    pack = FORMS[form](folder, FILES)
    dataset = find_images(str(pack))
    assert dataset.images.paths == unpacked.images.paths
    assert list(dataset.source.read([dataset.images[7]])) == [
        FILES[dataset.images[7].path]
    ]


@pytest.mark.parametrize("form", FORMS)
def test_single_pictures_are_read_in_any_order(form, folder):
    FORMS[form](folder, FILES)
    dataset = find_images(str(folder))
    some = [dataset.images[row] for row in (32, 0, 17, 0, 5)]
    assert list(dataset.source.read(some)) == [FILES[image.path] for image in some]
    assert list(dataset.source.read([])) == []


@pytest.mark.parametrize("form", FORMS)
def test_a_pack_that_is_cut_short_ends_the_job_before_its_work(form, folder):
    pack = FORMS[form](folder, FILES)
    pack.write_bytes(pack.read_bytes()[: -len(pack.read_bytes()) // 3])
    with pytest.raises(DatasetError, match=f"cannot read all packs: '{pack}': ."):
        find_images(str(folder))


@pytest.mark.parametrize("form", FORMS)
def test_an_empty_pack_is_damaged(form, folder):
    pack = FORMS[form](folder, FILES)
    pack.write_bytes(b"")
    with pytest.raises(DatasetError, match="cannot read all packs"):
        find_images(str(folder))


@pytest.mark.parametrize("form", FORMS)
def test_a_pack_that_another_one_replaced_is_not_read(form, folder):
    pack = FORMS[form](folder, FILES)
    dataset = find_images(str(folder))
    pack.write_bytes(pack.read_bytes() + b"more")
    (error,) = dataset.source.read([dataset.images[3]])
    assert isinstance(error, StorageError)
    assert "another file took its place" in str(error)


@pytest.mark.parametrize("form", FORMS)
def test_a_pack_that_is_gone_is_no_fault_of_a_picture(form, folder):
    pack = FORMS[form](folder, FILES)
    dataset = find_images(str(folder))
    pack.unlink()
    for error in dataset.source.read([dataset.images[3], dataset.images[20]]):
        assert isinstance(error, StorageError)
        assert str(error).startswith(f"cannot read '{pack}': ")


@pytest.mark.parametrize("form", FORMS)
def test_every_byte_of_a_pack_may_be_wrong_without_a_crash(form, folder):
    pack = FORMS[form](folder, FILES)
    whole = pack.read_bytes()
    for at in range(0, len(whole), len(whole) // 40):
        pack.write_bytes(
            whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :],
        )
        try:
            dataset = find_images(str(folder))
        except DatasetError:
            continue
        for data in dataset.source.read(dataset.images):
            assert isinstance(data, bytes | ImageError)


@pytest.mark.parametrize("form", FORMS)
def test_a_pack_is_read_alike_on_another_storage(form, folder, far, unpacked):
    FORMS[form](folder, FILES)
    dataset = find_images(far.url(folder))
    assert dataset.images.paths == unpacked.images.paths
    far.log()
    contents = list(dataset.source.read(dataset.images))
    assert contents == [FILES[image.path] for image in dataset.images]
    assert len([line for line in far.log() if line.startswith("open ")]) == 1


@pytest.mark.parametrize("form", ["ours_parquet", "ours_tar"])
def test_packs_of_ours_keep_the_times_of_files(form, folder):
    FORMS[form](folder, FILES)
    assert set(find_images(str(folder)).images.mtimes_ns) == {MTIME_NS}


@pytest.mark.parametrize("form", [f for f in FORMS if not f.startswith("ours")])
def test_pictures_of_other_packs_have_the_time_of_the_pack(form, folder):
    pack = FORMS[form](folder, FILES)
    assert set(find_images(str(folder)).images.mtimes_ns) == {pack.stat().st_mtime_ns}


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a/train-00000-of-00012.parquet", ".parquet"),
        ("FLOWERS.TGZ", ".tgz"),
        ("f.tar.gz", ".tar.gz"),
        ("flowers-train.tfrecord-00000-of-00002", ".tfrecord"),
        ("flowers.tfrecord-notes", ""),
        ("a.tar/1.jpg", ""),
        ("photo.jpg", ""),
    ],
)
def test_packs_are_known_by_their_names(name, suffix):
    assert suffix_of_pack(name) == suffix
    assert suffix in ("", *KINDS)
