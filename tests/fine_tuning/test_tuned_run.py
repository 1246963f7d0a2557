"""A whole job: without fine-tuning as before, with it exported as it was trained.

One job runs here and starts its child as usual; in the others children are forked.
"""

import csv
import io
import json

import numpy as np
import pytest

from poets.backbones import load_backbone
from poets.classifier import load_classifier
from poets.errors import ConfigError
from poets.fine_tuning import tune
from poets.flags import FIELDS, config_from_args
from poets.system.runtime import tf, v1
from tests import retraining
from tests.fine_tuning.forks import tuners_of
from tests.models import write_inception_archive
from tests.tasks import Cluster

MOBILENET = {"architecture": "mobilenet_0.25_128", "saved_model_dir": ""}
FEW = {"fine_tune_steps": 2, "fine_tune_batch_size": 4}
TUNED = {
    "architecture": "mobilenet_0.25_128",
    "fine_tune_steps": 12,
    "fine_tune_batch_size": 20,
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return retraining.write_images(tmp_path_factory.mktemp("tuned") / "images")


FORKING = """
import os
from pathlib import Path
from poets.fine_tuning import supervise
from tests.fine_tuning.forks import fork_children
supervise.POLL_S, supervise.LOOK_EVERY_S = 0.02, 0.1
supervise.CHECKPOINT_EVERY_S = 0.0
fork_children(Path(os.environ["LOG_DIR"], "hold"))
"""


@pytest.fixture(scope="module")
def more(model_dir, tmp_path_factory):
    """Flags of every job: one feature store, and no distortions."""
    store = str(tmp_path_factory.mktemp("store"))
    return {
        "bottleneck_dir": store,
        "model_dir": str(model_dir),
        "flip_left_right": False,
    }


@pytest.fixture
def job(nursery, images, more):
    """Makes a job of so many workers, which are killed at the end of the test."""
    made = []

    def make(out, workers=1, **flags):
        flags = {**more, **flags}
        made.append(
            Cluster(
                nursery, out, images, workers, server=False, before=FORKING, **flags
            )
        )
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.fixture
def run(job):
    """Runs the job; returns its log and metrics."""

    def start(out, **flags):
        made = job(out, **flags)
        made.end(made.start_workers())
        return made.said(0), json.loads((out / "metrics.json").read_text())

    return start


@pytest.fixture(scope="module")
def plain(images, more, tmp_path_factory):
    out = tmp_path_factory.mktemp("plain")
    retraining.retrain(out, images, **more, **MOBILENET)
    return out


@pytest.fixture(scope="module")
def tuned(images, more, tmp_path_factory):
    out = tmp_path_factory.mktemp("fine_tuned")
    flags = {**more, **TUNED, "saved_model_dir": str(out / "saved_model")}
    lines = retraining.retrain(out, images, **flags)
    return out, lines, json.loads((out / "metrics.json").read_text())


def constants(path):
    graph_def = v1.GraphDef.FromString(path.read_bytes())
    return {
        node.name: tf.make_ndarray(node.attr["value"].tensor)
        for node in graph_def.node
        if node.op == "Const"
    }


def test_without_steps_nothing_changes(run, plain, tmp_path):
    flags = {"fine_tune_layers": 5, "fine_tune_learning_rate": 0.5}
    run(tmp_path, **MOBILENET, fine_tune_steps=0, **flags)
    for name in ("retrained_graph.pb", "retrained_graph.tflite", "split.csv"):
        assert (tmp_path / name).read_bytes() == (plain / name).read_bytes()


def test_only_the_last_layers_and_the_head_change(plain, tuned):
    before = constants(plain / "retrained_graph.pb")
    after = constants(tuned[0] / "retrained_graph.pb")
    assert before.keys() == after.keys()
    # The look-alike's normalisation is folded into a BiasAdd, which is trained.
    inside = "MobilenetV1/MobilenetV1/Conv2d_13"
    changed = {n for n in before if not np.array_equal(before[n], after[n])}
    assert changed == {
        "MobilenetV1/Conv2d_13_depthwise/depthwise_weights",
        "MobilenetV1/Conv2d_13_pointwise/weights",
        f"{inside}_depthwise/BatchNorm/batchnorm/sub",
        f"{inside}_pointwise/BatchNorm/batchnorm/sub",
        "MobilenetV1/Logits/Conv2d_1c_1x1/weights",
        "MobilenetV1/Logits/Conv2d_1c_1x1/biases",
        "final_training_ops/weights/final_weights",
        "final_training_ops/biases/final_biases",
    }


def test_every_export_answers_as_the_fine_tuned_network(tuned, images):
    out, _, metrics = tuned
    names = {"retrained_graph.pb", "retrained_graph.tflite", "saved_model"}
    assert set(metrics["exports"]) == names
    for export in metrics["exports"].values():
        assert export["checked_images"] > 0
        assert export["max_score_difference"] < 1e-3
    classifier = load_classifier(str(out / "retrained_graph.pb"))
    rows = csv.DictReader(io.StringIO((out / "split.csv").read_text(), newline=""))
    for row in list(rows)[::9]:
        (scores,) = classifier.predict([(images / row["path"]).read_bytes()])
        assert scores.max() == pytest.approx(float(row["score"]), abs=1e-3)


def test_metrics_say_what_was_done(tuned, plain):
    _, lines, metrics = tuned
    (note,) = metrics["notes"]
    assert note.startswith(
        "the last 3 layers of mobilenet_0.25_128 were fine-tuned in 12 steps of 20: "
        "validation accuracy "
    )
    assert note in lines
    earlier = json.loads((plain / "metrics.json").read_text())
    digest = metrics["model"]["backbone_digest"]
    assert digest != earlier["model"]["backbone_digest"]
    assert metrics["duration_s"]["fine_tuning"] > 0
    assert metrics["flags"]["fine_tune_steps"] == 12


def test_a_second_run_finds_all_of_it_done(run, tuned, tmp_path):
    said, _ = run(tmp_path, **TUNED, saved_model_dir=str(tuned[0] / "saved_model"))
    assert "0 pictures computed up to the last layers" in said


@pytest.mark.parametrize(
    ("flags", "layers"),
    [
        ({"flip_left_right": True, "augmentations": 1, "class_weights": "balanced"}, 1),
        ({"seed": 3}, 28),
    ],
)
def test_it_goes_with_what_the_head_is_trained_with(run, tmp_path, flags, layers):
    flags = {**MOBILENET, **FEW, **flags}
    _, metrics = run(tmp_path, **flags, fine_tune_layers=layers)
    assert f"the last {layers} layers" in metrics["notes"][0]


def test_inception_of_2015_is_fine_tuned(run, tmp_path):
    write_inception_archive(tmp_path)
    flags = {**FEW, "architecture": "inception_v3", "model_dir": str(tmp_path)}
    _, metrics = run(tmp_path / "out", **flags, fine_tune_layers=2)
    assert metrics["exports"]["retrained_graph.pb"]["max_score_difference"] < 1e-3


def test_a_saved_model_is_fine_tuned(run, images, more, tmp_path):
    class Network(tf.Module):
        def __init__(self):
            super().__init__()
            random = tf.random.Generator.from_seed(0)
            self.kernels = [
                tf.Variable(random.normal([3, 3, 3, 8]) * 0.2),
                tf.Variable(random.normal([3, 3, 8, 12]) * 0.2),
            ]

        @tf.function(
            input_signature=[tf.TensorSpec([None, 32, 32, 3], tf.float32)],
            autograph=False,
        )
        def call(self, images):
            for kernel in self.kernels:
                images = tf.nn.relu(tf.nn.conv2d(images, kernel, 2, "SAME"))
            return {"features": tf.reduce_mean(images, [1, 2])}

    network = Network()
    handle = str(tmp_path / "network")
    tf.saved_model.save(network, handle, {"serving_default": network.call})
    flags = {**FEW, "architecture": None, "tfhub_module": handle}
    _, metrics = run(tmp_path / "out", **flags, fine_tune_layers=1)
    assert metrics["notes"][0].startswith(f"the last 1 layers of {handle}")
    refused = {**more, **flags, "fine_tune_layers": 3}
    with pytest.raises(ConfigError, match="--fine_tune_layers=3: .* has 2 layers with"):
        retraining.retrain(tmp_path / "out", images, **refused)


def test_a_killed_job_goes_on_and_ends_in_the_same(job, tuned, tmp_path, wait_until):
    out = tmp_path / "out"
    store = tmp_path / "store"
    made = job(out, **TUNED, bottleneck_dir=str(store))
    (out / "hold").write_text("5")
    (killed,) = made.start_workers()
    wait_until(lambda: list(store.glob("fine_tuning-*/checkpoint-*-5.npz")), 300)
    children = tuners_of(killed.pid)
    assert children
    killed.kill()
    killed.wait()
    assert not (out / "retrained_graph.pb").exists()
    wait_until(lambda: not any(map(retraining.is_running, children)), 300)
    (out / "hold").unlink()
    made.end(made.start_workers())
    assert "fine-tuning: 5 of 12 steps were made before" in made.said(0)
    for name in ("retrained_graph.pb", "split.csv"):
        assert (out / name).read_bytes() == (tuned[0] / name).read_bytes()


def test_a_job_of_two_workers_is_one_with_twice_the_batch(job, tuned, tmp_path):
    """10 pictures a step on each of two workers, against 20 on one."""
    half = {"fine_tune_batch_size": 10, "bottleneck_dir": str(tmp_path / "store")}
    made = job(tmp_path / "out", 2, **{**TUNED, **half}, saved_model_dir="")
    made.end(made.start_workers())
    expected = constants(tuned[0] / "retrained_graph.pb")
    found = constants(tmp_path / "out" / "retrained_graph.pb")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if value.dtype == np.float32:
            assert np.allclose(found[name], value, rtol=0, atol=1e-5), name


@pytest.mark.parametrize(
    ("architecture", "why"),
    [
        ("scattering_96", "its filters are computed, not trained; use another network"),
        (
            "mobilenet_0.25_128_quantized",
            "trained weights would no longer be 8-bit; use the network of the same "
            "name without _quantized",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_with_the_flags(architecture, why):
    args = {"image_dir": "x", "architecture": architecture}
    config_from_args(args)
    with pytest.raises(ConfigError) as caught:
        config_from_args({**args, "fine_tune_steps": 1})
    assert str(caught.value) == (
        f"wrong flags: --architecture={architecture!r} cannot be fine-tuned: {why}, or "
        "leave --fine_tune_steps out"
    )


def test_too_many_layers_are_refused_before_the_work(images, more, tmp_path):
    flags = {**more, **TUNED, "bottleneck_dir": str(tmp_path / "store")}
    with pytest.raises(
        ConfigError,
        match="--fine_tune_layers=29: mobilenet_0.25_128 has 28 layers with weights",
    ):
        retraining.retrain(tmp_path, images, **flags, fine_tune_layers=29)
    assert not list((tmp_path / "store").rglob("*.parquet"))


def test_features_that_do_not_fit_into_memory_are_refused(monkeypatch, model_dir):
    args = {"image_dir": "x", "model_dir": str(model_dir), **TUNED}
    args["architecture"] = "mobilenet_0.25_128"
    config = config_from_args(args)
    backbone = load_backbone(config)
    monkeypatch.setattr(tune, "memory_bytes", lambda: tune.CHIEF_BYTES + 2**30)
    assert tune.plan(config, backbone, 10_000)
    with pytest.raises(
        ConfigError,
        match=r"--fine_tune_layers=3: 100000 pictures have 4096 features each before "
        r"the last layers of mobilenet_0.25_128, which takes 4.6 GiB of memory; found "
        r"1.0 GiB; give fewer layers or more memory",
    ):
        tune.plan(config, backbone, 100_000)


def test_it_is_off_by_default():
    assert FIELDS["fine_tune_steps"].default == 0
