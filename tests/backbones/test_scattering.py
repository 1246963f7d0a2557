"""The scattering backbone: its graph, its features, and what they are good for."""

import hashlib
import os

import flowers
import numpy as np
import pytest

from poets.backbones import FAMILIES, load_backbone
from poets.backbones import graph as surgery
from poets.backbones import scattering as net
from poets.config import RetrainConfig
from poets.features.engines import load_engine
from poets.system.runtime import v1

# Of the operations TensorFlow 1.5 has, those that LiteRT has as builtin ones, too.
TENSORFLOW_1_5 = (
    "Add AddN AvgPool BatchMatMul BiasAdd ConcatV2 Const Conv2D DepthwiseConv2dNative "
    "GatherV2 Log MatMul MaxPool Mean Mul Pad Placeholder Relu Reshape Softmax Sqrt "
    "Square Sub Sum Transpose"
)
# Attributes that TensorFlow 1.5 knows on these.
ATTRIBUTES = "T dtype shape value strides padding ksize N Tparams Tindices Taxis adj_x"


@pytest.fixture(scope="module", params=FAMILIES["scattering"].names)
def backbone(request):
    """The backbone of each size."""
    return load_backbone(RetrainConfig(architecture=request.param))


def engine_of(backbone, name, folder):
    """Returns the backbone in one of the engines."""
    graph = surgery.pixel_graph(backbone)
    model = folder / f"{backbone.name}.{name}"
    model.write_bytes(surgery.convert_to_litert(graph) if name == "litert" else graph)
    return load_engine(name, str(model))


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """The features of float or uint8 pixels [N, 128, 128, 3] in 0..255."""
    small = load_backbone(RetrainConfig(architecture="scattering_128"))
    return engine_of(small, "tensorflow", tmp_path_factory.mktemp("model")).run


def drawn(labels: list[str], count: int, size_px: int = 128) -> np.ndarray:
    """Returns uint8 [len(labels) * count, S, S, 3] of the demo's flowers."""
    return np.stack(
        [
            flowers.draw(label, np.random.default_rng([5, i, n]), (size_px, size_px))
            for i, label in enumerate(labels)
            for n in range(count)
        ]
    )


def test_graph_holds_constants_and_old_builtin_operations_alone(backbone):
    graph_def = v1.GraphDef.FromString(backbone.graph)
    assert {node.op for node in graph_def.node} <= set(TENSORFLOW_1_5.split())
    written = {key for node in graph_def.node for key in node.attr}
    assert written <= set(ATTRIBUTES.split())
    assert not graph_def.library.function
    assert len(backbone.graph) < 2_000_000


def test_graph_is_the_same_bytes_in_another_process(nursery, tmp_path):
    code = (
        "import hashlib; from poets.backbones.scattering import scattering_graph as g;"
        "print(hashlib.sha256(g(128)).hexdigest())"
    )
    with open(tmp_path / "log", "wb") as log, open(tmp_path / "out", "wb") as out:
        task = nursery.start(code, os.environ, log, out=out)
    assert task.wait() == 0, task.log.read_text()
    here = hashlib.sha256(net.scattering_graph(128)).hexdigest()
    assert (tmp_path / "out").read_text().strip() == here


def test_no_node_is_written_for_nothing(backbone):
    graph_def = v1.GraphDef.FromString(backbone.graph)
    needed = v1.graph_util.extract_sub_graph(graph_def, [net.BOTTLENECK_NAME])
    assert len(needed.node) == len(graph_def.node)


def test_backbone_says_what_the_graph_takes_and_gives(backbone):
    size = surgery.bottleneck_size(backbone.graph, net.BOTTLENECK_NAME, backbone.name)
    assert size == backbone.bottleneck_size == net.BOTTLENECK_SIZE
    assert (backbone.mean, backbone.std) == (127.5, 127.5)


def test_litert_and_tensorflow_agree_at_any_batch(backbone, tmp_path):
    size_px = backbone.image_size_px
    pixels = drawn(["daisy", "roses", "tulips"], 1, size_px).astype(np.float32)
    reference = engine_of(backbone, "tensorflow", tmp_path)
    assert reference.image_size_px == size_px
    expected = reference.run(pixels)
    one_by_one = [reference.run(pixels[i : i + 1])[0] for i in range(3)]
    np.testing.assert_allclose(expected, one_by_one, atol=1e-4)

    litert = engine_of(backbone, "litert", tmp_path)
    for batch in (1, 3):
        got = litert.run(pixels[:batch])
        np.testing.assert_allclose(got, expected[:batch], atol=1e-4)


@pytest.mark.parametrize("value", [0, 127.5, 255])
def test_images_of_one_colour_have_finite_features(features, value):
    (flat,) = features(np.full((1, 128, 128, 3), value))
    assert np.isfinite(flat).all()
    assert flat.min() >= np.log(net.FLOOR) - 1e-4


def test_a_small_shift_matters_less_than_another_picture(features):
    pictures = drawn(["daisy", "roses", "tulips"], 3, size_px=132)
    here = features(pictures[:, 2:130, 2:130])
    moved = features(pictures[:, 4:132, 0:128])
    between = np.linalg.norm(here[:, None] - here[None], axis=2)
    between[np.diag_indices(len(here))] = np.inf
    assert (2 * np.linalg.norm(here - moved, axis=1) < between.min(axis=1)).all()


def test_direction_scale_and_colour_each_show_in_the_features(features):
    columns = np.arange(128)[None, :, None] * np.ones((128, 1, 3))
    fine, coarse = (127 + 90 * np.sign(np.sin(columns / step)) for step in (2, 6))
    red = fine * (1, 0.2, 0.2)
    original, turned, larger, coloured = features(
        np.stack([fine, fine.transpose(1, 0, 2), coarse, red])
    )
    for other in (turned, larger, coloured):
        assert np.abs(original - other).max() > 1


def test_a_linear_head_tells_drawn_flowers_far_better_than_chance(features):
    labels, count = ["daisy", "dandelion", "roses", "sunflowers", "tulips"], 12
    found = features(drawn(labels, count))
    truth = np.repeat(np.arange(len(labels)), count)
    test = np.arange(len(truth)) % 4 == 0
    found = (found - found[~test].mean(axis=0)) / (found[~test].std(axis=0) + 1e-6)
    # Ridge regression in closed form: the Gram matrix is small, as the images are few.
    gram = found[~test] @ found[~test].T + 300 * np.eye((~test).sum())
    scores = (
        found[test] @ found[~test].T @ np.linalg.solve(gram, np.eye(5)[truth[~test]])
    )
    accuracy = (scores.argmax(axis=1) == truth[test]).mean()
    assert accuracy > 0.45  # chance is 0.2
