"""Claims: waiting for another job, what a killed one left, standing still.

What holds for every storage is in `tests.storage.contract`.
"""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from poets.errors import StorageError
from poets.storage import parts, publish_lock
from poets.storage.publish import Publication, write_atomically
from poets.storage.publish_lock import PublishLock

ID = "0123456789ab"
MARKER = ".poets-publishing." + "0" * 32


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "out"
    made.mkdir()
    return made


def publish(folder, made=None):
    with Publication(made or PublishLock(str(folder))) as publication:
        publication.add_file(str(folder / "graph"), b"new")
        publication.add_file(str(folder / "metrics.json"), b'{"finished": "today"}')
        publication.commit()


def age(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


def put_marker(folder, content=b"{}", age_s=0.0):
    marker = folder / MARKER
    marker.write_bytes(content)
    age(marker, age_s)
    return marker


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_job_waits_until_another_has_published(folder, monkeypatch):
    marker = put_marker(folder)
    waited = threading.Event()
    sleep = time.sleep

    def wait(seconds):
        waited.set()
        sleep(seconds / 10)

    monkeypatch.setattr(publish_lock.time, "sleep", wait)
    waiting = threading.Thread(target=publish, args=(folder,))
    waiting.start()
    assert waited.wait(300)
    assert "graph" not in names_in(folder)
    marker.unlink()
    waiting.join(300)
    assert names_in(folder) == ["graph", "metrics.json"]


def test_a_job_waits_no_longer_than_its_deadline(folder, monkeypatch):
    content = {"host": "node-7", "since": "2026-01-31 12:00:00 +0000", "parts": []}
    put_marker(folder, json.dumps(content).encode())
    monkeypatch.setattr(publish_lock, "WAIT_S", 0.3)
    with pytest.raises(StorageError) as caught:
        publish(folder)
    assert str(caught.value) == (
        f"cannot publish to {str(folder)!r}: another job has been publishing for 0.3 "
        "s, on host 'node-7' since 2026-01-31 12:00:00 +0000; what was there is "
        "unchanged; run again when it has ended"
    )
    assert names_in(folder) == [MARKER]


def test_parts_of_a_killed_job_are_removed(folder):
    """Those that its marker names, wherever this job publishes to, however young."""
    dead = [f".graph.{ID}.part", f".saved.{ID}.part"]
    young = [".graph.ba9876543210.part", ".saved.ba9876543210.part"]
    for name in (dead[0], young[0]):
        (folder / name).write_bytes(b"half")
    for name in (dead[1], young[1]):
        (folder / name).mkdir()
        (folder / name / "file").write_bytes(b"half")
    put_marker(folder, json.dumps({"parts": dead}).encode(), age_s=61)
    publish(folder)
    assert names_in(folder) == [*young, "graph", "metrics.json"]


def test_parts_older_than_an_hour_are_nobodys(folder):
    for name, seconds in (("old", 3700), ("young", 3500)):
        file = folder / f".{name}.{ID}.part"
        file.write_bytes(b"half")
        inside = folder / f".{name} folder.{ID}.part"
        inside.mkdir()
        (inside / "file").write_bytes(b"half")
        for path in (file, inside / "file", inside):
            age(path, seconds)
    writing = folder / f".being written.{ID}.part"
    writing.mkdir()
    (writing / "file").write_bytes(b"half")
    age(writing, 3700)  # the file in it is young
    publish(folder)
    assert names_in(folder) == [
        f".being written.{ID}.part",
        f".young folder.{ID}.part",
        f".young.{ID}.part",
        "graph",
        "metrics.json",
    ]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_that_a_killed_job_put_aside_moves_back(folder, replaced):
    aside = folder / f".saved.{ID}.aside"
    aside.mkdir()
    (aside / "model").write_bytes(b"earlier")
    if replaced:
        (folder / "saved").mkdir()
        (folder / "saved" / "model").write_bytes(b"newer")
    put_marker(folder, json.dumps({"parts": [aside.name]}).encode(), age_s=61)
    publish(folder)
    assert names_in(folder) == ["graph", "metrics.json", "saved"]
    found = (folder / "saved" / "model").read_bytes()
    assert found == (b"newer" if replaced else b"earlier")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\x00",
        b"[1]",
        b'{"parts": 7}',
        b'{"parts": [7, null, "precious", "../precious", "/", ""]}',
    ],
)
def test_a_marker_names_nothing_but_parts(folder, content):
    for path in (folder / "precious", folder.parent / "precious"):
        path.write_bytes(b"")
    put_marker(folder, content, age_s=61)
    publish(folder)
    assert names_in(folder) == ["graph", "metrics.json", "precious"]
    assert (folder.parent / "precious").exists()


