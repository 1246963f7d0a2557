"""Parquet files of pictures: bad rows and labels, and damaged row groups."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from poets.data.dataset import find_images
from poets.data.image_files import ImageError
from poets.data.packs.parquet import CRC
from poets.errors import DatasetError
from tests import packs
from tests.packs import FILES, JPEG


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
    pq.write_table(pa.Table.from_pylist(good + bad), folder / "a.parquet")
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
    assert str(found.pop("a/p.jpg")) == (
        "'a.parquet': row 5 of row group 0: a row without a picture"
    )
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


def damaged(folder, at, new):
    """Returns what is read of a listed pack, by path, once some bytes have changed."""
    dataset = find_images(str(folder))
    (pack,) = folder.glob("*.parquet")
    whole = pack.read_bytes()
    pack.write_bytes(whole[:at] + new + whole[at + len(new) :])
    found = dataset.source.read(dataset.images)
    return dict(zip(dataset.images.paths.to_pylist(), found, strict=True))


def test_a_damaged_picture_is_the_only_one_lost(folder):
    whole = packs.ours_parquet(folder, FILES).read_bytes()
    found = damaged(folder, whole.index(FILES["daisy/3.jpg"]) + 9, b"X")
    number = list(FILES).index("daisy/3.jpg")
    assert str(found.pop("daisy/3.jpg")) == (
        f"'images-00000.parquet': row {number} of row group 0: wrong CRC"
    )
    assert found == {name: FILES[name] for name in found}
    assert len(found) == len(FILES) - 1


def test_a_damaged_length_of_a_picture_loses_its_row_group(folder):
    whole = packs.ours_parquet(folder, FILES).read_bytes()
    at = whole.index(FILES["daisy/3.jpg"]) - 4
    found = damaged(folder, at, b"\xff\xff\xff\x7f")
    assert all(isinstance(data, ImageError) for data in found.values())
    whys = {str(why).rpartition(": ")[0] for why in found.values()}
    assert whys == {"'images-00000.parquet': block 0 is damaged"}


def test_packs_without_checksums_of_pictures_have_those_of_pages(folder):
    """Packs of earlier versions."""
    pack = packs.ours_parquet(folder, FILES)
    table = pq.read_table(pack).drop_columns([CRC])
    pq.write_table(table, pack, compression="none", write_page_checksum=True)
    whole = pack.read_bytes()
    found = damaged(folder, whole.index(FILES["daisy/3.jpg"]) + 9, b"X")
    for why in found.values():
        assert isinstance(why, ImageError)
        assert "block 0 is damaged: could not verify page integrity" in str(why)


def test_a_damaged_path_in_a_pack_ends_the_job_before_its_work(folder):
    pack = packs.ours_parquet(folder, FILES)
    whole = pack.read_bytes()
    pack.write_bytes(whole.replace(b"daisy/3.jpg", b"daisy/4.jpg"))
    with pytest.raises(DatasetError, match="could not verify page integrity"):
        find_images(str(folder))
