"""The feature store gives back what was written, or says that it cannot."""

import contextlib
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from poets.bottlenecks.store import CorruptPartError, Row, Store, store_url
from poets.errors import StorageError

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


def content(store):
    """Returns (path, variant) -> bottleneck, or the reason why there is none."""
    index = store.read_index()
    places = list(index.by_image.values())
    matrix = store.read_bottlenecks(places)
    found = [p.error or v.tolist() for p, v in zip(places, matrix, strict=True)]
    return dict(zip(index.by_image, found, strict=True))


def test_what_was_written_is_read_back_bit_for_bit(store):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3, SIZE)).astype(np.float32)
    rows = [row(number)._replace(bottleneck=values[number]) for number in range(3)]
    store.write_part(rows)
    index = store.read_index()
    places = [index.fresh(r.path, "", r.length, r.mtime_ns) for r in reversed(rows)]
    assert np.array_equal(store.read_bottlenecks(places), values[::-1])
    assert [place.digest for place in places] == [r.digest for r in reversed(rows)]


def test_names_of_any_spelling_come_back(store):
    names = ["Ünïcode ☃/'a b'.jpg", 'we"ird/\t\n.png', "z/" + "x" * 200]
    store.write_part([row(number, path=name) for number, name in enumerate(names)])
    assert sorted(path for path, _ in content(store)) == sorted(names)


def test_an_empty_store_has_nothing(store):
    assert store.read_index().by_image == {}
    assert store.read_bottlenecks([]).shape == (0, SIZE)


def test_a_reason_is_remembered_and_is_no_content(store):
    store.write_part([row(1, error="empty file"), row(2)])
    index = store.read_index()
    assert index.by_image["daisy/1.jpg", ""].error == "empty file"
    assert list(index.by_content) == [(bytes([2]) * 32, "")]


def test_the_newest_part_wins(store):
    store.write_part([row(1)])
    store.write_part([row(9, path="daisy/1.jpg", mtime_ns=2)])
    assert content(store) == {("daisy/1.jpg", ""): [3.0] * SIZE}


@pytest.mark.parametrize(("length", "mtime_ns"), [(100, 1), (101, 2), (0, 0)])
def test_another_length_or_time_is_not_fresh(store, length, mtime_ns):
    store.write_part([row(1)])
    index = store.read_index()
    assert index.fresh("daisy/1.jpg", "", 101, 1)
    assert index.fresh("daisy/1.jpg", "", length, mtime_ns) is None
    assert index.fresh("daisy/1.jpg", "flip=1", 101, 1) is None


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
    for position in range(0, len(whole), 2):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << (position // 2 % 8)
        part.write_bytes(bytes(damaged))
        try:
            found = content(store)
        except CorruptPartError:
            found = {}
        assert found.items() <= written.items(), f"byte {position}"
        lost += found != written
    assert lost > len(whole) / 4  # most bits matter


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
    places = list(store.read_index().by_image.values())
    (tmp_path / "store" / name).unlink()
    with pytest.raises(CorruptPartError):
        store.read_bottlenecks(places)


def test_a_store_that_cannot_be_written_says_where_and_why(tmp_path):
    (tmp_path / "store").write_text("a file")
    store = Store(str(tmp_path / "store"), SIZE)
    with pytest.raises(StorageError, match=r"cannot write '.*/store/part-.*': .+"):
        store.write_part([row(1)])
    assert (tmp_path / "store").read_text() == "a file"


def test_a_backbone_of_another_size_does_not_read_these_parts(store, tmp_path, caplog):
    store.write_part([row(1)])
    other = Store(str(tmp_path / "store"), SIZE + 1)
    places = list(other.read_index().by_image.values())
    with pytest.raises(CorruptPartError):
        other.read_bottlenecks(places)
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
    places = list(store.read_index().by_image.values())
    assert len(far.log()) == 1 + 10 * 3  # list; open, the end of it, the keys
    assert len(store.read_index().by_image) == 10
    assert len(far.log()) == 1
    store.read_bottlenecks(places)
    assert len(far.log()) == 10 * 3
    store.write_part([row(10)])
    far.log()
    assert len(store.read_index().by_image) == 11
    assert len(far.log()) == 1 + 3


def test_parts_far_away_are_read_side_by_side(tmp_path, far):
    store = Store(far.url(tmp_path / "store"), SIZE)
    for number in range(16):
        store.write_part([row(number)])
    far.wait(0.1)
    started = time.monotonic()
    assert len(store.read_index().by_image) == 16
    assert time.monotonic() - started < 16 * 0.3 / 2


@pytest.mark.parametrize(
    ("fault", "text"),
    [("ConnectionError", "nobody answers"), ("NotAuthenticatedError", "no ticket")],
)
def test_a_part_that_cannot_be_had_is_not_damaged(tmp_path, far, fault, text):
    store = Store(far.url(tmp_path / "store"), SIZE)
    store.write_part([row(1)])
    places = list(store.read_index().by_image.values())
    far.fail({"open ": fault})
    with pytest.raises(StorageError, match=f"cannot read 'far://.*parquet': {text}"):
        store.read_bottlenecks(places)
    with pytest.raises(StorageError, match=f"cannot read 'far://.*parquet': {text}"):
        Store(store.url, SIZE).read_index()
    far.fail({"list ": fault})
    with pytest.raises(StorageError, match=f"cannot read 'far://.*/store': {text}"):
        store.read_index()
    assert [path.suffix for path in (tmp_path / "store").iterdir()] == [".parquet"]
