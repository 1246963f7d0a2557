"""The feature store gives back what was written, or says that it cannot."""

import contextlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from poets.data.image_columns import Image, Images
from poets.errors import StorageError
from poets.features.index import CONTENT_KEYS, NONE
from poets.features.store import CorruptPartError, Row, Store, store_url

pytest_plugins = ["tests.far"]

SIZE = 4


def row(number, error=None, path=None, variant="", mtime_ns=1):
    bottleneck = None if error else np.full(SIZE, number, np.float32) / 3
    digest = bytes([number]) * 32
    path = path or f"daisy/{number}.jpg"
    return Row(path, variant, 100 + number, mtime_ns, digest, error, bottleneck)


@pytest.fixture(params=["local", "far"])
def store(request, tmp_path, far):
    folder = tmp_path / "store"
    return Store(str(folder) if request.param == "local" else far.url(folder), SIZE)


def whole(store):
    """Returns the index and all its rows."""
    index = store.read_index()
    return index, np.arange(len(index))


def keys(index):
    return zip(index.paths.to_pylist(), index.variants, strict=True)


def content(store):
    """Returns (path, variant) -> bottleneck, or the reason why there is none."""
    index, rows = whole(store)
    matrix = store.read_bottlenecks(index, rows)
    found = {}
    for key, why, bottleneck in zip(
        keys(index), index.errors(rows), matrix, strict=True
    ):
        found[key] = why or bottleneck.tolist()  # the newest comes last
    return found


def fresh(index, *images, variant=""):
    """Returns the rows of (path, length, mtime_ns)."""
    listed = Images.of(Image(path, "daisy", *rest) for path, *rest in images)
    return index.fresh(listed, variant)


def test_what_was_written_is_read_back_bit_for_bit(store):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3, SIZE)).astype(np.float32)
    rows = [row(number)._replace(bottleneck=values[number]) for number in range(3)]
    store.write_part(rows)
    index = store.read_index()
    places = fresh(index, *((r.path, r.length, r.mtime_ns) for r in reversed(rows)))
    assert np.array_equal(store.read_bottlenecks(index, places), values[::-1])
    assert index.digests[places].tolist() == [r.digest for r in reversed(rows)]


def test_names_of_any_spelling_come_back(store):
    names = ["Ünïcode ☃/'a b'.jpg", 'we"ird/\t\n.png', "z/" + "x" * 200]
    store.write_part([row(number, path=name) for number, name in enumerate(names)])
    assert sorted(path for path, _ in content(store)) == sorted(names)


def test_an_empty_store_has_nothing(store):
    index, rows = whole(store)
    assert len(index) == 0
    assert fresh(index, ("daisy/1.jpg", 101, 1)).tolist() == [NONE]
    assert index.with_content(bytes(32), "") == NONE
    assert store.read_bottlenecks(index, rows).shape == (0, SIZE)


def test_a_reason_is_remembered_and_is_no_content(store):
    store.write_part([row(1, error="empty file"), row(2)])
    index = store.read_index()
    places = fresh(index, ("daisy/1.jpg", 101, 1), ("daisy/2.jpg", 102, 1))
    assert index.errors(places) == ["empty file", None]
    assert index.failed[places].tolist() == [True, False]
    assert index.with_content(bytes([1]) * 32, "") == NONE
    assert index.with_content(bytes([2]) * 32, "") == places[1]
    assert index.with_content(bytes([2]) * 32, "flip=1") == NONE


def test_the_newest_part_wins(store):
    store.write_part([row(1)])
    store.write_part([row(9, path="daisy/1.jpg", mtime_ns=2)])
    assert content(store) == {("daisy/1.jpg", ""): [3.0] * SIZE}


@pytest.mark.parametrize(("length", "mtime_ns"), [(100, 1), (101, 2), (0, 0)])
def test_another_length_or_time_is_not_fresh(store, length, mtime_ns):
    store.write_part([row(1)])
    index = store.read_index()
    assert fresh(index, ("daisy/1.jpg", 101, 1)).tolist() == [0]
    assert fresh(index, ("daisy/1.jpg", length, mtime_ns)).tolist() == [NONE]
    assert fresh(index, ("daisy/1.jpg", 101, 1), variant="flip=1").tolist() == [NONE]


