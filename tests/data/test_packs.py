"""Packs of every form give the pictures of the labelled folder, and name what is bad.

The first tests are the contract of all forms: a new one is a row of FORMS.
"""

import io
import re
import struct
import tarfile
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from poets.classifier.sources import find_sources
from poets.data.dataset import find_images
from poets.data.image_files import ImageError, utf8
from poets.data.packs import KINDS, suffix_of_pack
from poets.errors import DatasetError, StorageError
from tests import packs
from tests.packs import FORMS, framed, record
from tests.retraining import snapshot

pytest_plugins = ["tests.far"]

JPEG = b"\xff\xd8\xff\xe0" + bytes(60)
FILES = {
    f"{label}/{number}.jpg": JPEG + f"{label}{number}".encode() * (number + 1)
    for label in ("daisy", "tulips", "Red Roses")
    for number in range(11)
}


@pytest.fixture
def folder(tmp_path):
    """A folder for packs."""
    (tmp_path / "packs").mkdir()
    return tmp_path / "packs"


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
    assert set(find_images(str(folder)).images.mtimes_ns) == {packs.MTIME_NS}


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


def test_packs_beside_pictures_are_not_read(folder, unpacked):
    FORMS["ours_tar"](folder, {"lily/1.jpg": JPEG, "iris/1.jpg": JPEG})
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


def test_one_pack_named_for_a_split_has_labels(folder, unpacked):
    packs.datasets_parquet(folder, FILES, "train")
    dataset = find_images(str(folder))
    assert dataset.splits == {}
    assert dataset.labels == unpacked.labels


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


def skipped_of(folder):
    return dict(find_images(str(folder)).skipped)


def with_members(folder, members, name="more.tar"):
    """Writes a tar of FILES and of other members."""
    with tarfile.open(folder / name, "w") as archive:
        for member, data in {**FILES, **members}.items():
            packs._add(archive, member, data)


@pytest.mark.parametrize(
    "name", ["../../etc/1.jpg", "daisy/../../1.jpg", "/../daisy/1.jpg"]
)
def test_a_name_that_leads_out_of_the_folder_is_skipped(folder, name):
    with_members(folder, {name: JPEG})
    (why,) = skipped_of(folder).values()
    assert why == "in more.tar: its name leads out of the folder"


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


def test_links_in_a_tar_are_skipped(folder):
    with tarfile.open(folder / "a.tar", "w") as archive:
        for name, data in FILES.items():
            packs._add(archive, name, data)
        info = tarfile.TarInfo("daisy/link.jpg")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    why = skipped_of(folder)["daisy/link.jpg"]
    assert "a link, a device or another special file" in why


