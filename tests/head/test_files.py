"""Event files and checkpoints are what TensorFlow's own readers expect."""

import os

import numpy as np
import pytest

from poets.errors import StorageError
from poets.head import Head
from poets.head.checkpoint import add_checkpoint
from poets.head.summaries import Summaries
from poets.storage.publish import Publication
from poets.system.runtime import tf

pytest_plugins = ["tests.far"]


def write(folder, values=((0, 0.25, 1.5), (10, 0.75, 0.5))):
    with Summaries(str(folder)) as summaries:
        for step, accuracy, cross_entropy in values:
            summaries.add("train", step, accuracy, cross_entropy)
            summaries.add("validation", step, accuracy / 2, cross_entropy * 2)


def read(folder):
    """Returns tag -> (step, value)s as the installed TensorBoard reads them."""
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [(event.step, round(event.value, 6)) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_tensorboard_reads_accuracy_and_cross_entropy_of_both(tmp_path):
    write(tmp_path)
    assert read(tmp_path / "train") == {
        "accuracy": [(0, 0.25), (10, 0.75)],
        "cross_entropy": [(0, 1.5), (10, 0.5)],
    }
    assert read(tmp_path / "validation") == {
        "accuracy": [(0, 0.125), (10, 0.375)],
        "cross_entropy": [(0, 3.0), (10, 1.0)],
    }


def test_only_our_own_event_files_are_cleared(tmp_path):
    write(tmp_path)
    others = ["notes.txt", "train/model.ckpt", "train/plugins/profile/x", "other/a"]
    others.append("other/events.out.tfevents.1.host")
    for name in others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    write(tmp_path, [(5, 1.0, 0.0)])
    assert read(tmp_path / "train")["accuracy"] == [(5, 1.0)]
    for name in others:
        assert (tmp_path / name).read_text() == "mine"
    assert len(list((tmp_path / "train").glob("events*"))) == 1


def test_a_file_in_the_way_is_named_and_kept(tmp_path):
    (tmp_path / "train").write_text("mine")
    with pytest.raises(StorageError, match=r"cannot write --summaries_dir='.*': .+"):
        Summaries(str(tmp_path))
    assert (tmp_path / "train").read_text() == "mine"


def test_a_disk_that_fills_up_is_reported_with_its_reason(small_disk):
    def fill():
        left = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        (small_disk / "filler").write_bytes(bytes(left))

    def add(summaries):
        for step in range(1000):  # more than the file's last block has room for
            summaries.add("train", step, 0.5, 1.0)

    with Summaries(str(small_disk)) as summaries:
        fill()
        with pytest.raises(StorageError) as caught:
            add(summaries)
    assert str(caught.value) == (
        f"cannot write --summaries_dir={str(small_disk)!r}: no space left on device"
    )


def test_what_was_recorded_is_there_before_the_end(tmp_path):
    with Summaries(str(tmp_path)) as summaries:
        summaries.add("train", 3, 0.5, 1.0)
        assert read(tmp_path / "train")["accuracy"] == [(3, 0.5)]


def test_event_files_on_another_storage_are_those_written_here(far, tmp_path):
    (tmp_path / "run").mkdir()
    url = far.url(tmp_path / "run")
    write(url)
    (tmp_path / "run" / "train" / "model.ckpt").write_text("mine")
    write(url, [(5, 1.0, 0.0)])
    assert read(tmp_path / "run" / "train")["accuracy"] == [(5, 1.0)]
    assert read(tmp_path / "run" / "validation")["cross_entropy"] == [(5, 0.0)]
    names = [path.name for path in (tmp_path / "run" / "train").iterdir()]
    assert len(names) == 2
    assert "model.ckpt" in names


def test_event_files_that_cannot_be_copied_are_an_error(far, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    url = far.url(tmp_path / "run")
    summaries = Summaries(url)
    summaries.add("train", 0, 0.5, 1.0)
    far.fail({"write": "ConnectionError"})
    with pytest.raises(StorageError, match="cannot write 'far://.*nobody answers"):
        summaries.__exit__(None, None, None)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_summaries_dir_that_cannot_be_cleared_is_named(far, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    far.fail({"list": "NotAuthenticatedError"})
    url = far.url(tmp_path / "run")
    with pytest.raises(StorageError) as caught:
        Summaries(url)
    assert str(caught.value) == f"cannot write --summaries_dir={url!r}: no ticket"
    assert not list(tmp_path.glob("poets-*"))


def test_the_checkpoint_is_read_by_tensorflow(tmp_path):
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((5, 3)).astype(np.float32)
    head = Head(weights, np.arange(3, dtype=np.float32))
    path = str(tmp_path / "made" / "_retrain_checkpoint")
    with Publication() as publication:
        add_checkpoint(publication, path, head, 500)
        publication.commit()
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    reader = tf.train.load_checkpoint(path)
    assert np.array_equal(reader.get_tensor(f"final_weights{suffix}"), weights)
    assert reader.get_tensor(f"final_biases{suffix}").tolist() == [0, 1, 2]
    assert reader.get_tensor(f"step{suffix}") == 500
    assert sorted(name.name for name in (tmp_path / "made").iterdir()) == [
        "_retrain_checkpoint.data-00000-of-00001",
        "_retrain_checkpoint.index",
    ]