def test_of_two_parts_only_the_newer_one_tells_whether_an_image_is_fresh(store):
    store.write_part([row(1, path="daisy/1.jpg"), row(2)])
    store.write_part([row(3), row(1, path="daisy/1.jpg", mtime_ns=2)])
    index = store.read_index()
    found = fresh(index, ("daisy/1.jpg", 101, 1), ("daisy/1.jpg", 101, 2))
    assert found.tolist() == [NONE, 3]
    assert fresh(index, ("daisy/2.jpg", 102, 1), ("daisy/4.jpg", 1, 1))[0] == 1


def test_contents_with_one_beginning_are_distinguished(store):
    alike = [bytes(8) + bytes([number]) * 24 for number in range(3)]
    last = b"\xff" * 32
    rows = [row(n)._replace(digest=each) for n, each in enumerate([*alike, last])]
    store.write_part(rows[:2])
    store.write_part(rows[2:])
    index, numbers = whole(store)
    for each in (*alike, last):
        assert index.digests[index.with_content(each, "")].tobytes() == each
    assert index.with_content(bytes(8) + b"\x03" * 24, "") == NONE
    assert sorted(numbers) == sorted(index.with_content(r.digest, "") for r in rows)


def test_an_index_of_contents_alone_finds_them(store):
    for number in range(3):
        store.write_part([row(number)])
    store.write_part([row(3, error="empty file")])
    contents = Store(store.url, SIZE, CONTENT_KEYS)
    index = contents.read_index()
    rows = np.array([index.with_content(bytes([n]) * 32, "") for n in (2, 0)])
    found = contents.read_bottlenecks(index, rows)
    assert found[:, 0].tolist() == [np.float32(2) / 3, 0]
    assert index.with_content(bytes([3]) * 32, "") == NONE


def test_the_index_takes_little_memory(store):
    names = [f"daisy/{'x' * 40}{number:06d}.jpg" for number in range(2560)]
    before = pa.total_allocated_bytes()
    for start in range(0, len(names), 256):
        store.write_part([row(1, path=name) for name in names[start : start + 256]])
    index = store.read_index()
    assert len(index) == len(names)
    assert (pa.total_allocated_bytes() - before) / len(index) < 200


def test_a_part_that_is_still_being_written_is_not_seen(store, tmp_path):
    name = store.write_part([row(1)])
    part = tmp_path / "store" / f".{name}.0123456789ab.part"
    part.write_bytes(b"half")
    assert len(content(store)) == 1
    assert part.exists()


def torn(data):
    return data[: len(data) // 2]


def changed_bottleneck(data):
    place = data.index(np.full(SIZE, 1, np.float32).tobytes()[:4])
    return data[:place] + b"\x55" + data[place + 1 :]


def foreign(data):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"path": ["daisy/3.jpg"], "price": [3]}), sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    "damage",
    [torn, foreign, changed_bottleneck, lambda data: b"", lambda data: b"text\n" * 99],
    ids=["torn", "foreign", "one byte", "empty", "text"],
)
def test_a_damaged_part_is_named_and_set_aside_and_the_others_stay(
    store, tmp_path, damage, caplog
):
    store.write_part([row(1)])
    bad = tmp_path / "store" / store.write_part([row(3), row(4)])
    bad.write_bytes(damage(bad.read_bytes()))
    with contextlib.suppress(CorruptPartError):  # of bottlenecks, which come last
        content(store)
    assert content(store).keys() == {("daisy/1.jpg", "")}
    assert f"the part {bad.name} of the feature store" in caplog.text
    assert "its images are computed again" in caplog.text
    assert not bad.exists()
    assert bad.with_name(f"{bad.name}.damaged").exists()


def test_one_bit_anywhere_in_a_part_never_changes_a_bottleneck(store, tmp_path):
    part = tmp_path / "store" / store.write_part([row(1), row(2), row(3, "no image")])
    whole, written = part.read_bytes(), content(store)
    lost = 0
    positions = range(0, len(whole), 7)
    for position in positions:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << (position % 8)
        part.write_bytes(bytes(damaged))
        try:
            found = content(store)
        except CorruptPartError:
            found = {}
        assert found.items() <= written.items(), f"byte {position}"
        lost += found != written
    assert lost > len(positions) / 2  # most bits matter


