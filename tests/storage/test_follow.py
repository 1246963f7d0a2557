"""The copy of a folder that TensorBoard looks at."""

import os

import pytest

from poets.errors import StorageError, UnknownSchemeError
from poets.storage.follow import Follower
from poets.storage.publish import write_atomically


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "summaries"
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "events.1").write_bytes(b"first")
    return folder


@pytest.fixture
def follower(source, tmp_path):
    return Follower(str(source), str(tmp_path / "copy"))


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_copy_has_the_same_files_and_is_not_made_twice(follower, source):
    assert follower.update() == 5
    assert tree(follower.target) == tree(source)
    assert follower.update() == 0


def test_what_was_added_is_appended_to_the_file_that_is_open(follower, source):
    follower.update()
    copy = follower.target / "train" / "events.1"
    with copy.open("rb") as tensorboards:
        assert tensorboards.read() == b"first"
        with (source / "train" / "events.1").open("ab") as file:
            file.write(b", second")
        assert follower.update() == 8
        assert tensorboards.read() == b", second"


def test_a_file_that_started_again_is_copied_again(follower, source):
    follower.update()
    (source / "train" / "events.1").write_bytes(b"new")
    assert follower.update() == 3
    assert tree(follower.target) == tree(source)


def test_what_is_gone_goes_and_what_is_not_ours_stays(follower, source):
    follower.update()
    (follower.target / "notes").write_bytes(b"mine")
    (source / "train" / "events.1").unlink()
    (source / "train" / "events.2").write_bytes(b"")
    follower.update()
    assert tree(follower.target) == {"notes": b"mine", "train/events.2": b""}


def test_a_folder_that_is_not_there_yet_is_empty(tmp_path):
    follower = Follower(str(tmp_path / "later"), str(tmp_path / "copy"))
    assert follower.update() == 0
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "events").write_bytes(b"now")
    assert follower.update() == 3


def test_files_of_other_names_are_left_where_they_are(source, tmp_path):
    (source / "retrained_graph.pb").write_bytes(b"large")
    (source / "train" / "events.out.tfevents.1").write_bytes(b"event")
    follower = Follower(str(source), str(tmp_path / "copy"), "*tfevents*")
    assert follower.update() == 5
    assert tree(follower.target) == {"train/events.out.tfevents.1": b"event"}


def test_a_link_that_leads_out_of_the_copy_is_not_followed(follower, source, tmp_path):
    (tmp_path / "outside").mkdir()
    follower.target.mkdir()
    os.symlink(tmp_path / "outside", follower.target / "train")
    assert follower.update() == 0
    assert tree(tmp_path / "outside") == {}


def test_a_file_in_the_way_is_reported(source, tmp_path):
    (tmp_path / "copy").write_bytes(b"")
    follower = Follower(str(source), str(tmp_path / "copy"))
    with pytest.raises(StorageError, match=r"cannot follow '.*summaries': file exists"):
        follower.update()


def test_a_forbidden_folder_is_passed_over_with_one_warning(unprivileged, caplog):
    """As lost+found is, where the folder is the root of a volume."""
    source = unprivileged / "volume"
    (source / "lost+found").mkdir(parents=True)
    (source / "lost+found").chmod(0)
    (source / "events").write_bytes(b"first")
    follower = Follower(str(source), str(unprivileged / "copy"))
    assert [follower.update(), follower.update()] == [5, 0]
    assert tree(follower.target) == {"events": b"first"}
    assert caplog.messages == ["passed over the folder 'lost+found': permission denied"]


def test_a_link_to_a_folder_above_is_not_followed(follower, source):
    (source / "train" / "all").symlink_to("..")
    assert follower.update() == 5
    assert tree(follower.target) == {"train/events.1": b"first"}


def test_an_unknown_storage_is_reported_at_once(tmp_path):
    with pytest.raises(UnknownSchemeError, match="the scheme is 'ftp'"):
        Follower("ftp://host/logs", str(tmp_path))


def test_a_folder_of_an_object_store_is_followed_too(s3, tmp_path):
    url = f"s3://{s3.make_bucket()}/runs/summaries/"
    write_atomically(f"{url}train/events.1", b"first")
    follower = Follower(url, str(tmp_path / "copy"))
    assert follower.update() == 5
    write_atomically(f"{url}train/events.1", b"first, second")
    write_atomically(f"{url}validation/events.1", b"")
    assert follower.update() == 8
    assert tree(follower.target) == {
        "train/events.1": b"first, second",
        "validation/events.1": b"",
    }
