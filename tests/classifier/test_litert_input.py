"""A `.tflite` of another maker is fed as it wants, or refused with what to give.

The networks are of three operations: the mean of each channel as it arrives, softmax.
What they answer therefore shows what they were fed.
"""

import functools
import json
import re
from pathlib import Path

import numpy as np
import pytest

from poets.backbones.graph import PIXELS_NAME
from poets.classifier import EngineClassifier, load_classifier
from poets.classifier.many import FEW, classify_files
from poets.classifier.scaling import BY_NAME
from poets.classifier.sources import source_of
from poets.classifier.tflite_metadata import add_metadata
from poets.cli import run
from poets.data.images import decode, resize
from poets.errors import ConfigError, ModelError
from poets.features.engines import Normalization
from poets.system.runtime import tf, v1
from tests import retraining

pytest_plugins = ["tests.finished"]

LABELS = ("red", "green", "blue")
RANGES = {"-1 to 1": (127.5, 127.5), "0 to 1": (0.0, 255.0), "0 to 255": (0.0, 1.0)}
PICTURE = retraining.jpeg(np.random.default_rng(0), 0)


def means_of(images):
    return tf.reduce_mean(images, axis=[1, 2])


def classify(images):
    return [tf.nn.softmax(means_of(images), name="scores")]


@functools.cache
def convert(*inputs, build=classify, integers=None, fed=(127.5, 127.5)):
    """Returns the content of a `.tflite`.

    Args:
      inputs: name, shape and type of each placeholder.
      build: makes the outputs from the placeholders.
      integers: the type of inputs and outputs of a quantised one.
      fed: mean and std of its range, if quantised.
    """
    with tf.Graph().as_default():
        given = [v1.placeholder(dtype, shape, name) for name, shape, dtype in inputs]
        with v1.Session() as session:
            outputs = build(*given)
            make = v1.lite.TFLiteConverter.from_session
            converter = make(session, given, outputs)
            if integers:
                mean, std = fed
                ends = np.linspace(0, 255, 8 * 8 * 3).reshape(1, 8, 8, 3)
                pictures = [((ends - mean) / std).astype(np.float32)]
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
                converter.representative_dataset = lambda: [pictures]
                converter.target_spec.supported_ops = [
                    tf.lite.OpsSet.TFLITE_BUILTINS_INT8
                ]
                converter.inference_input_type = integers
                converter.inference_output_type = integers
            return converter.convert()


