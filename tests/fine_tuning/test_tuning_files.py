"""What workers share is whole, and never that of another fine-tuning."""

from dataclasses import replace

import numpy as np
import pytest

from poets.errors import StorageError
from poets.fine_tuning.files import Folder, folder_for, pack, unpack
from poets.flags import config_from_args
from tests.fine_tuning import network
from tests.retraining import snapshot


@pytest.fixture(scope="module")
def inputs():
    return network.inputs()


def test_inputs_come_back_as_they_were(inputs, tmp_path):
    folder = Folder(str(tmp_path / "new"))
    folder.write_inputs(inputs, "k")
    found = folder.read_inputs("k")
    assert found.key() == inputs.key()
    assert found.tail == inputs.tail
    assert found.steps == inputs.steps
    assert np.array_equal(found.features, inputs.features)


@pytest.mark.parametrize(
    "change", ["features", "labels", "seed", "steps", "batch_size", "learning_rate"]
)
def test_whatever_decides_the_result_is_in_the_key(inputs, change):
    value = getattr(inputs, change)
    assert replace(inputs, **{change: value + 1}).key() != inputs.key()


def test_checkpoints_are_found_by_key_and_step(tmp_path):
    folder = Folder(str(tmp_path))
    assert folder.newest_step("k") == 0
    for key, step in (("k", 9), ("k", 10), ("other", 99)):
        folder.write_checkpoint(key, {"step": np.int64(step), "a": np.ones(2)})
    (tmp_path / ".checkpoint-k-11.npz.0.part").write_bytes(b"half")
    assert folder.newest_step("k") == 10
    assert folder.read_checkpoint("k", 9)["step"] == 9
    folder.remove_checkpoints("k", {10})
    assert folder.newest_step("k") == 10
    with pytest.raises(StorageError, match="cannot read '.*checkpoint-k-9.npz': no"):
        folder.read_checkpoint("k", 9)


def test_only_the_result_is_kept(inputs, tmp_path):
    folder = Folder(str(tmp_path))
    folder.write_inputs(inputs, "k")
    folder.write_json("generation.json", {})
    for step in (5, 12):
        folder.write_checkpoint("k", {"step": np.int64(step)})
    folder.keep_result("k")
    assert set(snapshot(tmp_path)) == {"checkpoint-k-12.npz", "generation.json"}


def test_arrays_are_always_the_same_bytes():
    arrays = {"b": np.arange(3), "a": np.ones((2, 2), np.float32)}
    assert pack(arrays) == pack(dict(reversed(arrays.items())))
    assert np.array_equal(unpack(pack(arrays))["b"], arrays["b"])


def test_pickled_objects_are_refused():
    with pytest.raises(ValueError, match="allow_pickle=False"):
        unpack(pack({"a": np.array([object()], dtype=object)}))


def test_workers_with_the_same_flags_share_a_folder():
    def url(**flags):
        flags = {"image_dir": "x", "bottleneck_dir": "/shared", **flags}
        return folder_for(config_from_args(flags)).url

    assert url() == url()
    assert url().startswith("/shared/fine_tuning-")
    assert url(seed=1) != url()
    assert url(kerberos_keytab="/sandbox/1/keytab") == url()
