"""Every kind of backbone goes all the way: features, head, exports, checked answers."""

import json
import os

import numpy as np
import pytest

from poets.backbones import FAMILIES
from poets.backbones.keras_table import NETWORKS
from poets.classifier import load_classifier
from poets.system.runtime import tf, v1
from tests import retraining
from tests.keras_weights import ONE_OF_EACH, write_keras_weights
from tests.models import write_inception_archive, write_mobilenet_archive
from tests.torch_weights import write_efficientnet_weights

KERAS_EXPORT = """
import sys
import keras
keras.utils.set_random_seed(0)
if sys.argv[2] == "MobileNetV2":
    model = keras.applications.MobileNetV2(
        (96, 96, 3), alpha=0.35, weights=None, include_top=False, pooling="avg"
    )
else:
    model = keras.Sequential([
        keras.Input((96, 96, 3)),
        keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(6.0),
        keras.layers.DepthwiseConv2D(3, strides=2, padding="same"),
        keras.layers.Conv2D(32, 1),
        keras.layers.GlobalAveragePooling2D(),
    ])
model.export(sys.argv[1], verbose=False)
"""


EXAMPLES = {  # family -> one of its networks; a SavedModel has a test of its own
    # As the next one, less its weights of 8 bits; `test_any_storage.py` runs it.
    "mobilenet": ("mobilenet_0.25_128", "input", 128),
    "quantized": ("mobilenet_0.25_128_quantized", "input", 128),
    "inception": ("inception_v3", "Mul", 299),
    "efficientnet": ("efficientnet_lite0", "images", 224),
    # As a SavedModel of Keras; `test_keras_networks.py` compares the features, and
    # long tests below run one network of every module.
    "keras": ("mobilenet_v2", "input", 224),
    # `test_frozen.py` and others look at what scattering_96 leaves.
    "scattering": ("scattering_128", "input", 128),
}
ELSEWHERE = {"keras", "mobilenet", "scattering"}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return retraining.write_images(tmp_path_factory.mktemp("backbones") / "images")


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    """Look-alikes of the published archives."""
    folder = tmp_path_factory.mktemp("models")
    write_mobilenet_archive(folder)
    write_inception_archive(folder)
    write_efficientnet_weights(folder)
    return folder


def check_exports(folder, input_name, inputs):
    """Asserts that every export was checked and answers like the others."""
    metrics = json.loads((folder / "metrics.json").read_text())
    names = {"retrained_graph.pb", "retrained_graph.tflite", "1"}
    assert set(metrics["exports"]) == names
    for export in metrics["exports"].values():
        assert export["checked_images"] > 0
        assert export["max_score_difference"] < 1e-3
    graph_def = v1.GraphDef.FromString((folder / "retrained_graph.pb").read_bytes())
    names = {node.name for node in graph_def.node}
    assert {"DecodeJpeg/contents", "DecodeJpeg", input_name} <= names
    with tf.Graph().as_default(), v1.Session() as session:
        v1.import_graph_def(graph_def, name="")
        scores = session.run("final_result:0", {f"{input_name}:0": inputs})
    assert scores.shape == (len(inputs), len(retraining.FOLDERS))
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)


def check_names_of_the_hub_generation(folder):
    graph_def = v1.GraphDef.FromString((folder / "retrained_graph.pb").read_bytes())
    names = {node.name for node in graph_def.node}
    assert "input/BottleneckInputPlaceholder" in names
    assert {
        f"final_retrain_ops/{name}"
        for name in ("weights/final_weights", "biases/final_biases", "Wx_plus_b/add")
    } <= names


def test_every_family_has_an_example():
    assert FAMILIES.keys() == EXAMPLES.keys() | {"saved_model"}


@pytest.mark.parametrize(
    ("architecture", "input_name", "size_px"),
    [
        pytest.param(*row, marks=[pytest.mark.soak] * (family in ELSEWHERE))
        for family, row in EXAMPLES.items()
    ],
    ids=EXAMPLES,
)
def test_a_named_architecture(
    images, model_dir, tmp_path, architecture, input_name, size_px
):
    if architecture == "mobilenet_v2":
        write_keras_weights(model_dir, architecture)
    retraining.retrain(
        tmp_path, images, architecture=architecture, model_dir=str(model_dir)
    )
    check_exports(tmp_path, input_name, np.zeros((2, size_px, size_px, 3)))


@pytest.mark.soak
@pytest.mark.parametrize("name", ONE_OF_EACH[1:])
def test_a_network_of_every_module_of_keras(images, tmp_path, name):
    write_keras_weights(tmp_path, name)
    retraining.retrain(
        tmp_path / "out", images, architecture=name, model_dir=str(tmp_path)
    )
    size_px = NETWORKS[name].size_px
    check_exports(tmp_path / "out", "input", np.zeros((2, size_px, size_px, 3)))


def test_networks_side_by_side(images, model_dir, tmp_path):
    """Every export takes one picture; each network keeps its own features."""
    names = "mobilenet_0.25_128", "scattering_128"
    flags = {"architecture": "+".join(names), "model_dir": str(model_dir)}
    retraining.retrain(tmp_path, images, **flags)
    check_exports(tmp_path, "images", np.zeros((2, 128, 128, 3)))
    stores = (tmp_path / "bottlenecks").iterdir()
    assert sorted(each.name.rpartition("-")[0] for each in stores) == sorted(names)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["model"]["backbone"] == flags["architecture"]


@pytest.mark.parametrize(
    "network", ["small", pytest.param("MobileNetV2", marks=pytest.mark.soak)]
)
def test_a_saved_model_of_keras(images, tmp_path, nursery, network):
    folder = tmp_path / "model"
    with open(tmp_path / "log", "wb") as log:
        task = nursery.start(KERAS_EXPORT, os.environ, log, [str(folder), network])
    assert task.wait() == 0, task.log.read_text()
    out = tmp_path / "out"
    flags = {"architecture": None, "tfhub_module": str(folder)}
    retraining.retrain(out, images, **flags)
    check_exports(out, "input", np.zeros((2, 96, 96, 3)))
    check_exports(out, "Placeholder", np.zeros((2, 96, 96, 3)))
    check_names_of_the_hub_generation(out)
    assert load_classifier(str(out / "saved_model" / "1")).labels == (
        "daisy",
        "red roses",
        "tulips",
    )
