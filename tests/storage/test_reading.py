"""Files come in order, whatever each took; a missing one is reported in its place."""

import threading

import pytest

from poets.errors import StorageError
from poets.storage import open_storage
from poets.storage.reading import (
    AHEAD_BYTES,
    IN_FLIGHT,
    Reads,
    raise_outage,
    read_files,
    stage_folder,
)
from tests.retraining import snapshot

pytest_plugins = ["tests.far"]


@pytest.fixture
def files(tmp_path):
    """100 files of different lengths."""
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(100):
        (folder / f"{number:02d}").write_bytes(b"%d" % number * number)
    return sorted(folder.iterdir())


def readers():
    return [t for t in threading.enumerate() if t.name == "read"]


@pytest.fixture(params=["local", "far"])
def place(request, far, files):
    """A file system and the files' paths in it."""
    url = str(files[0].parent)
    filesystem, _ = open_storage(url if request.param == "local" else far.url(url))
    return filesystem, [str(path) for path in files]


def test_all_files_come_in_order(place, files):
    filesystem, paths = place
    assert list(read_files(filesystem, paths)) == [path.read_bytes() for path in files]


@pytest.mark.parametrize("count", [0, 1, IN_FLIGHT, IN_FLIGHT + 1])
def test_any_number_of_files(place, count):
    filesystem, paths = place
    assert len(list(read_files(filesystem, paths[:count]))) == count


def test_a_file_that_is_gone_is_reported_in_its_place(place, files):
    filesystem, paths = place
    files[7].unlink()
    found = list(read_files(filesystem, paths))
    assert isinstance(found[7], FileNotFoundError)
    assert found[8] == files[8].read_bytes()


def test_many_are_in_flight_and_no_more(far, files):
    far.wait(0.05)
    filesystem, _ = open_storage(far.url(files[0]))
    far.log()
    with far.at_once(4):
        found = read_files(filesystem, [str(path) for path in files])
        next(found)
        assert len(far.log()) <= IN_FLIGHT + 1  # the place of the first is free again
        assert len(list(found)) == len(files) - 1


def test_a_large_file_is_read_when_its_turn_comes(far, files):
    filesystem, _ = open_storage(far.url(files[0]))
    reads = Reads(filesystem)
    far.log()
    reads.add(str(files[1]), AHEAD_BYTES + 1)
    reads.add(str(files[2]), AHEAD_BYTES)
    assert reads.take() == files[1].read_bytes()
    assert reads.take() == files[2].read_bytes()
    reads.close()
    assert len(far.log()) == 2


def test_files_may_be_added_while_others_are_taken(far, files):
    filesystem, _ = open_storage(far.url(files[0]))
    reads = Reads(filesystem)
    for path in files[:50]:
        reads.add(str(path))
    found = []
    for path in files[50:]:
        found.append(reads.take())
        reads.add(str(path))
    found += [reads.take() for _ in range(50)]
    assert found == [path.read_bytes() for path in files]
    reads.close()


def test_no_thread_is_left(far, files, wait_until):
    filesystem, _ = open_storage(far.url(files[0]))
    for _ in read_files(filesystem, [str(path) for path in files]):
        break  # a caller that has seen enough
    wait_until(lambda: not readers())


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("ConnectionError", "nobody answers"),
        ("TimeoutError", "no answer within 120 s"),
        ("NotAuthenticatedError", "no ticket"),
    ],
)
def test_a_storage_that_fails_is_no_missing_file(far, files, fault, found):
    far.fail({"/05": fault})
    filesystem, _ = open_storage(far.url(files[0]))
    errors = [
        data
        for data in read_files(filesystem, [str(path) for path in files])
        if isinstance(data, OSError)
    ]
    assert len(errors) == 1
    with pytest.raises(StorageError) as caught:
        raise_outage(errors[0], "far:///files/05")
    assert str(caught.value) == (
        f"cannot read 'far:///files/05': {found}; run again when it is available: what "
        "is done so far is kept"
    )
    assert caught.value.__cause__ is errors[0]


@pytest.mark.parametrize("fault", ["PermissionError", "FileNotFoundError"])
def test_a_file_that_cannot_be_had_is_no_outage(far, files, fault):
    far.fail({"/05": fault})
    filesystem, _ = open_storage(far.url(files[0]))
    (error,) = read_files(filesystem, [str(files[5])])
    raise_outage(error, "far:///files/05")
    assert isinstance(error, OSError)


class Direct:
    """A file system of our own handlers: its backend makes one request, once.

    The first read of each path is done by the backend, as `first` says, and what
    `read_bytes` does is done by the handler.
    """

    type_name = "direct"

    def __init__(self, first):
        self.handler = self.backend = self
        self.read = first

    def read_bytes(self, path):
        return b"again " + path.encode()


def test_a_lost_connection_is_made_up_for():
    def refuse(path):
        raise ConnectionRefusedError(111, "nobody listens")

    found = list(read_files(Direct(refuse), ["a", "b"]))
    assert found == [b"again a", b"again b"]


def test_a_silent_server_is_not_waited_for(monkeypatch):
    monkeypatch.setenv("POETS_STORAGE_TIMEOUT_S", "0.1")
    monkeypatch.setattr("poets.storage.reading.GRACE_S", 0.0)
    over = threading.Event()
    reads = Reads(Direct(lambda path: over.wait(300) and b""))
    reads.add("a")
    with pytest.raises(TimeoutError, match=r"it was not read in 0.1 s: the server do"):
        reads.take()
    over.set()
    reads.close()


def test_a_folder_is_staged_with_all_below(far, tmp_path, files):
    (tmp_path / "files" / "variables" / "deep").mkdir(parents=True)
    (tmp_path / "files" / "variables" / "deep" / "index").write_bytes(b"i")
    (tmp_path / "copy").mkdir()
    stage_folder(far.url(tmp_path / "files") + "/", str(tmp_path / "copy"))
    assert snapshot(tmp_path / "copy") == snapshot(tmp_path / "files")


def test_a_folder_that_cannot_be_staged_is_reported(far, tmp_path, files):
    with pytest.raises(StorageError, match="cannot list 'far:///.*/absent': "):
        stage_folder(far.url(tmp_path / "absent"), str(tmp_path / "copy"))
    far.fail({"/05": "PermissionError"})
    (tmp_path / "copy").mkdir()
    with pytest.raises(StorageError, match="cannot read '.*/05': permission denied"):
        stage_folder(far.url(tmp_path / "files"), str(tmp_path / "copy"))


@pytest.mark.parametrize("name", ["/x", "../x", "a/../../x"])
def test_a_key_that_leads_out_of_the_copy_is_refused(s3, tmp_path, name):
    bucket = s3.make_bucket()
    s3.client().put_object(Bucket=bucket, Key=f"files/{name}", Body=b"x")
    with pytest.raises(StorageError, match=r"it holds a file named '.*x'; rename it"):
        stage_folder(f"s3://{bucket}/files", str(tmp_path / "copy"))
    assert not list(tmp_path.iterdir())
