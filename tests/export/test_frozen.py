"""The frozen graph is the one that readers of the original's graphs load and feed."""

import functools
import tarfile

import cv2
import numpy as np
import pytest

from poets.backbones import load_backbone
from poets.data.images import decode, is_plain, resize
from poets.export import TrainedModel, frozen
from poets.features.engine_litert import connect
from poets.flags import config_from_args
from poets.head import Head
from poets.system.runtime import tf, v1
from tests import retraining
from tests.models import write_inception_archive

pytest_plugins = ["tests.finished"]

# What we write of what the registry of TensorFlow 1.5.0 lists: operation -> attributes.
OPS_OF_1_5 = {
    "AvgPool": "ksize strides padding data_format T",
    "BatchMatMul": "T adj_x adj_y",
    "BiasAdd": "T data_format",
    "Cast": "SrcT DstT",
    "ConcatV2": "N T Tidx",
    "Const": "value dtype",
    "Conv2D": "T strides use_cudnn_on_gpu padding data_format",
    "DecodeJpeg": "channels dct_method",
    "DepthwiseConv2dNative": "T strides padding data_format",
    "ExpandDims": "T Tdim",
    "GatherV2": "Tparams Tindices Taxis",
    "Identity": "T",
    "Log": "T",
    "MatMul": "transpose_a transpose_b T",
    "Merge": "T N",
    "Mul": "T",
    "Placeholder": "dtype shape",
    "PlaceholderWithDefault": "dtype shape",
    "Relu": "T",
    "Relu6": "T",
    "Reshape": "T Tshape",
    "ResizeBilinear": "T align_corners",
    "Softmax": "T",
    "Sqrt": "T",
    "Square": "T",
    "Squeeze": "T squeeze_dims",
    "Sub": "T",
    "Switch": "T",
    "Transpose": "T Tperm",
}

MOBILENET, QUANTIZED = "mobilenet_0.25_128", "mobilenet_0.25_128_quantized"
INCEPTION = "inception_v3"

ARCHIVES = {  # architecture -> archive, graph in it, bottleneck, input for bottlenecks
    MOBILENET: (
        "mobilenet_v1_0.25_128_frozen.tgz",
        "mobilenet_v1_0.25_128/frozen_graph.pb",
        "MobilenetV1/Predictions/Reshape",
        "input_1/BottleneckInputPlaceholder",
    ),
    QUANTIZED: (
        "mobilenet_v1_0.25_128_frozen.tgz",
        "mobilenet_v1_0.25_128/quantized_graph.pb",
        "MobilenetV1/Predictions/Reshape",
        "input_1/BottleneckInputPlaceholder",
    ),
    INCEPTION: (
        "inception-2015-12-05.tgz",
        "classify_image_graph_def.pb",
        "pool_3/_reshape",
        "input/BottleneckInputPlaceholder",
    ),
}
DECODING = [
    "DecodeJpeg/contents", "DecodeJpeg", "Cast", "ExpandDims/dim", "ExpandDims",
    "ResizeBilinear/size", "ResizeBilinear", "Sub/y", "Sub", "Mul/y", "Mul",
]  # fmt: skip
HEAD = [
    "final_training_ops/weights/final_weights",
    "final_training_ops/weights/final_weights/read",
    "final_training_ops/biases/final_biases",
    "final_training_ops/biases/final_biases/read",
    "final_training_ops/Wx_plus_b/MatMul",
    "final_training_ops/Wx_plus_b/add",
]


@pytest.fixture(scope="module")
def archives(model_dir, tmp_path_factory):
    """A `--model_dir` with look-alikes of all that is in ARCHIVES."""
    folder = tmp_path_factory.mktemp("archives")
    write_inception_archive(folder)
    for path in model_dir.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def load(archives):
    """Returns a function from an architecture to its backbone."""

    @functools.cache
    def load_once(architecture):
        args = {"image_dir": "unused", "model_dir": str(archives)}
        return load_backbone(config_from_args({**args, "architecture": architecture}))

    return load_once


@pytest.fixture(params=["scattering_96", MOBILENET], scope="module")
def backbone(request, load):
    return load(request.param)


@pytest.fixture(
    params=[
        # As the quantized one, which has more to do to its weights.
        pytest.param(name, marks=pytest.mark.soak if name == MOBILENET else [])
        for name in ARCHIVES
    ],
    scope="module",
)
def published(request, load):
    """A backbone that the original scripts have, too."""
    return load(request.param)


@pytest.fixture(scope="module")
def photo():
    """The bytes of a JPEG and, uint8 [H, W, 3], what TensorFlow decodes of them."""
    data = retraining.jpeg(np.random.default_rng(0), 1, side_px=150)
    return data, tf.io.decode_jpeg(data, dct_method="INTEGER_ACCURATE").numpy()


def frozen_graph(backbone, head, name):
    return frozen.frozen_graph(TrainedModel(backbone, head, name))


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


@pytest.mark.parametrize("architecture", ["scattering_96", *ARCHIVES])
def test_it_has_only_old_operations_and_attributes(load, architecture):
    backbone = load(architecture)
    graph_def = parse(frozen_graph(backbone, head_for(backbone), "final_result"))
    assert {node.op for node in graph_def.node} <= set(OPS_OF_1_5)
    assert not graph_def.library.function
    for node in graph_def.node:
        assert set(node.attr) <= set(OPS_OF_1_5[node.op].split()), node.name