def test_the_same_rules_hold_in_packs_as_in_folders(folder):
    lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    with_members(
        folder,
        {
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
            packs._add(archive, f"{key}.jpg", JPEG)
            packs._add(archive, f"{key}.cls", label)
    dataset = find_images(str(folder))
    assert (found in dataset.labels) == (found is not None)
    expected = [] if found else [("c.jpg", "in a.tar: no label in 'c.cls'")]
    assert list(dataset.skipped) == expected


def parquet_of(folder, rows, metadata=None, name="a.parquet"):
    table = pa.Table.from_pylist(rows).replace_schema_metadata(metadata)
    pq.write_table(table, folder / name)


def test_rows_without_label_picture_or_name(folder):
    good = [
        {"image": {"bytes": JPEG, "path": f"{n}.jpg"}, "label": "ab"[n % 2]}
        for n in range(4)
    ]
    bad = [
        {"image": {"bytes": JPEG, "path": "n.jpg"}, "label": None},
        {"image": {"bytes": None, "path": "p.jpg"}, "label": "a"},
        {"image": {"bytes": JPEG, "path": None}, "label": "a"},
    ]
    parquet_of(folder, good + bad)
    dataset = find_images(str(folder))
    assert dataset.skipped == (
        ("n.jpg", "in a.parquet: row 4 of row group 0: no label"),
    )
    assert "a/a-000006.jpg" in dataset.images.paths.to_pylist()
    found = {
        image.path: data
        for image, data in zip(
            dataset.images, dataset.source.read(dataset.images), strict=True
        )
    }
    assert str(found.pop("a/p.jpg")) == "'a.parquet': a row without a picture"
    assert set(found.values()) == {JPEG}


def test_a_number_that_is_no_labels_is_skipped(folder):
    packs.datasets_parquet(folder, FILES)
    table = pq.read_table(folder / "train-00000-of-00001.parquet")
    labels = [-1, 3, *table["label"].to_pylist()[2:]]
    table = table.set_column(1, "label", [labels])
    pq.write_table(table, folder / "train-00000-of-00001.parquet")
    whys = [why.partition(": ")[2] for _, why in find_images(str(folder)).skipped]
    assert whys == [
        "row 0 of row group 0: label -1 is none of the 3 of its ClassLabel",
        "row 1 of row group 0: label 3 is none of the 3 of its ClassLabel",
    ]


def test_a_parquet_file_without_pictures_names_its_columns(folder):
    pq.write_table(pa.table({"x": [1], "y": ["z"]}), folder / "a.parquet")
    with pytest.raises(DatasetError, match="no column with pictures among x, y: name"):
        find_images(str(folder))


def test_a_damaged_row_group_loses_its_own_pictures_only(folder):
    pack = packs.ours_parquet(folder, FILES)
    whole = pack.read_bytes()
    at = whole.index(FILES["daisy/3.jpg"])
    dataset = find_images(str(folder))
    pack.write_bytes(whole[:at] + b"XXXX" + whole[at + 4 :])
    found = list(dataset.source.read(dataset.images))
    assert all(isinstance(data, ImageError) for data in found)  # one row group
    assert str(found[0]).startswith(
        "'images-00000.parquet': block 0 is damaged: could not verify page integrity"
    )


def test_a_wrong_checksum_in_a_zip_is_the_pictures_fault(folder):
    pack = packs.stored_zip(folder, FILES)
    whole = pack.read_bytes()
    at = whole.index(FILES["daisy/2.jpg"]) + 40
    dataset = find_images(str(folder))
    pack.write_bytes(whole[:at] + b"XX" + whole[at + 2 :])
    found = dict(
        zip(
            dataset.images.paths.to_pylist(),
            dataset.source.read(dataset.images),
            strict=True,
        )
    )
    assert str(found.pop("daisy/2.jpg")).endswith("it cannot be unpacked: wrong CRC-32")
    assert found == {name: FILES[name] for name in found}


def test_an_encrypted_zip_is_refused(folder):
    pack = packs.stored_zip(folder, FILES)
    data = bytearray(pack.read_bytes())
    directory = data.index(b"PK\1\2")
    struct.pack_into("<H", data, directory + 8, 1)
    pack.write_bytes(data)
    with pytest.raises(DatasetError, match=r"'daisy/0.jpg' is encrypted: unpack it"):
        find_images(str(folder))


def test_members_of_a_zip_that_share_bytes_are_a_bomb(folder):
    pack = packs.stored_zip(folder, FILES)
    with zipfile.ZipFile(pack) as archive:
        first, *_ = infos = archive.infolist()
        for info in infos[1:]:
            info.header_offset = first.header_offset
        sink = io.BytesIO(pack.read_bytes()[: archive.start_dir])
        with zipfile.ZipFile(sink, "a") as other:
            other.filelist[:] = infos
            other._didModify = True
    pack.write_bytes(sink.getvalue())
    with pytest.raises(DatasetError):
        find_images(str(folder))


def test_a_compressed_tar_that_grows_without_end_is_refused(folder):
    with tarfile.open(folder / "bomb.tgz", "w:gz", compresslevel=9) as archive:
        for number in range(8):
            packs._add(archive, f"daisy/{number}.jpg", bytes(20 * 2**20))
    with pytest.raises(DatasetError, match="a decompression bomb"):
        find_images(str(folder))


def test_a_header_of_any_claimed_length_is_not_read(folder):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2**33
    (folder / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2**21))
    with pytest.raises(DatasetError, match=r"a header of 8,589,934,592 bytes"):
        find_images(str(folder))


@pytest.mark.parametrize(
    ("features", "why"),
    [
        ({"image/class/text": b"a"}, "no picture in image/encoded or image"),
        (
            {"image/encoded": JPEG},
            "no label in image/class/text, image/class/label, label",
        ),
        ({"image": JPEG, "label": -1}, "no label in image/class/text"),
        ({"image": JPEG, "label": b"\xff"}, "a label or a name that is not UTF-8"),
    ],
)
def test_records_that_cannot_be_used_are_named(folder, features, why):
    good = [{"image": JPEG, "label": n % 2, "filename": b"%d.jpg" % n} for n in (0, 1)]
    data = b"".join(map(record, [*good, features]))
    (folder / "a.tfrecord").write_bytes(data)
    dataset = find_images(str(folder))
    assert dataset.labels == ("0", "1")
    ((_, found),) = dataset.skipped
    assert found.startswith(f"in a.tfrecord: record 2: {why}")


def test_a_wrong_crc_of_a_record_skips_it_and_one_of_its_length_does_not(
    folder,
):
    pack = packs.tfrecord(folder, FILES)
    whole = pack.read_bytes()
    at = whole.index(FILES["daisy/2.jpg"]) + 30
    pack.write_bytes(whole[:at] + b"X" + whole[at + 1 :])
    ((_, why),) = find_images(str(folder)).skipped
    assert why.endswith("record 2: wrong CRC")
    pack.write_bytes(b"X" + whole[1:])
    with pytest.raises(DatasetError, match="record 0: wrong CRC of its length"):
        find_images(str(folder))


@pytest.mark.parametrize(
    "data", [b"", b"\x0a", b"\x0a\xff\xff\xff\xff\x0f", b"\x08\x01"]
)
def test_a_record_that_is_no_example(folder, data):
    good = [{"image": JPEG, "label": n, "filename": b"%d.jpg" % n} for n in (0, 1)]
    (folder / "a.tfrecord").write_bytes(b"".join(map(record, good)) + framed(data))
    dataset = find_images(str(folder))
    assert len(dataset.images) == 2
    assert len(dataset.skipped) == 1


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


def test_a_table_of_what_is_in_packs_takes_names_that_are_not_unicode():
    assert [*map(utf8, ["a", "ä", "\udcff.jpg"])] == ["a", "ä", "\\xff.jpg"]
