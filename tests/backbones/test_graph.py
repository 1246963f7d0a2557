"""Surgery on graphs: cut, any batch, old operations, LiteRT."""

import numpy as np
import pytest
import tensorflow as tf

from poets.backbones import Backbone
from poets.backbones.graph import (
    OUTPUT_NAME,
    PIXELS_NAME,
    bottleneck_size,
    convert_to_litert,
    cut,
    parse_graph,
    pixel_graph,
)
from poets.errors import ModelError

v1 = tf.compat.v1
SIZE_PX = 8


def published(last_shape=(1, 5), batch=1, build=lambda x: x) -> bytes:
    """Returns a graph as publishers freeze them: a batch of 1 in all its shapes."""
    with tf.Graph().as_default() as graph:
        images = v1.placeholder(tf.float32, [batch, SIZE_PX, SIZE_PX, 3], name="in")
        kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 5)).astype(np.float32)
        features = build(tf.nn.conv2d(images, kernel, 1, "SAME"))
        features = tf.reduce_mean(features, [1, 2])
        tf.reshape(features, last_shape, name="bottleneck")
        tf.nn.softmax(features, name="behind")
    return graph.as_graph_def().SerializeToString()


def backbone_of(graph: bytes) -> Backbone:
    made = cut(graph, "in", "bottleneck", SIZE_PX, "test.pb")
    return Backbone("test", made, "in", "bottleneck", SIZE_PX, 5, 100.0, 50.0)


def run(graph: bytes, feeds: dict, fetch: str) -> np.ndarray:
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(v1.GraphDef.FromString(graph), name="")
        return session.run(f"{fetch}:0", {f"{k}:0": v for k, v in feeds.items()})


def pixels(count: int) -> np.ndarray:
    shape = (count, SIZE_PX, SIZE_PX, 3)
    return np.random.default_rng(1).uniform(0, 255, shape).astype(np.float32)


def expected_of(graph: bytes, images: np.ndarray) -> np.ndarray:
    scaled = (images - 100) / 50
    return np.concatenate(
        [run(graph, {"in": image[None]}, "bottleneck") for image in scaled]
    )


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("last_shape", [(1, 5), (-1, 5)])
def test_a_cut_graph_takes_any_batch(count, last_shape):
    graph = published(last_shape)
    found = run(
        pixel_graph(backbone_of(graph)), {PIXELS_NAME: pixels(count)}, OUTPUT_NAME
    )
    np.testing.assert_allclose(
        found, expected_of(graph, pixels(count)), rtol=1e-5, atol=1e-4
    )


def test_a_cut_is_the_same_bytes_each_time_and_holds_what_it_needs():
    graph = published()
    made = cut(graph, "in", "bottleneck", SIZE_PX, "test.pb")
    assert cut(graph, "in", "bottleneck", SIZE_PX, "test.pb") == made
    names = {node.name for node in v1.GraphDef.FromString(made).node}
    assert names >= {"in", "bottleneck"}
    assert "behind" not in names


def test_digests_differ_where_anything_does():
    one = backbone_of(published())
    others = [
        Backbone("x", one.graph, "in", "bottleneck", SIZE_PX, 5, 100.0, 51.0),
        Backbone("x", one.graph, "in", "bottleneck", SIZE_PX, 5, 99.0, 50.0),
        Backbone("x", one.graph, "in", "bottleneck", 9, 5, 100.0, 50.0),
        Backbone("x", one.graph + b"\0", "in", "bottleneck", SIZE_PX, 5, 100.0, 50.0),
    ]
    assert len({one.digest, *(other.digest for other in others)}) == 5
    renamed = Backbone("y", one.graph, "in", "bottleneck", SIZE_PX, 5, 100.0, 50.0)
    assert renamed.digest == one.digest  # a name is not what features depend on


