"""The ONNX export: what its file holds, and that other runtimes answer alike."""

import hashlib
import json

import numpy as np
import onnx
import onnxruntime
import pytest

from poets.classifier import EngineClassifier, load_classifier
from poets.cli import run
from poets.errors import ConfigError, ModelError
from poets.export.onnx import build
from poets.system.runtime import tf, v1
from tests import retraining

pytest_plugins = ["tests.finished"]


@pytest.fixture(scope="module")
def built(built_as):
    """Path of the export of the small model."""
    return built_as("onnx")


@pytest.fixture(scope="module")
def trained(finished, tmp_path_factory):
    """The folder of the finished run, done again with the flag."""
    folder = tmp_path_factory.mktemp("onnx") / "out"
    store = str(finished.folder / "bottlenecks")
    retraining.retrain(folder, finished.image_dir, bottleneck_dir=store, onnx=True)
    return folder


def test_input_output_and_metadata_are_for_clients_to_read(built, small_model):
    model = onnx.load(str(built))
    onnx.checker.check_model(model, full_check=True)
    (given,), (answer,) = model.graph.input, model.graph.output
    assert (given.name, answer.name) == ("pixels", "final_result")
    assert given.type.denotation == "IMAGE"
    shapes = [
        [dim.dim_value for dim in each.type.tensor_type.shape.dim]
        for each in (given, answer)
    ]
    assert shapes == [[0, 96, 96, 3], [0, 3]]  # 0: any
    assert [(each.domain, each.version) for each in model.opset_import][0] == ("", 17)
    assert {each.key: each.value for each in model.metadata_props} == {
        "labels": "\n".join(small_model.labels),
        "Image.BitmapPixelFormat": "Rgb8",
        "Image.ColorSpaceGamma": "SRGB",
        "Image.NominalPixelRange": "NominalRange_0_255",
    }


def test_a_batch_of_pixels_is_scored_together(built, small_model, samples_of):
    samples = samples_of(small_model.head)
    session = onnxruntime.InferenceSession(built)
    (found,) = session.run(["final_result"], {"pixels": samples.pixels(96)})
    assert np.allclose(found, samples.expected, atol=1e-4)


def test_openvino_scores_alike(built, small_model, samples_of, require):
    try:
        import openvino
    except ModuleNotFoundError:
        require("openvino", None)
    samples = samples_of(small_model.head)
    compiled = openvino.Core().compile_model(str(built), "CPU")
    (found,) = compiled([samples.pixels(96)]).values()
    assert np.allclose(found, samples.expected, atol=1e-3)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_run_publishes_it_checked_and_labels_are_inside(trained, finished, capsys):
    metrics = json.loads((trained / "metrics.json").read_text())
    entry = metrics["exports"]["retrained_graph.onnx"]
    assert entry["sha256"] == digest(trained / "retrained_graph.onnx")
    assert entry["checked_images"] > 10
    assert entry["max_score_difference"] < 1e-4
    for name in ("metrics.json", "retrained_labels.txt"):
        (trained / name).rename(trained / f"{name}.away")
    classifier = load_classifier(str(trained / "retrained_graph.onnx"))
    assert isinstance(classifier, EngineClassifier)
    assert classifier.labels == ("daisy", "red roses", "tulips")
    contents = [path.read_bytes() for path in finished.image_dir.glob("tulips/?.jpg")]
    assert len(contents) > 3
    others = load_classifier(str(trained / "retrained_graph.tflite"))
    expected = others.predict(contents)
    assert np.allclose(classifier.predict(contents), expected, atol=1e-3)


def test_the_verb_labels_a_folder_with_it(trained, finished, capsys):
    model = str(trained / "retrained_graph.onnx")
    folder = str(finished.image_dir / "daisy")
    assert run(["label", folder, "--model", model, "--csv", "--top=1"]) == 1  # broken
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "image,label,score"
    assert len(lines) == 1 + sum(retraining.PER_SPLIT.values()) + 2


def test_it_is_off_by_default(finished):
    assert not (finished.folder / "retrained_graph.onnx").exists()


def test_a_missing_package_is_found_before_the_work(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "poets.preflight.find_spec", lambda name: None if name == "tf2onnx" else name
    )
    with pytest.raises(
        ConfigError,
        match=r"--onnx needs packages that are not installed: tf2onnx; python -m pip "
        r"install 'poets\[onnx\]', or leave --onnx out",
    ):
        retraining.retrain(tmp_path / "out", finished.image_dir, onnx=True)
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_network_that_does_not_convert_is_an_error(
    small_model, tmp_path, monkeypatch
):
    with tf.Graph().as_default() as graph:
        pixels = v1.placeholder(tf.float32, [None, 96, 96, 3], name="pixels")
        tf.signal.fft(tf.cast(pixels, tf.complex64), name="output")
    monkeypatch.setattr(
        "poets.export.onnx.scoring_graph", lambda model: graph.as_graph_def()
    )
    with pytest.raises(
        ModelError, match="cannot convert scattering_96 to ONNX: .+; leave --onnx out"
    ):
        build(small_model, str(tmp_path / "model.onnx"))
    assert not list(tmp_path.iterdir())
