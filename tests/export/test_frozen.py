"""The frozen graph is the one that programs of TensorFlow 1.x load and feed."""

import numpy as np
import pytest

from poets.backbones import load_backbone
from poets.export.frozen import frozen_graph
from poets.flags import config_from_args
from poets.head import Head
from poets.images import decode, is_plain, resize
from poets.runtime import tf, v1

pytest_plugins = ["tests.finished"]

# What we write of what the registry of TensorFlow 1.5.0 lists.
OPS_OF_1_5 = {
    "AvgPool", "BatchMatMul", "BiasAdd", "Cast", "ConcatV2", "Const", "Conv2D",
    "DecodeJpeg", "DepthwiseConv2dNative", "ExpandDims", "GatherV2", "Identity",
    "Log", "MatMul", "Mul", "Placeholder", "PlaceholderWithDefault", "Relu6",
    "Reshape", "ResizeBilinear", "Softmax", "Sqrt", "Square", "Squeeze", "Sub",
    "Transpose",
}  # fmt: skip


@pytest.fixture(params=["scattering_96", "mobilenet_0.25_128"], scope="module")
def backbone(request, model_dir):
    args = {"image_dir": "unused", "model_dir": str(model_dir)}
    return load_backbone(config_from_args({**args, "architecture": request.param}))


def head_for(backbone, labels=3, seed=0):
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((backbone.bottleneck_size, labels)) / 30
    return Head(weights.astype(np.float32), np.zeros(labels, np.float32))


def parse(data):
    return v1.GraphDef.FromString(data)


def session_of(data):
    """Returns a session as TensorFlow 1.x programs make one."""
    with tf.Graph().as_default() as graph:
        v1.import_graph_def(parse(data), name="")
    return v1.Session(graph=graph)


def test_both_inputs_answer_as_metrics_and_split_say(finished):
    with session_of(finished.graph.read_bytes()) as session:
        rows = [
            line.split(",")
            for line in (finished.folder / "split.csv").read_text().splitlines()[1:]
        ]
        assert len(rows) > 60
        for path, _, _, label, score in rows[::6]:
            data = (finished.image_dir / path).read_bytes()
            scaled = (resize(decode(data), 96) - 127.5) / 127.5
            feeds = [{"input:0": scaled[None]}]
            if is_plain(data):
                feeds.append({"DecodeJpeg/contents:0": data})
            for feed in feeds:
                (found,) = session.run("final_result:0", feed)
                assert finished.labels[found.argmax()] == label
                assert found.max() == pytest.approx(float(score), abs=2e-4)
                assert found.sum() == pytest.approx(1, abs=1e-5)


def test_a_batch_of_floats_is_answered_together(finished):
    with session_of(finished.graph.read_bytes()) as session:
        images = np.random.default_rng(0).uniform(-1, 1, (3, 96, 96, 3))
        together = session.run("final_result:0", {"input:0": images})
        alone = [session.run("final_result:0", {"input:0": [one]}) for one in images]
    assert together.shape == (3, 3)
    assert np.allclose(together, np.concatenate(alone), atol=1e-6)


@pytest.mark.parametrize("name", ["final_result", "scores", "a/b.c-d", "softmax_1"])
def test_the_output_is_named_as_asked(backbone, name):
    data = frozen_graph(backbone, head_for(backbone), name)
    with session_of(data) as session:
        size_px = backbone.image_size_px
        feed = {"input:0": np.zeros((1, size_px, size_px, 3))}
        assert session.run(f"{name}:0", feed).shape == (1, 3)


def test_it_has_no_attribute_at_its_default_and_only_old_operations(backbone):
    from tensorflow.python.framework import op_def_registry

    graph_def = parse(frozen_graph(backbone, head_for(backbone), "final_result"))
    assert {node.op for node in graph_def.node} <= OPS_OF_1_5
    assert not graph_def.library.function
    for node in graph_def.node:
        definition = op_def_registry.get(node.op)
        defaults = {
            attribute.name: attribute.default_value
            for attribute in definition.attr
            if attribute.HasField("default_value")
        }
        for name, value in node.attr.items():
            assert not name.startswith("_")
            assert name not in defaults or value != defaults[name], (node.name, name)


def test_one_head_is_one_file_bit_for_bit(backbone):
    first, again = (
        frozen_graph(backbone, head_for(backbone), "final_result") for _ in range(2)
    )
    assert first == again
    assert first != frozen_graph(backbone, head_for(backbone, seed=1), "final_result")


def test_intermediate_graphs_are_loadable_graphs_of_their_step(finished):
    names = sorted(path.name for path in (finished.folder / "intermediate").iterdir())
    assert names == ["intermediate_25.pb", "intermediate_50.pb"]
    image = {"input:0": np.zeros((1, 96, 96, 3))}
    answers = []
    for name in names:
        data = (finished.folder / "intermediate" / name).read_bytes()
        with session_of(data) as session:
            answers.append(session.run("final_result:0", image))
    assert not np.array_equal(*answers)
    folder = finished.folder / "intermediate"
    assert (
        f"Save intermediate result to : {folder}/intermediate_25.pb" in finished.lines
    )
