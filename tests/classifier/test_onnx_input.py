"""An `.onnx` of another maker is fed as it wants, or refused with what to give.

The networks are of three operations: the mean of each channel as it arrives, softmax.
What they answer therefore shows what they were fed.
"""

import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx.helper import (
    make_graph,
    make_model,
    make_node,
    make_opsetid,
    make_tensor,
    make_tensor_value_info,
    set_model_props,
)
from PIL import Image

from poets.classifier import load_classifier
from poets.classifier.many import FEW, classify_files
from poets.classifier.sources import source_of
from poets.cli import run
from poets.data.images import decode, resize
from poets.errors import ConfigError, ModelError
from poets.features.engine_onnx import PIXEL_FORMAT, PIXEL_RANGE, connect
from poets.features.engines import Normalization
from tests import retraining

LABELS = ("red", "green", "blue")
PICTURE = retraining.jpeg(np.random.default_rng(0), 0)
FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8
RANGES = {
    "NominalRange_0_255": (0, 1),
    "Normalized_0_1": (0, 255),
    "Normalized_1_1": (127.5, 127.5),
}
INPUT = ("x", FLOAT, ["N", 8, 8, 3])


def onnx_model(*inputs, metadata=None, outputs=(("scores", FLOAT, ["N", "L"]),)):
    """Returns a model that answers the softmax of its channels' means over 255."""
    name, dtype, shape = inputs[0]
    channels = next((size for size in shape[1:] if size in (1, 3)), 3)
    axes = [2, 3] if len(shape) == 4 and shape[1] == channels else [1, 2]
    divisor = make_tensor("divisor", FLOAT, [], [1 if dtype == FLOAT else 255])
    nodes = [
        make_node("Cast", [name], ["floats"], to=FLOAT),
        make_node("ReduceMean", ["floats"], ["means"], axes=axes, keepdims=0),
        make_node("Div", ["means", "divisor"], ["scaled"]),
        make_node("Softmax", ["scaled"], ["scores"], axis=-1),
    ]
    ends = [(end, of, [channels if size == "L" else size for size in sizes])
            for end, of, sizes in outputs]  # fmt: skip
    graph = make_graph(
        nodes,
        "means",
        [make_tensor_value_info(*each) for each in inputs],
        [make_tensor_value_info(*each) for each in ends],
        [divisor],
    )
    model = make_model(graph, opset_imports=[make_opsetid("", 13)], ir_version=8)
    set_model_props(model, metadata or {})
    return model.SerializeToString()


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes a model and its labels, and returns its path."""

    def call(data, labels=LABELS):
        (tmp_path / "model.onnx").write_bytes(data)
        if labels:
            (tmp_path / "model.txt").write_text("".join(f"{x}\n" for x in labels))
        return str(tmp_path / "model.onnx")

    return call


def expected(mean, std):
    """Returns what the network answers when it is fed (pixel - mean) / std."""
    pixels = np.asarray(resize(decode(PICTURE), 8), np.float64)
    powers = np.exp(((pixels - mean) / std).mean(axis=(0, 1)))
    return powers / powers.sum()


@pytest.mark.parametrize("shape", [(8, 8, 3), (3, 8, 8)], ids=["last", "first"])
@pytest.mark.parametrize("batch", ["N", 1, None])
def test_channels_may_be_first_or_last(write, shape, batch):
    path = write(onnx_model(("x", FLOAT, [batch, *shape])))
    given = Normalization([123.7, 116.3, 103.5], [58.4, 57.1, 57.4])
    (found,) = load_classifier(path, None, given).predict([PICTURE])
    assert found == pytest.approx(expected(given.mean, given.std), abs=1e-5)


@pytest.mark.parametrize("name", ["x", "input"])
@pytest.mark.parametrize("shape", [(8, 8, 3), (3, 8, 8)], ids=["last", "first"])
def test_bytes_take_the_pixels_as_they_are(write, name, shape):
    path = write(onnx_model((name, UINT8, [1, *shape])))
    for given in (None, Normalization([127.5], [127.5])):
        (found,) = load_classifier(path, None, given).predict([PICTURE])
        assert found == pytest.approx(expected(0, 255), abs=2e-3)  # pixels are rounded


@pytest.mark.parametrize(
    ("name", "mean", "std"), [("pixels", 0, 1), ("input:0", 127.5, 127.5)]
)
def test_the_input_of_a_converted_graph_is_known_by_its_name(write, name, mean, std):
    path = write(onnx_model((name, FLOAT, ["N", 8, 8, 3])))
    (found,) = load_classifier(path).predict([PICTURE])
    assert found == pytest.approx(expected(mean, std), abs=1e-5)


@pytest.mark.parametrize(("text", "fed"), RANGES.items())
def test_metadata_gives_range_order_and_labels(write, text, fed):
    """Its keys and values are taken in any case."""
    metadata = {PIXEL_RANGE.upper(): text.lower(), PIXEL_FORMAT: "BGR8"}
    metadata["labels"] = "blue\ngreen\nred"
    classifier = load_classifier(write(onnx_model(INPUT, metadata=metadata), ()))
    assert classifier.labels == LABELS[::-1]
    (found,) = classifier.predict([PICTURE])
    assert found == pytest.approx(expected(*fed)[::-1], abs=1e-5)


def test_the_user_beats_the_metadata(write, tmp_path):
    (tmp_path / "mine.txt").write_text("a\nb\nc\n")
    metadata = {PIXEL_RANGE: "Normalized_0_1", "labels": "x\ny\nz"}
    path = write(onnx_model(INPUT, metadata=metadata), ())
    given = Normalization([127.5], [127.5])
    classifier = load_classifier(path, str(tmp_path / "mine.txt"), given)
    assert classifier.labels == ("a", "b", "c")
    (found,) = classifier.predict([PICTURE])
    assert found == pytest.approx(expected(127.5, 127.5), abs=1e-5)


def test_floats_that_nothing_describes_are_refused_with_what_to_give(write):
    with pytest.raises(
        ModelError,
        match=r"model.onnx' does not define how to scale pixels: .* named 'x', not "
        r"'pixels', .*; give --input_mean and --input_std, 127.5 and 127.5 for",
    ):
        load_classifier(write(onnx_model(INPUT)))


def test_a_grey_network_sees_the_brightness(write):
    path = write(onnx_model(("x", FLOAT, ["N", 1, 8, 8])), ["all"])
    given = Normalization([0], [255])
    (found,) = load_classifier(path, None, given).predict([PICTURE])
    assert found == pytest.approx([1])
    network = connect(path)
    network.normalize(given)
    pixels = np.asarray(resize(decode(PICTURE), 8))
    grey = (pixels @ [0.299, 0.587, 0.114])[..., None]
    assert network._fed(pixels) == pytest.approx(grey.transpose(2, 0, 1) / 255)
    with pytest.raises(ConfigError, match="the network takes grey pictures; give one"):
        load_classifier(path, None, Normalization([1, 2, 3], [1, 1, 1]))


OTHERS = {
    "no batch": [("x", FLOAT, [8, 8, 3])],
    "oblong": [("x", FLOAT, [1, 8, 16, 3])],
    "any size": [("x", FLOAT, [1, "height", "width", 3])],
    "a batch of 4": [("x", FLOAT, [4, 3, 8, 8])],
    "two channels": [("x", FLOAT, [1, 8, 8, 2])],
    "int32": [("x", TensorProto.INT32, [1, 8, 8, 3])],
    "two": [INPUT, ("ids", TensorProto.INT64, [1, 16])],
}


@pytest.mark.parametrize("inputs", OTHERS.values(), ids=OTHERS)
def test_an_input_that_is_no_picture_is_shown_and_refused(write, inputs):
    shown = f"{inputs[0][0]!r} tensor("
    with pytest.raises(
        ModelError,
        match=rf"model.onnx' takes {re.escape(shown)}.*; a classifier must take one "
        r"square picture of a fixed size, in 3 or 1 channels, float32 or uint8 \[N, S",
    ):
        load_classifier(write(onnx_model(*inputs)), None, Normalization([0], [1]))


@pytest.mark.parametrize(
    "outputs",
    [
        [("floats", FLOAT, ["N", 8, 8, 3])],
        [("scores", FLOAT, ["N", "L"]), ("means", FLOAT, ["N", "L"])],
    ],
    ids=["map", "two"],
)
def test_outputs_that_are_no_vector_are_shown_and_refused(write, outputs):
    path = write(onnx_model(INPUT, outputs=outputs))
    with pytest.raises(
        ModelError, match=r"' gives '\w+' tensor\(float\) .*; a classifier must give"
    ):
        load_classifier(path)


@pytest.mark.parametrize("data", [b"", b"no model", onnx_model(INPUT)[:-40]])
def test_a_damaged_file_is_named(write, data):
    with pytest.raises(ModelError, match="model.onnx' is not an ONNX model: "):
        load_classifier(write(data))


def test_the_processes_feed_it_in_the_same_way(write, tmp_path):
    classifier = load_classifier(
        write(
            onnx_model(("x", FLOAT, ["N", 3, 8, 8]), metadata={PIXEL_FORMAT: "Bgr8"})
        ),
        None,
        Normalization([123.7, 116.3, 103.5], [58.4, 57.1, 57.4]),
    )
    files = []
    for i in range(FEW + 8):
        random = np.random.default_rng(i)
        files.append(str(tmp_path / f"{i}.jpg"))
        (tmp_path / f"{i}.jpg").write_bytes(retraining.jpeg(random, i % 3))
    alone = classifier.predict([Path(file).read_bytes() for file in files])
    together = classify_files(classifier, list(map(source_of, files)), head_start_s=0)
    assert np.allclose(together, alone, atol=1e-6)


def test_the_flags_reach_the_model(write, tmp_path, capsys):
    (tmp_path / "one.jpg").write_bytes(PICTURE)
    path = write(onnx_model(("x", FLOAT, ["N", 3, 8, 8])))
    words = ["label", str(tmp_path / "one.jpg"), "--model", path, "--json"]
    assert run(words) == 1
    assert "give --input_mean and --input_std" in capsys.readouterr().err
    assert run([*words, "--input_mean", "127.5", "--input_std", "127.5"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    scores = {each["label"]: each["score"] for each in json.loads(line)["labels"]}
    found = [scores[label] for label in LABELS]
    assert found == pytest.approx(expected(127.5, 127.5), abs=1e-5)


def test_without_the_runtime_the_extra_is_named(write, monkeypatch):
    path = write(onnx_model(INPUT))
    for module in ("poets.classifier.onnx", "poets.features.engine_onnx"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        ModelError,
        match=r"cannot read an ONNX model: onnxruntime is not installed; python -m pip "
        r"install 'poets\[onnx\]'",
    ):
        load_classifier(path)


@pytest.fixture
def digits(tmp_path):
    """The input and output of the original OpenWhisk action's digit model."""
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((784, 10)).astype(np.float32)
    graph = make_graph(
        [
            make_node("Flatten", ["input_0"], ["flat"]),
            make_node("MatMul", ["flat", "weights"], ["output_0"]),
        ],
        "digits",
        [make_tensor_value_info("input_0", FLOAT, ["N", 1, 28, 28])],
        [make_tensor_value_info("output_0", FLOAT, ["N", 10])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    model = make_model(graph, opset_imports=[make_opsetid("", 13)], ir_version=8)
    (tmp_path / "digits.onnx").write_bytes(model.SerializeToString())
    return str(tmp_path / "digits.onnx"), weights


def test_the_engine_runs_the_digit_model_of_the_original_action(digits):
    path, weights = digits
    with Image.open(io.BytesIO(PICTURE)) as image:
        grey = np.asarray(image.resize((28, 28), Image.Resampling.LANCZOS).convert("L"))
    network = connect(path)
    assert (network.image_size_px, network.channels, network.output_size) == (28, 1, 10)
    network.normalize(Normalization([0], [255]))
    (logits,) = network.run([grey[..., None]])
    assert logits == pytest.approx(grey.reshape(784) / 255 @ weights, abs=1e-3)


def test_logits_are_no_scores(digits, tmp_path):
    (tmp_path / "ten.txt").write_text("\n".join(map(str, range(10))))
    with pytest.raises(ModelError, match="on a grey picture, not scores of 0 to 1"):
        load_classifier(digits[0], str(tmp_path / "ten.txt"), Normalization([0], [255]))
