"""No export is published that answers otherwise than the head that was trained."""

import re
import shutil

import numpy as np
import pytest

from poets.backbones import load_backbone
from poets.backbones.graph import pixel_graph
from poets.data.images import decode, resize
from poets.errors import ModelError
from poets.export import results
from poets.export.results import build_exports
from poets.export.verify import Samples, check_frozen_graph
from poets.features.engine_litert import connect
from poets.features.engines import load_engine
from poets.flags import config_from_args
from poets.head import Head
from tests import retraining

pytest_plugins = ["tests.finished"]
LABELS = ("daisy", "roses", "tulips")


@pytest.fixture(scope="module")
def backbone():
    args = {"image_dir": "unused", "architecture": "scattering_96"}
    return load_backbone(config_from_args(args))


@pytest.fixture(scope="module")
def contents():
    rng = np.random.default_rng(3)
    return [retraining.jpeg(rng, number % 3) for number in range(6)]


@pytest.fixture(scope="module")
def samples_of(backbone, contents, tmp_path_factory):
    """Returns a function from a head to the samples that it answers."""
    path = tmp_path_factory.mktemp("engine") / "backbone.pb"
    path.write_bytes(pixel_graph(backbone))
    pictures = [resize(decode(data), 96) for data in contents]
    bottlenecks = load_engine("tensorflow", str(path)).run(pictures)
    paths = [f"daisy/{number}.jpg" for number in range(len(contents))]
    return lambda head: Samples(paths, contents, head.probabilities(bottlenecks))


def head_for(backbone, spread=1.0):
    rng = np.random.default_rng(4)
    weights = rng.standard_normal((backbone.bottleneck_size, 3)) * spread
    return Head(weights.astype(np.float32), np.zeros(3, np.float32))


def other_order(head):
    return Head(head.weights[:, ::-1].copy(), head.biases[::-1].copy())


def test_right_exports_pass_and_say_how_close_they_are(backbone, samples_of, tmp_path):
    head = head_for(backbone)
    folder = str(tmp_path / "out")
    flags = {"image_dir": "x", "output_graph": f"{folder}/g.pb"}
    config = config_from_args({**flags, "saved_model_dir": f"{folder}/1"})
    samples = samples_of(head)
    exports = build_exports(config, backbone, head, LABELS, samples, str(tmp_path))
    assert [export.url for export in exports] == [
        f"{folder}/{name}" for name in ("g.pb", "g.tflite", "1")
    ]
    for export in exports:
        assert export.check.images == 6
        assert 0 <= export.check.max_score_difference < 1e-2


def test_the_litert_export_takes_a_batch_of_pixels(backbone, samples_of, tmp_path):
    head = head_for(backbone)
    config = config_from_args({"image_dir": "x", "saved_model_dir": ""})
    samples = samples_of(head)
    exports = build_exports(config, backbone, head, LABELS, samples, str(tmp_path))
    assert len(exports) == 2
    (tmp_path / "c.tflite").write_bytes(exports[1].data)
    found = connect(str(tmp_path / "c.tflite")).run(list(samples.pixels(96)))
    assert np.allclose(found, samples.expected, atol=1e-2)


def test_an_export_of_another_head_is_refused(backbone, samples_of, tmp_path):
    """The scores are of another head than the one that is exported."""
    head = head_for(backbone)
    wrong = samples_of(other_order(head))
    config = config_from_args({"image_dir": "x"})
    with pytest.raises(
        ModelError,
        match=r"the retrained graph at input:0 gives another label than the trained "
        r"head on \d of 6 test images, first 'daisy/\d.jpg'; nothing was published",
    ):
        build_exports(config, backbone, head, LABELS, wrong, str(tmp_path))


def test_a_head_that_is_undecided_is_no_disagreement(backbone, samples_of):
    head = Head(np.zeros((backbone.bottleneck_size, 3), np.float32), np.zeros(3, "f4"))
    samples = samples_of(head)
    noisy = Head(head.weights, np.array([0, 1e-6, 0], np.float32))
    data = results.frozen_graph(backbone, noisy, "final_result")
    assert check_frozen_graph(data, LABELS, backbone, samples).images == 6


def test_without_test_images_nothing_is_compared(backbone):
    head = head_for(backbone)
    data = results.frozen_graph(backbone, head, "final_result")
    none = Samples([], [], np.zeros((0, 3), np.float32))
    assert check_frozen_graph(data, LABELS, backbone, none).images == 0


@pytest.mark.parametrize(
    "export", ["frozen_graph", "litert_model", "write_saved_model"]
)
def test_a_wrong_export_publishes_nothing_and_earlier_results_stay(
    finished, tmp_path, monkeypatch, export
):
    """The weights are changed between training and writing one of the exports."""
    right = getattr(results, export)

    def spoilt(*args):
        return right(*(other_order(a) if isinstance(a, Head) else a for a in args))

    out = shutil.copytree(finished.folder, tmp_path / "out")
    before = retraining.snapshot(out)
    monkeypatch.setattr(results, export, spoilt)
    with pytest.raises(
        ModelError, match="gives another label .* nothing was published"
    ):
        retraining.retrain(out, finished.image_dir, learning_rate=0.02)
    after = retraining.snapshot(out)
    assert {k: v for k, v in after.items() if not k.startswith("summaries")} == {
        k: v for k, v in before.items() if not k.startswith("summaries")
    }


def test_a_turned_image_is_noted_and_judged_without_its_orientation(finished):
    (note,) = finished.metrics["notes"]
    assert re.match(
        r"1 of \d+ test images for checking the exports are rotated by an EXIF "
        "orientation, which TensorFlow's decoder ignores",
        note,
    )
    tests = finished.metrics["accuracy"]["test"]["n"]
    for export in finished.metrics["exports"].values():
        assert export["checked_images"] >= tests - 1
        assert export["max_score_difference"] < 1e-3