def test_a_bottleneck_column_that_lost_its_pages_is_damage(store, tmp_path):
    """Flips the kind in the header of that column's only page."""
    part = tmp_path / "store" / store.write_part([row(1), row(2)])
    data = bytearray(part.read_bytes())
    column = pq.read_metadata(part).row_group(0).column(6)
    data[column.data_page_offset + 1] ^= 1
    part.write_bytes(bytes(data))
    with pytest.raises(
        CorruptPartError,
        match=rf"{part.name} in '.*/store' is damaged; it was set aside",
    ) as caught:
        content(store)
    assert isinstance(caught.value.__cause__, IndexError)


def test_a_damaged_part_that_another_process_set_aside_is_no_error(store, tmp_path):
    name = store.write_part([row(1)])
    index, rows = whole(store)
    (tmp_path / "store" / name).unlink()
    with pytest.raises(CorruptPartError):
        store.read_bottlenecks(index, rows)


def test_a_store_that_cannot_be_written_says_where_and_why(tmp_path):
    (tmp_path / "store").write_text("a file")
    store = Store(str(tmp_path / "store"), SIZE)
    with pytest.raises(StorageError, match=r"cannot write '.*/store/part-.*': .+"):
        store.write_part([row(1)])
    assert (tmp_path / "store").read_text() == "a file"


def test_a_backbone_of_another_size_does_not_read_these_parts(store, tmp_path, caplog):
    store.write_part([row(1)])
    other = Store(str(tmp_path / "store"), SIZE + 1)
    index, rows = whole(other)
    with pytest.raises(CorruptPartError):
        other.read_bottlenecks(index, rows)
    assert "of another store" in caplog.text


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("mobilenet_0.25_128", "mobilenet_0.25_128-0123456789ab"),
        ("https://tfhub.dev/google/x/1", "https-tfhub.dev-google-x-1-0123456789ab"),
        ("../../etc", "etc-0123456789ab"),
        ("x" * 300, "x" * 60 + "-0123456789ab"),
    ],
)
def test_a_store_is_one_folder_named_by_the_digest(name, folder):
    assert store_url("b", name, "0123456789abcdef") == f"b/{folder}"


def test_parts_far_away_are_read_by_few_requests_and_their_keys_once(tmp_path, far):
    store = Store(far.url(tmp_path / "store"), SIZE)
    for number in range(10):
        store.write_part([row(number)])
    far.log()
    index, rows = whole(store)
    assert len(far.log()) == 1 + 10 * 3  # list; open, the end of it, the keys
    assert len(store.read_index()) == 10
    assert len(far.log()) == 1
    store.read_bottlenecks(index, rows)
    assert len(far.log()) == 10 * 3
    store.write_part([row(10)])
    far.log()
    assert len(store.read_index()) == 11
    assert len(far.log()) == 1 + 3


def test_parts_far_away_are_read_side_by_side(tmp_path, far):
    store = Store(far.url(tmp_path / "store"), SIZE)
    for number in range(16):
        store.write_part([row(number)])
    far.wait(0.1)
    with far.at_once(4):
        assert len(store.read_index()) == 16


@pytest.mark.parametrize(
    ("fault", "text"),
    [("ConnectionError", "nobody answers"), ("NotAuthenticatedError", "no ticket")],
)
def test_a_part_that_cannot_be_had_is_not_damaged(tmp_path, far, fault, text):
    store = Store(far.url(tmp_path / "store"), SIZE)
    store.write_part([row(1)])
    index, rows = whole(store)
    far.fail({"open ": fault})
    with pytest.raises(StorageError, match=f"cannot read 'far://.*parquet': {text}"):
        store.read_bottlenecks(index, rows)
    with pytest.raises(StorageError, match=f"cannot read 'far://.*parquet': {text}"):
        Store(store.url, SIZE).read_index()
    far.fail({"list ": fault})
    with pytest.raises(StorageError, match=f"cannot read 'far://.*/store': {text}"):
        store.read_index()
    assert [path.suffix for path in (tmp_path / "store").iterdir()] == [".parquet"]