@pytest.mark.parametrize("scaled", [True, False])
def test_old_operations_become_todays(scaled):
    checked = published(build=lambda x: tf.debugging.check_numerics(x, "bad"))
    graph_def = v1.GraphDef.FromString(checked)
    graph_def.versions.producer = 8  # the last with the normalisation of 2015
    (conv,) = [node for node in graph_def.node if node.op == "Conv2D"]
    (check,) = [node for node in graph_def.node if node.op == "CheckNumerics"]
    random = np.random.default_rng(2)
    norm = graph_def.node.add(name="norm", op="BatchNormWithGlobalNormalization")
    norm.input.append(conv.name)
    for name in ("mean", "variance", "beta", "gamma"):
        values = random.uniform(0.5, 2, 5).astype(np.float32)
        constant = graph_def.node.add(name=name, op="Const")
        constant.attr["dtype"].type = tf.float32.as_datatype_enum
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))
        norm.input.append(name)
    norm.attr["T"].type = tf.float32.as_datatype_enum
    norm.attr["variance_epsilon"].f = 0.001
    norm.attr["scale_after_normalization"].b = scaled
    check.input[0] = "norm"
    graph = graph_def.SerializeToString()

    backbone = backbone_of(graph)
    operations = {node.op for node in v1.GraphDef.FromString(backbone.graph).node}
    assert not operations & {"BatchNormWithGlobalNormalization", "CheckNumerics"}
    found = run(pixel_graph(backbone), {PIXELS_NAME: pixels(3)}, OUTPUT_NAME)
    np.testing.assert_allclose(
        found, expected_of(graph, pixels(3)), rtol=1e-4, atol=1e-4
    )


def test_litert_gives_what_tensorflow_gives():
    from ai_edge_litert.interpreter import Interpreter

    graph = pixel_graph(backbone_of(published()))
    interpreter = Interpreter(model_content=convert_to_litert(graph))
    (given,), (answer,) = (
        interpreter.get_input_details(),
        interpreter.get_output_details(),
    )
    interpreter.resize_tensor_input(given["index"], [3, SIZE_PX, SIZE_PX, 3])
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], pixels(3))
    interpreter.invoke()
    expected = run(graph, {PIXELS_NAME: pixels(3)}, OUTPUT_NAME)
    np.testing.assert_allclose(
        interpreter.get_tensor(answer["index"]), expected, rtol=0, atol=1e-4
    )


def test_what_litert_does_not_know_is_reported():
    with tf.Graph().as_default() as graph:
        images = v1.placeholder(tf.float32, [None, 8, 8, 3], name=PIXELS_NAME)
        tf.identity(tf.linalg.det(images[..., :1, 0:1]), name=OUTPUT_NAME)
    with pytest.raises(ModelError, match="^cannot convert to LiteRT: ") as caught:
        convert_to_litert(graph.as_graph_def().SerializeToString())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"\xff" * 20, b"no graph at all"])
def test_bytes_that_are_no_graph_are_reported(data):
    with pytest.raises(ModelError) as caught:
        parse_graph(data, "a.pb")
    assert str(caught.value) == (
        f"cannot read a.pb: its {len(data)} bytes are not a TensorFlow GraphDef; "
        "fetch the file again"
    )


@pytest.mark.parametrize(
    ("names", "missing"),
    [(("input", "bottleneck"), "input"), (("in", "pool_3"), "pool_3")],
)
def test_a_missing_node_is_reported(names, missing):
    with pytest.raises(ModelError, match=rf"a\.pb has no node '{missing}' among its "):
        cut(published(), *names, SIZE_PX, "a.pb")


def test_a_bottleneck_is_one_row_an_image():
    graph = cut(published(), "in", "bottleneck", SIZE_PX, "a.pb")
    assert bottleneck_size(graph, "bottleneck", "a.pb") == 5
    graph = cut(published(), "in", "Conv2D", SIZE_PX, "a.pb")
    with pytest.raises(ModelError) as caught:
        bottleneck_size(graph, "Conv2D", "a.pb")
    assert str(caught.value) == (
        "a.pb: 'Conv2D' has shape (None, 8, 8, 5); a bottleneck is [N, D]"
    )