def picture_input(name, shape=(1, 8, 8, 3), dtype=tf.float32):
    return (name, shape, dtype)


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes a model and its labels, and returns its path."""

    def call(data, name="model.tflite", labels=LABELS):
        (tmp_path / name).write_bytes(data)
        if labels:
            (tmp_path / "model.txt").write_text("".join(f"{x}\n" for x in labels))
        return str(tmp_path / name)

    return call


def expected(mean, std):
    """Returns what the network answers when it is fed (pixel - mean) / std."""
    pixels = np.asarray(resize(decode(PICTURE), 8), np.float64)
    powers = np.exp(((pixels - mean) / std).mean(axis=(0, 1)))
    return powers / powers.sum()


def test_the_name_of_our_own_input_is_known():
    assert BY_NAME[PIXELS_NAME] == Normalization([0], [1])


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("suffix", [".tflite", ".lite"])
def test_the_input_of_a_retrained_graph_is_known_by_its_name(write, name, suffix):
    path = write(convert(picture_input(name)), f"model{suffix}")
    (found,) = load_classifier(path).predict([PICTURE])
    (mean,), (std,) = BY_NAME[name].mean, BY_NAME[name].std
    assert found == pytest.approx(expected(mean, std), abs=1e-5)


@pytest.mark.parametrize("name", ["sequential_1_input", "images", "Input"])
def test_floats_that_nothing_describes_are_refused_with_what_to_give(write, name):
    path = write(convert(picture_input(name)))
    with pytest.raises(
        ModelError,
        match=rf"model.tflite' does not define how to scale pixels: .* named '{name}', "
        r"not 'pixels', .*; give --input_mean and --input_std, 127.5 and 127.5 for",
    ):
        load_classifier(path)


@pytest.mark.parametrize("fed", RANGES.values(), ids=RANGES)
def test_what_the_user_says_beats_name_and_metadata(write, fed):
    data = convert(picture_input("input"))
    data = add_metadata(data, LABELS, Normalization([1], [2]))
    given = Normalization(*([value] for value in fed))
    (found,) = load_classifier(write(data), None, given).predict([PICTURE])
    assert found == pytest.approx(expected(*fed), abs=1e-5)


@pytest.mark.parametrize(
    ("mean", "std"),
    [([127.5], [127.5]), ([0], [255]), ([123.7, 116.3, 103.5], [58.4, 57.1, 57.4])],
)
def test_metadata_says_how_to_feed_and_names_the_labels(write, mean, std):
    data = convert(picture_input("input"))
    path = write(add_metadata(data, LABELS, Normalization(mean, std)), labels=None)
    classifier = load_classifier(path)
    assert classifier.labels == LABELS
    (found,) = classifier.predict([PICTURE])
    assert found == pytest.approx(expected(mean, std), abs=1e-5)


def test_labels_of_the_user_beat_those_inside(write, tmp_path):
    data = convert(picture_input("input"))
    path = write(add_metadata(data, LABELS, Normalization([0], [1])))
    (tmp_path / "mine.txt").write_text("a\nb\nc\n")
    assert load_classifier(path).labels == LABELS
    found = load_classifier(path, str(tmp_path / "mine.txt"))
    assert found.labels == ("a", "b", "c")


@pytest.mark.parametrize(
    ("name", "fed"),
    [
        ("input", RANGES["-1 to 1"]),
        *(("serving_default_x", fed) for fed in RANGES.values()),
    ],
)
@pytest.mark.parametrize("integers", [tf.uint8, tf.int8], ids=lambda of: of.name)
def test_eight_bits_take_the_pixels_in_their_whole_range(write, integers, fed, name):
    """Whatever real numbers its integers mean; scores are real numbers again."""
    path = write(convert(picture_input(name), integers=integers, fed=fed))
    (found,) = load_classifier(path).predict([PICTURE])
    assert found.dtype == np.float32
    assert found == pytest.approx(expected(*fed), abs=0.03)
    assert found.sum() == pytest.approx(1, abs=0.02)


def cast(images):
    return [tf.nn.softmax(means_of(tf.cast(images, tf.float32)) / 255)]


def test_bytes_without_quantisation_are_pixels(write):
    path = write(convert(picture_input("x", dtype=tf.uint8), build=cast))
    (found,) = load_classifier(path).predict([PICTURE])
    assert found == pytest.approx(expected(0, 255), abs=2e-3)  # pixels are rounded


TEXT = ("ids", (1, 16), tf.int32)
OTHERS = {
    "channels first": [("x", (1, 3, 8, 8), tf.float32)],
    "grey": [("x", (1, 8, 8, 1), tf.float32)],
    "no batch": [("x", (8, 8, 3), tf.float32)],
    "oblong": [("x", (1, 8, 16, 3), tf.float32)],
    "any size": [("x", (1, None, None, 3), tf.float32)],
    "a batch of 4": [("x", (4, 8, 8, 3), tf.float32)],
    "int32": [("x", (1, 8, 8, 3), tf.int32)],
    "text": [TEXT],
    "two": [("x", (1, 8, 8, 3), tf.float32), TEXT],
}


def one_score_each(*given):
    sums = [tf.reduce_sum(tf.cast(one, tf.float32)) for one in given]
    return [tf.reshape(tf.sigmoid(tf.add_n(sums)), [1, 1])]


@pytest.mark.parametrize("inputs", OTHERS.values(), ids=OTHERS)
def test_an_input_that_is_no_picture_is_shown_and_refused(write, inputs):
    path = write(convert(*inputs, build=one_score_each))
    name, shape, dtype = inputs[0]
    sizes = [size or -1 for size in shape]
    with pytest.raises(
        ModelError,
        match=rf"' takes .*'{name}' {dtype.name} {re.escape(str(sizes))}.*; "
        r"a classifier must take one square RGB picture, float32, .* \[1, S, S, 3\]",
    ):
        load_classifier(path, None, Normalization([0], [1]))


def a_map(images):
    return [tf.nn.softmax(images)]


def two_answers(images):
    return [*classify(images), tf.nn.sigmoid(means_of(images))]


@pytest.mark.parametrize("build", [a_map, two_answers])
def test_outputs_that_are_no_vector_are_shown_and_refused(write, build):
    path = write(convert(picture_input("input"), build=build))
    with pytest.raises(ModelError, match=r"' gives '.* float32 \[1, .*; a classifier "):
        load_classifier(path)


def logits(images):
    return [7 * means_of(images) - 3]


def test_logits_are_refused(write):
    path = write(convert(picture_input("input"), build=logits))
    with pytest.raises(
        ModelError, match=r"gives -2.97 to -2.97 on a grey picture, not scores of 0 to"
    ):
        load_classifier(path)


def test_the_processes_feed_it_in_the_same_way(write, tmp_path):
    data = convert(picture_input("serving_default_x"))
    given = Normalization([123.7, 116.3, 103.5], [58.4, 57.1, 57.4])
    classifier = load_classifier(write(data), None, given)
    assert isinstance(classifier, EngineClassifier)
    files = []
    for i in range(FEW + 8):
        random = np.random.default_rng(i)
        files.append(str(tmp_path / f"{i}.jpg"))
        (tmp_path / f"{i}.jpg").write_bytes(retraining.jpeg(random, i % 3))
    alone = classifier.predict([Path(file).read_bytes() for file in files])
    sources = [source_of(file) for file in files]
    together = classify_files(classifier, sources, head_start_s=0)
    assert np.allclose(together, alone, atol=1e-6)


def test_the_flags_reach_the_model(write, tmp_path, capsys):
    (tmp_path / "one.jpg").write_bytes(PICTURE)
    path = write(convert(picture_input("serving_default_x")))
    words = ["label", str(tmp_path / "one.jpg"), "--model", path, "--json"]
    assert run(words) == 1
    assert "give --input_mean and --input_std" in capsys.readouterr().err
    assert run([*words, "--input_mean", "127.5", "--input_std", "127.5"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    scores = {each["label"]: each["score"] for each in json.loads(line)["labels"]}
    found = [scores[label] for label in LABELS]
    assert found == pytest.approx(expected(127.5, 127.5), abs=1e-5)


@pytest.mark.parametrize(
    "flags",
    [
        *(
            ["--input_mean=127.5"],
            ["--input_std=1"],
            ["--input_mean=", "--input_std=1"],
        ),
        *(["--input_mean=0", "--input_std=0"], ["--input_mean=x", "--input_std=1"]),
        *(
            ["--input_mean=1,2,3", "--input_std=1"],
            ["--input_mean=1,2", "--input_std=1,2"],
        ),
        ["--input_mean=nan", "--input_std=1"],
    ],
    ids=" ".join,
)
def test_flags_that_are_no_normalisation_are_the_users_mistake(
    write, tmp_path, flags, capsys
):
    (tmp_path / "one.jpg").write_bytes(PICTURE)
    path = write(convert(picture_input("input")))
    assert run(["label", str(tmp_path / "one.jpg"), "--model", path, *flags]) == 2
    assert "; give both, each as one number or three" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["retrained_graph.pb", "saved_model/1"])
def test_other_models_take_no_normalisation(finished, model):
    with pytest.raises(
        ConfigError, match="graphs and SavedModels scale .* leave them out"
    ):
        load_classifier(str(finished.folder / model), None, Normalization([0], [1]))


def test_the_conversion_of_our_graph_answers_as_the_graph(finished, tmp_path):
    """As the codelab converts it, by the graph's names, to `optimized_graph.lite`."""
    shapes = {"input": [1, 96, 96, 3]}
    converter = v1.lite.TFLiteConverter.from_frozen_graph(
        str(finished.graph), ["input"], ["final_result"], shapes
    )
    (tmp_path / "optimized_graph.lite").write_bytes(converter.convert())
    (tmp_path / "retrained_labels.txt").write_text("\n".join(finished.labels))
    classifier = load_classifier(str(tmp_path / "optimized_graph.lite"))
    contents = [path.read_bytes() for path in finished.image_dir.glob("tulips/?.jpg")]
    assert len(contents) > 3
    ours = load_classifier(str(finished.graph)).predict(contents)
    assert np.allclose(classifier.predict(contents), ours, atol=1e-4)
