"""Mistakes are reported before the work, all at once, and nothing is changed."""

import logging
import os
import tempfile
from pathlib import Path

import pytest

from poets.cluster import Cluster
from poets.errors import ConfigError, DatasetError, StorageError
from poets.flags import config_from_args
from poets.preflight import check_shared, preflight
from poets.storage import folder_of
from tests.retraining import IMAGES, flags_for, write_images

NOBODY = 65534


@pytest.fixture
def image_dir(tmp_path):
    return write_images(tmp_path / "images")


@pytest.fixture
def check(tmp_path, image_dir):
    def run(**flags):
        flags = flags_for(tmp_path / "out", image_dir) | flags
        return preflight(config_from_args(flags))

    return run


def test_good_flags_give_the_images_and_leave_no_probe(check, tmp_path):
    dataset = check()
    assert len(dataset.images) == IMAGES
    assert dataset.labels == ("daisy", "red roses", "tulips")
    assert not (tmp_path / "out").exists()  # before there is something in it


@pytest.mark.parametrize(
    "flag",
    [
        "output_graph",
        "output_labels",
        "saved_model_dir",
        "checkpoint_path",
        "bottleneck_dir",
    ],
)
def test_an_output_below_a_file_is_found(check, tmp_path, flag):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(
        StorageError,
        match="cannot write results: cannot write in '.*/file.*': '.*/file' is a file",
    ):
        check(**{flag: str(tmp_path / "file" / "a" / "b")})
    assert (tmp_path / "file").read_text() == "mine"


def test_the_folder_of_intermediate_graphs_matters_only_if_there_are_any(
    check, tmp_path
):
    (tmp_path / "file").write_text("mine")
    prefix = str(tmp_path / "file") + "/"
    check(intermediate_output_graphs_dir=prefix)
    with pytest.raises(StorageError, match="cannot write results"):
        check(intermediate_output_graphs_dir=prefix, intermediate_store_frequency=10)


def test_outputs_that_are_left_out_are_not_tested(check):
    check(saved_model_dir="", checkpoint_path="")


def test_a_folder_without_write_permission_is_found(unprivileged):
    image_dir = write_images(unprivileged / "images")
    (unprivileged / "out").mkdir(mode=0o500)
    flags = flags_for(unprivileged / "out", image_dir)
    with pytest.raises(
        StorageError,
        match="cannot write in '.*/out': permission denied; give this user",
    ):
        preflight(config_from_args(flags))


def test_a_label_folder_without_read_permission_is_named(unprivileged):
    image_dir = write_images(unprivileged / "images")
    (image_dir / "tulips").chmod(0)
    flags = flags_for(unprivileged / "out", image_dir)
    with pytest.raises(
        DatasetError,
        match="cannot list '.*/images/tulips': permission denied; every label's folder "
        "must be readable",
    ):
        preflight(config_from_args(flags))


def test_a_saved_model_folder_is_replaced_only_if_it_is_one(check, tmp_path):
    folder = tmp_path / "out" / "saved_model" / "1"
    folder.mkdir(parents=True)
    check()  # empty
    (folder / "saved_model.pb").write_bytes(b"")
    (folder / "variables").mkdir()
    check()  # a SavedModel
    (folder / "saved_model.pb").unlink()
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(
        ConfigError,
        match=r"--saved_model_dir='.*/saved_model/1' holds files and is not a "
        "SavedModel; name an empty folder or a new one",
    ):
        check()
    assert (folder / "thesis.tex").read_text() == "mine"


