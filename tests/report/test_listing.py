"""The listing against the text that Hadoop's FsShell prints."""

import contextlib
import os
from datetime import datetime, timezone

import pytest

from poets.errors import StorageError
from poets.report.listing import Attributes, Entry, format_listing, list_folder

pytest_plugins = ["tests.far"]

TENSORFLOW = Attributes("tensorflow", "tensorflow", "rw-r--r--", replication=3)
FOLDER = Attributes("tensorflow", "tensorflow", "rwxr-xr-x")
RUN = "/tensorflow/test_run"


def at(hour: int, minute: int) -> datetime:
    return datetime(2018, 4, 17, hour, minute, 42)


def entry(path="x/a", is_folder=False, size_bytes=1, modified=None, **attributes):
    known = Attributes(
        **({"owner": "o", "group": "g", "permissions": "rw-r--r--"} | attributes)
    )
    return Entry(path, is_folder, size_bytes, modified or at(12, 48), known)


def test_a_listing_is_that_of_hdfs():
    entries = [
        Entry(f"{RUN}/retrained_graph.pb", False, 5488743, at(12, 48), TENSORFLOW),
        Entry(f"{RUN}/retrained_labels.txt", False, 40, at(12, 48), TENSORFLOW),
        Entry(f"{RUN}/training_summaries", True, 0, at(12, 31), FOLDER),
    ]
    assert format_listing(entries) == (
        "Found 3 items\n"
        "-rw-r--r--   3 tensorflow tensorflow    5488743 2018-04-17 12:48 "
        "/tensorflow/test_run/retrained_graph.pb\n"
        "-rw-r--r--   3 tensorflow tensorflow         40 2018-04-17 12:48 "
        "/tensorflow/test_run/retrained_labels.txt\n"
        "drwxr-xr-x   - tensorflow tensorflow          0 2018-04-17 12:31 "
        "/tensorflow/test_run/training_summaries"
    )


def test_columns_grow_with_their_widest_value():
    entries = [
        entry("x/a", owner="al", group="supergroup", size_bytes=123_456_789_012),
        entry("x/b", owner="someone", group="g", replication=1024, has_acl=True),
    ]
    assert format_listing(entries) == (
        "Found 2 items\n"
        "-rw-r--r--    1 al      supergroup 123456789012 2018-04-17 12:48 x/a\n"
        "-rw-r--r--+1024 someone g                     1 2018-04-17 12:48 x/b"
    )


def test_an_empty_folder_gives_no_line():
    assert format_listing([]) == ""


def test_one_item_is_counted_as_hdfs_counts_it():
    assert format_listing([entry()]).startswith("Found 1 items\n")


def test_names_cannot_act_on_the_terminal():
    text = format_listing([entry("x/\x1b[31mred\nline"), entry("x/Rosé バラ")])
    assert text.split("\n")[1].endswith(" x/?[31mred?line")
    assert text.split("\n")[2].endswith(" x/Rosé バラ")


def test_a_storage_without_owners_and_times_is_listed():
    unknown = Entry("s3://b/x", False, 7, None, Attributes())
    assert format_listing([unknown]).split("\n")[1] == (
        "-?????????   1 ? ?          7 -                s3://b/x"
    )


def test_a_local_folder_is_listed_with_what_the_system_knows(tmp_path):
    (tmp_path / "b.pb").write_bytes(b"12345")
    (tmp_path / "b.pb").chmod(0o640)
    os.utime(tmp_path / "b.pb", (0, datetime(2020, 2, 3, 4, 5).timestamp()))
    (tmp_path / "a").mkdir(mode=0o750)
    (tmp_path / ".b.pb.123.part").write_bytes(b"half")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    folder, graph = list_folder(f"{tmp_path}/")
    assert (folder.path, folder.is_folder) == (f"{tmp_path}/a", True)
    assert (folder.size_bytes, folder.attributes.permissions) == (0, "rwxr-x---")
    assert (graph.path, graph.name) == (f"{tmp_path}/b.pb", "b.pb")
    assert (graph.size_bytes, graph.attributes.permissions) == (5, "rw-r-----")
    assert graph.attributes.replication == 1
    assert graph.modified == datetime(2020, 2, 3, 4, 5).astimezone(timezone.utc)
    assert " 2020-02-03 04:05 " in format_listing([graph])
    owner, group = str(os.geteuid()), str(os.getegid())  # as `ls` has it without names
    with contextlib.suppress(KeyError):
        owner = (tmp_path / "b.pb").owner()
    with contextlib.suppress(KeyError):
        group = (tmp_path / "b.pb").group()
    assert (graph.attributes.owner, graph.attributes.group) == (owner, group)


def test_paths_are_shown_as_the_folder_was_given(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "x").touch()
    monkeypatch.chdir(tmp_path)
    assert [found.path for found in list_folder("run")] == ["run/x"]
    url = (tmp_path / "run").as_uri()
    assert [found.path for found in list_folder(url)] == [f"{url}/x"]


def test_an_owner_without_a_name_is_a_number(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    (tmp_path / "x").touch()
    os.chown(tmp_path / "x", 123456, 654321)
    (found,) = list_folder(str(tmp_path))
    assert (found.attributes.owner, found.attributes.group) == ("123456", "654321")


def test_a_missing_folder_and_a_file_say_what_to_give(tmp_path):
    with pytest.raises(
        StorageError, match="cannot list '.*/nope': no such file or folder; give the"
    ) as caught:
        list_folder(f"{tmp_path}/nope")
    assert caught.value.exit_code == 1
    (tmp_path / "x").touch()
    with pytest.raises(
        StorageError, match="cannot list '.*/x': it is a file; give the folder"
    ):
        list_folder(f"{tmp_path}/x")


def test_a_storage_lists_its_own_owners_by_one_request(far, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "graph.pb").write_bytes(b"12345")
    (tmp_path / "run" / "summaries").mkdir()
    url = far.url(tmp_path / "run")
    far.log()
    lines = format_listing(list_folder(url)).split("\n")
    assert lines[1].startswith("-rwxr-x---+  3 tensorflow supergroup          5 20")
    assert lines[1].endswith(f" {url}/graph.pb")
    assert lines[2].startswith("drwxr-x---+  - tensorflow supergroup          0 20")
    assert len(far.log()) == 3


def test_a_storage_that_does_not_answer_is_reported(far, tmp_path):
    far.fail({"attributes": "NotAuthenticatedError"})
    with pytest.raises(StorageError, match="cannot list 'far://.*': no ticket"):
        list_folder(far.url(tmp_path))