def original_graph(archives, architecture):
    """Returns the part of an archive's graph that the original scripts keep."""
    archive, member, bottleneck, _ = ARCHIVES[architecture]
    with tarfile.open(archives / archive) as file:
        graph_def = parse(file.extractfile(member).read())
    return v1.graph_util.extract_sub_graph(graph_def, [bottleneck])


@pytest.mark.parametrize("architecture", ARCHIVES)
def test_every_tensor_of_the_originals_graph_is_there(archives, load, architecture):
    backbone = load(architecture)
    ours = parse(frozen_graph(backbone, head_for(backbone), "final_result"))
    original = original_graph(archives, architecture)
    names = {node.name for node in original.node}
    names |= {*DECODING, ARCHIVES[architecture][3], *HEAD, "final_result"}
    assert names <= {node.name for node in ours.node}


@pytest.mark.parametrize("architecture", ARCHIVES)
def test_attributes_of_the_original_that_readers_look_at_are_kept(
    archives, load, architecture
):
    backbone = load(architecture)
    ours = parse(frozen_graph(backbone, head_for(backbone), "final_result"))
    attributes = {node.name: node.attr for node in ours.node if node.op != "Const"}
    for node in original_graph(archives, architecture).node:
        for name in ("data_format", "padding", "squeeze_dims", "strides", "Tshape"):
            if name in node.attr and node.name in attributes:
                assert attributes[node.name][name] == node.attr[name], node.name


def test_what_a_tensor_has_may_be_fed_in_its_place(published, photo):
    """From the bytes on, with the array that many programs feed at DecodeJpeg:0."""
    data, pixels = photo
    names = ["DecodeJpeg", "Cast", "ExpandDims", "ResizeBilinear", "Sub", "Mul"]
    names += [published.input_name, published.bottleneck_name]
    names += [published.bottleneck_input_name, "final_training_ops/Wx_plus_b/add"]
    bytes_at = {"DecodeJpeg/contents:0": data}
    with session_of(
        frozen_graph(published, head_for(published), "final_result")
    ) as session:
        expected = session.run("final_result:0", bytes_at)
        for name in names:
            value = session.run(f"{name}:0", bytes_at)
            found = session.run("final_result:0", {f"{name}:0": value})
            np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=name)
        assert np.array_equal(session.run("DecodeJpeg:0", bytes_at), pixels)
        scaled = session.run(f"{published.input_name}:0", {"DecodeJpeg:0": pixels})
        resized = (resize(pixels, published.image_size_px) - published.mean)[None]
        np.testing.assert_allclose(scaled, resized / published.std, atol=1e-5)


def test_bottlenecks_are_fed_in_batches(published):
    rng = np.random.default_rng(0)
    bottlenecks = rng.random((5, published.bottleneck_size), np.float32)
    head = head_for(published)
    with session_of(frozen_graph(published, head, "final_result")) as session:
        feed = {f"{published.bottleneck_input_name}:0": bottlenecks}
        found = session.run("final_result:0", feed)
    np.testing.assert_allclose(found, head.probabilities(bottlenecks), atol=1e-5)


def test_without_anything_fed_the_error_names_the_image(backbone):
    data = frozen_graph(backbone, head_for(backbone), "final_result")
    with (
        session_of(data) as session,
        pytest.raises(tf.errors.InvalidArgumentError, match="'DecodeJpeg/contents'"),
    ):
        session.run("final_result:0")


def scores_of(data, backbone, images):
    with session_of(data) as session:
        return session.run("final_result:0", {f"{backbone.input_name}:0": images})


def random_images(backbone, count):
    """Returns float32 [N, S, S, 3], scaled."""
    size_px = backbone.image_size_px
    rng = np.random.default_rng(1)
    return rng.uniform(-1, 1, (count, size_px, size_px, 3)).astype(np.float32)


def test_opencv_reads_it(published, tmp_path):
    data = frozen_graph(published, head_for(published), "final_result")
    (tmp_path / "graph.pb").write_bytes(data)
    images = random_images(published, 1)
    net = cv2.dnn.readNetFromTensorflow(str(tmp_path / "graph.pb"))
    net.setInput(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    found = net.forward("final_result")
    np.testing.assert_allclose(found, scores_of(data, published, images), atol=1e-4)


def test_the_litert_converter_takes_it_from_its_input_to_its_output(
    published, tmp_path
):
    """As `tflite_convert --input_arrays=input --output_arrays=final_result`."""
    data = frozen_graph(published, head_for(published), "final_result")
    path, images = tmp_path / "graph.pb", random_images(published, 1)
    path.write_bytes(data)
    converter = v1.lite.TFLiteConverter.from_frozen_graph(
        str(path), [published.input_name], ["final_result"]
    )
    (tmp_path / "graph.tflite").write_bytes(converter.convert())
    found = connect(str(tmp_path / "graph.tflite")).run(list(images))
    np.testing.assert_allclose(found, scores_of(data, published, images), atol=1e-4)


def test_tensorflow_2_makes_a_function_of_it(published):
    data = frozen_graph(published, head_for(published), "final_result")
    wrapped = v1.wrap_function(lambda: v1.import_graph_def(parse(data), name=""), [])
    function = wrapped.prune(f"{published.input_name}:0", "final_result:0")
    images = random_images(published, 2)
    found = function(tf.constant(images)).numpy()
    np.testing.assert_allclose(found, scores_of(data, published, images), atol=1e-5)


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