def test_a_job_that_stood_still_does_not_go_on(folder, monkeypatch):
    """Its marker is stale then, and another may have taken its place."""
    made, monotonic = PublishLock(str(folder)), time.monotonic
    with (  # noqa: PT012, the block is what is tested
        pytest.raises(StorageError) as caught,
        made.held([], [str(folder)]) as refresh,
    ):
        refresh()
        monkeypatch.setattr(publish_lock.time, "monotonic", lambda: monotonic() + 70)
        refresh()
    assert str(caught.value) == (
        f"cannot publish to {str(folder)!r}: this job was stopped for 70 s, and "
        "another may have taken its place; run again"
    )
    assert names_in(folder) == []


def test_a_marker_is_kept_young(folder, monkeypatch):
    made, monotonic = PublishLock(str(folder)), time.monotonic
    with made.held([], []) as refresh:
        (marker,) = folder.iterdir()
        age(marker, 20)
        refresh()
        assert time.time() - marker.stat().st_mtime > 15
        monkeypatch.setattr(publish_lock.time, "monotonic", lambda: monotonic() + 20)
        refresh()
        assert time.time() - marker.stat().st_mtime < 15
    assert names_in(folder) == []


@pytest.mark.parametrize(
    ("manifest", "when"),
    [(b'{"finished": "today"}', " at today"), (b"[]", ""), (b"half", "")],
)
def test_who_published_meanwhile_stays(folder, manifest, when):
    made = PublishLock(str(folder))
    write_atomically(str(folder / "graph"), b"other")
    write_atomically(str(folder / "metrics.json"), manifest)
    with pytest.raises(StorageError) as caught:
        publish(folder, made)
    assert str(caught.value) == (
        f"cannot publish to {str(folder)!r}: another job published there{when}, while "
        "this one ran; its results stay; run again, or name another folder"
    )
    assert names_in(folder) == ["graph", "metrics.json"]
    assert (folder / "graph").read_bytes() == b"other"


def test_a_manifest_that_cannot_be_read_is_reported(folder):
    (folder / "metrics.json").mkdir()
    with pytest.raises(
        StorageError, match="cannot lock .*/out' for publishing: is a directory"
    ):
        PublishLock(str(folder))


def test_a_folder_that_went_away_is_reported(folder):
    made = PublishLock(str(folder))
    folder.rmdir()
    with (
        pytest.raises(StorageError, match="cannot lock .*: .*no such file or dir"),
        made.held([], []),
    ):
        pytest.fail("the lock is held")


def test_the_earlier_folder_returns_if_the_new_one_cannot_come(folder, monkeypatch):
    """Where two folders cannot be swapped in one step."""
    monkeypatch.setattr("poets.storage.publish.exchange", lambda one, other: False)
    saved, model = folder / "saved", folder.parent / "model"
    saved.mkdir()
    (saved / "model").write_bytes(b"earlier")
    model.mkdir()
    with Publication() as publication:  # in two steps
        publication.add_folder(str(saved), str(model))
        publication.commit()
    assert names_in(folder) == ["saved"]
    assert names_in(saved) == []
    (saved / "model").write_bytes(b"earlier")
    rename = parts.rename

    def fail(filesystem, source, target, overwrite):
        if source.endswith(".part"):
            raise OSError(28, "no space left on device")
        rename(filesystem, source, target, overwrite)

    monkeypatch.setattr("poets.storage.publish.rename", fail)
    with (  # noqa: PT012, discarding is part of it
        pytest.raises(StorageError, match="no space left on device; what was there"),
        Publication() as publication,
    ):
        publication.add_folder(str(saved), str(model))
        publication.commit()
    assert names_in(folder) == ["saved"]
    assert (saved / "model").read_bytes() == b"earlier"


def test_a_link_to_a_folder_is_replaced_and_not_what_it_leads_to(folder):
    real, model = folder / "real", folder.parent / "model"
    for path in (real, model):
        path.mkdir()
        (path / path.name).write_bytes(b"")
    link = folder / "saved"
    link.symlink_to("real")
    with Publication() as publication:
        publication.add_folder(str(link), str(model))
        publication.commit()
    assert names_in(Path(link)) == ["model"]
    assert names_in(real) == ["real"]
    assert names_in(folder) == ["real", "saved"]
