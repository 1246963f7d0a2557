"""Copies of growing files, on a storage that can only be written whole."""

import pytest

from poets.errors import StorageError
from poets.storage.mirror import Mirror
from tests.retraining import snapshot

pytest_plugins = ["tests.far"]


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "here" / "train").mkdir(parents=True)
    (tmp_path / "there").mkdir()
    return tmp_path / "here", tmp_path / "there"


def mirror(far, folders, every_s=0.02):
    here, there = folders
    return Mirror(str(here), far.url(there), every_s)


def test_a_file_is_followed_as_it_grows(far, folders, wait_until):
    here, there = folders
    with mirror(far, folders):
        for length in (1, 10, 1000):
            (here / "train" / "events").write_bytes(b"x" * length)
            wait_until(lambda: snapshot(there) == snapshot(here))
    assert [path.name for path in there.iterdir()] == ["train"]


def test_the_end_of_a_file_is_copied_at_the_end(far, folders):
    here, there = folders
    with mirror(far, folders, every_s=3600):
        (here / "train" / "events").write_bytes(b"all of it")
        assert snapshot(there) == {}
    assert snapshot(there) == {"train/events": b"all of it"}


def test_what_has_not_grown_is_not_written_again(far, folders, wait_until):
    here, there = folders
    (here / "train" / "events").write_bytes(b"x")
    with mirror(far, folders):
        wait_until(lambda: snapshot(there) == snapshot(here))
        far.log()
    assert not [line for line in far.log() if line.startswith("write ")]


def test_a_failing_copy_is_warned_of_and_made_up_for(far, folders, wait_until, caplog):
    here, there = folders
    far.fail({"write": "ConnectionError"})
    with mirror(far, folders):
        (here / "train" / "events").write_bytes(b"x")
        wait_until(lambda: "; trying again" in caplog.text)
        assert "cannot write 'far://" in caplog.text
        far.fail({})
        wait_until(lambda: snapshot(there) == snapshot(here))


def test_the_last_copy_must_succeed(far, folders):
    here, _ = folders
    far.fail({"write": "TimeoutError"})
    with (
        pytest.raises(StorageError, match="cannot write 'far://.*: no answer within"),
        mirror(far, folders, every_s=3600),
    ):
        (here / "train" / "events").write_bytes(b"x")


def test_what_ended_the_body_is_reported_and_not_the_copy(far, folders, caplog):
    here, _ = folders
    far.fail({"write": "TimeoutError"})
    with (  # noqa: PT012, writing is part of it
        pytest.raises(ZeroDivisionError),
        mirror(far, folders, every_s=3600),
    ):
        (here / "train" / "events").write_bytes(b"x")
        raise ZeroDivisionError
    assert "cannot write 'far://" in caplog.text
