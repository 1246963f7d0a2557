"""Labels in a table give the model of pictures in the folders of their labels."""

import json
import shutil

import pytest

from poets.data.dataset import find_images
from poets.data.split import split_images
from poets.errors import DatasetError
from poets.flags import config_from_args
from poets.job import run
from tests import packs, retraining
from tests.packs import JPEG
from tests.retraining import snapshot

pytest_plugins = ["tests.far"]

LABELS = {f"{n}.jpg": ("daisy", "rose")[n % 2] for n in range(8)}


@pytest.fixture
def photos(tmp_path):
    """Eight pictures in one folder."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in LABELS:
        (folder / name).write_bytes(JPEG + name.encode())
    return folder


def write_csv(path, rows, header="file_name,label"):
    lines = [header, *(",".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def labels_of(dataset):
    return {image.path: image.folder for image in dataset.images}


EXPECTED = {f"{label}/{name}": label for name, label in LABELS.items()}


@pytest.mark.parametrize(
    "header",
    [
        "file_name,label",
        "path,label",
        "Image,Class",
        "\ufefffile_name,label",
        "id,label",
    ],
)
def test_a_table_labels_pictures_in_one_folder(photos, tmp_path, header):
    table = write_csv(tmp_path / "t.csv", LABELS.items(), header)
    dataset = find_images(str(photos), labels_csv=table)
    assert labels_of(dataset) == EXPECTED
    assert dataset.skipped == ()
    contents = list(dataset.source.read(dataset.images))
    assert contents == [
        (photos / image.path.partition("/")[2]).read_bytes() for image in dataset.images
    ]
    assert list(dataset.read(["rose/3.jpg"])) == [JPEG + b"3.jpg"]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_columns_may_be_separated_otherwise_and_have_more(photos, tmp_path, delimiter):
    rows = [["id", "file_name", "label"]]
    rows += [["7", name, label] for name, label in LABELS.items()]
    table = tmp_path / "t.tsv"
    table.write_text("\r\n".join(delimiter.join(row) for row in rows))
    assert labels_of(find_images(str(photos), labels_csv=str(table))) == EXPECTED


def test_names_without_suffix_and_in_folders(photos, tmp_path):
    (photos / "deep").mkdir()
    (photos / "deep" / "9.png").write_bytes(JPEG)
    rows = [(name.removesuffix(".jpg"), label) for name, label in LABELS.items()]
    table = write_csv(tmp_path / "t.csv", [*rows, ("./deep/9", "rose")])
    found = labels_of(find_images(str(photos), labels_csv=table))
    assert found == {**EXPECTED, "rose/deep/9.png": "rose"}


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_the_table_of_hugging_face_is_found_by_itself(photos, name, far):
    if name.endswith("csv"):
        write_csv(photos / name, LABELS.items())
    else:
        lines = [json.dumps({"file_name": n, "label": v}) for n, v in LABELS.items()]
        (photos / name).write_text("\n".join(lines))
    dataset = find_images(far.url(photos))
    assert labels_of(dataset) == EXPECTED
    assert list(dataset.source.read(dataset.images)) == [
        JPEG + path.partition("/")[2].encode() for path in sorted(EXPECTED)
    ]


def test_tables_in_the_folders_of_a_split(photos, tmp_path):
    for split in ("train", "test"):
        shutil.copytree(photos, tmp_path / "own" / split)
        write_csv(tmp_path / "own" / split / "metadata.csv", LABELS.items())
    dataset = find_images(str(tmp_path / "own"))
    assert dataset.splits == {"train": "train", "test": "test"}
    assert dataset.labels == ("daisy", "rose")
    assert len(dataset.images) == 16
    assert set(map(len, dataset.source.read(dataset.images))) == {len(JPEG) + 5}


def test_a_table_of_captions_is_left_alone(tmp_path):
    for name, label in LABELS.items():
        (tmp_path / "f" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / label / name).write_bytes(JPEG)
    write_csv(tmp_path / "f" / "metadata.csv", [("1.jpg", "a rose")], "file_name,text")
    assert labels_of(find_images(str(tmp_path / "f"))) == EXPECTED


def test_the_split_of_a_table_is_kept(photos, tmp_path):
    rows = [
        (name, label, ("train", "train", "valid", "test")[int(name[0]) // 2])
        for name, label in LABELS.items()
    ]
    table = write_csv(tmp_path / "t.csv", rows, "file_name,label,split")
    dataset = find_images(str(photos), labels_csv=table)
    config = config_from_args({"image_dir": str(photos)})
    splits = split_images(dataset, None, config).tolist()
    assert [splits.count(each) for each in ("train", "validation", "test")] == [4, 2, 2]
    assert dataset.images[0].path == "test/daisy/6.jpg"
    assert find_images(str(photos), "hash", labels_csv=table).splits == {}


def test_an_unknown_split_is_named(photos, tmp_path):
    rows = [(name, label, "holdout") for name, label in LABELS.items()]
    table = write_csv(tmp_path / "t.csv", rows, "file_name,label,split")
    with pytest.raises(DatasetError, match="row 2 of .* has the split 'holdout'; use"):
        find_images(str(photos), labels_csv=table)


def test_what_is_missing_is_counted_and_named(photos, tmp_path, caplog):
    rows = [row for row in LABELS.items() if row[0] not in ("0.jpg", "1.jpg")]
    bad = [("9.jpg", "rose"), ("2.jpg", "rose"), ("3.jpg", ""), ("", "rose")]
    table = write_csv(tmp_path / "t.csv", rows + bad)
    dataset = find_images(str(photos), labels_csv=table)
    assert dict(dataset.skipped) == {
        "9.jpg": "in the table, not in the folder",
        "0.jpg": "not in the table of labels",
        "1.jpg": "not in the table of labels",
        "2.jpg": "row 9 of the table: another row gives another label",
        "3.jpg": "row 10 of the table: no label",
        "": "row 11 of the table: no file name",
    }
    assert "1 pictures of the table are not in the folder: '9.jpg'" in caplog.text
    assert "2 pictures are not in the table: '0.jpg', '1.jpg'" in caplog.text


def test_a_table_of_other_pictures_is_refused(photos, tmp_path):
    table = write_csv(tmp_path / "t.csv", [("x/a.jpg", "rose"), ("x/b.jpg", "daisy")])
    with pytest.raises(DatasetError) as caught:
        find_images(str(photos), labels_csv=table)
    assert str(caught.value) == (
        f"no picture of the table {table!r} is in {str(photos)!r}: the table names "
        "'x/a.jpg', 'x/b.jpg', the folder has '0.jpg', '1.jpg', '2.jpg'; give paths "
        "below the folder"
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a,b\n1,2\n", "has no column file_name or path or .*: found 'a', 'b'; rename"),
        ("file_name,x\n1.jpg,2\n", "has no column label or "),
        ("\x00\xff", "no picture of the table|line contains NUL"),  # Python 3.10
        ("", "no picture of the table"),
    ],
)
def test_a_file_that_is_no_table_is_refused(photos, tmp_path, text, why):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DatasetError, match=why):
        find_images(str(photos), labels_csv=str(tmp_path / "t.csv"))


def test_pictures_in_a_pack_may_have_a_table(tmp_path):
    (tmp_path / "p").mkdir()
    packs.stored_zip(tmp_path / "p", {name: JPEG + name.encode() for name in LABELS})
    table = write_csv(tmp_path / "t.csv", LABELS.items())
    dataset = find_images(str(tmp_path / "p"), labels_csv=table)
    assert labels_of(dataset) == EXPECTED
    assert list(dataset.read(["daisy/4.jpg"])) == [JPEG + b"4.jpg"]


def test_the_job_is_that_of_labelled_folders(tmp_path, far):
    image_dir = retraining.write_images(tmp_path / "images")
    (tmp_path / "flat").mkdir()
    rows = []
    for number, (name, data) in enumerate(snapshot(image_dir).items()):
        (tmp_path / "flat" / f"{number}.jpg").write_bytes(data)
        (tmp_path / "moved" / name.partition("/")[0]).mkdir(parents=True, exist_ok=True)
        moved = f"{name.partition('/')[0]}/{number}.jpg"
        (tmp_path / "moved" / moved).write_bytes(data)
        rows.append((f"{number}.jpg", name.partition("/")[0]))
    table = write_csv(tmp_path / "t.csv", rows)
    flat = retraining.flags_for(tmp_path / "out_flat", tmp_path / "moved")
    flat |= {"image_dir": far.url(tmp_path / "flat"), "labels_csv": table}
    retraining.retrain(tmp_path / "out_moved", tmp_path / "moved", exports=False)
    with retraining.without_exports():
        run(config_from_args(flat))
    for name in ("split.csv", "checkpoint.data-00000-of-00001"):
        one, other = (tmp_path / f"out_{each}" / name for each in ("moved", "flat"))
        assert one.read_bytes() == other.read_bytes()
