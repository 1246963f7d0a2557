"""TFRecords of pictures: records that cannot be used, and wrong checksums."""

import pytest

from poets.data.dataset import find_images
from poets.errors import DatasetError
from tests import packs
from tests.packs import FILES, JPEG, framed, record


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