def test_a_saved_model_folder_that_is_a_file_is_refused(check, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(
        ConfigError, match="--saved_model_dir='.*/file' is a file; name"
    ):
        check(saved_model_dir=str(tmp_path / "file"))


@pytest.mark.parametrize(
    "name", ["summaries", "summaries/train", "summaries/validation"]
)
def test_a_summaries_folder_that_is_a_file_is_refused(check, tmp_path, name):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(
        ConfigError, match=f"--summaries_dir='.*/summaries': '.*/{name}' is a"
    ):
        check()
    assert path.read_text() == "mine"


def test_all_problems_are_reported_together(check, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError) as caught:
        check(
            image_dir=str(tmp_path / "absent"),
            output_graph=str(tmp_path / "file" / "graph.pb"),
            summaries_dir=str(tmp_path / "file"),
            saved_model_dir=str(tmp_path / "file"),
        )
    message = str(caught.value)
    assert message.startswith("the job cannot start: 4 problems\n")
    assert "--saved_model_dir=" in message
    assert "--summaries_dir=" in message
    assert "cannot write results: " in message
    assert "Image directory '" in message


def test_a_label_too_small_for_a_split_is_reported_before_the_work(
    check, image_dir, caplog
):
    (image_dir / "lilies").mkdir()
    for number in (1, 2):  # both are for training
        data = next((image_dir / "daisy").iterdir()).read_bytes()
        (image_dir / "lilies" / f"{number}{number}.jpg").write_bytes(data)
    with caplog.at_level(logging.WARNING):
        check()
    assert "Folder has less than 20 images" in caplog.text
    assert "images for 'lilies': too few for a share of them" in caplog.text


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        *[("a/b.pb", "a"), ("b.pb", "."), ("/b.pb", "/"), ("a/b/1/", "a/b")],
        *[("s3://b/c/d.pb", "s3://b/c"), ("hdfs://default/d.pb", "hdfs://default/")],
        ("file:///d.pb", "file:///"),
    ],
)
def test_the_folder_of_an_output(url, folder):
    assert folder_of(url) == folder


def several(num_hosts=1):
    return Cluster("worker", 0, 0, 2, num_hosts)


@pytest.mark.parametrize("folder", ["tf-volume/store", "store", "../sandbox/store"])
def test_a_store_in_the_sandbox_is_no_store_for_several_workers(tmp_path, folder):
    sandbox = tmp_path / "sandbox"
    config = config_from_args(
        {"image_dir": "hdfs://default/i", "bottleneck_dir": str(sandbox / folder)}
    )
    environ = {"MESOS_SANDBOX": str(sandbox)}
    with pytest.raises(ConfigError, match="2 workers need folders that all of them sh"):
        check_shared(config, several(), environ)
    check_shared(config, Cluster(), environ)  # one worker goes on


def test_temporary_folders_of_several_machines_are_not_shared(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shared, own = {"image_dir": "s3://i/i"}, str(tmp_path / "store")
    config = config_from_args({**shared, "bottleneck_dir": own})
    with pytest.raises(
        ConfigError, match="in a temporary folder of each of 2 machines"
    ):
        check_shared(config, several(num_hosts=2), {})
    check_shared(config, several(), {})
    elsewhere = config_from_args({**shared, "bottleneck_dir": "/mnt/nfs/store"})
    check_shared(elsewhere, several(num_hosts=2), {})
    far = config_from_args({**shared, "bottleneck_dir": "hdfs://default/store"})
    check_shared(far, several(num_hosts=2), {})


def test_another_users_checkpoint_in_a_sticky_folder_is_found_before_the_work(
    unprivileged, require
):
    require("root", os.getuid() == 0)
    image_dir = write_images(unprivileged / "images")
    os.seteuid(0)
    with tempfile.TemporaryDirectory() as shared:  # as /tmp is
        (Path(shared) / "checkpoint.index").write_bytes(b"root's")
        os.chmod(shared, 0o1777)
        os.seteuid(NOBODY)
        flags = flags_for(unprivileged / "out", image_dir)
        flags["checkpoint_path"] = f"{shared}/checkpoint"
        with pytest.raises(
            StorageError,
            match=r"--checkpoint_path='.*' cannot be replaced: '.*checkpoint.index' "
            "belongs to another user",
        ):
            preflight(config_from_args(flags))
        os.seteuid(0)
    os.seteuid(NOBODY)
