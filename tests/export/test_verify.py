"""No export is published that answers otherwise than the head that was trained."""

import importlib
import re
import shutil
from dataclasses import replace

import pytest

from poets.errors import ModelError
from poets.export.results import build_exports
from poets.flags import config_from_args
from poets.formats import FORMATS
from poets.head import Head
from tests import retraining

pytest_plugins = ["tests.finished"]


def other_order(head):
    return Head(head.weights[:, ::-1].copy(), head.biases[::-1].copy())


def test_the_flags_choose_the_exports_and_their_places(
    small_model, samples_of, tmp_path
):
    flags = {"image_dir": "x", "output_graph": "out/g.pb"}
    config = config_from_args({**flags, "saved_model_dir": "out/1"})
    samples = samples_of(small_model.head)
    exports = build_exports(config, small_model, samples, str(tmp_path))
    assert [each.url for each in exports] == ["out/g.pb", "out/g.tflite", "out/1"]
    assert all(each.check.images == 6 for each in exports)
    assert all(row.url(config) for row in FORMATS.values() if row.optional)


def test_a_network_that_does_not_convert_has_no_optional_export(
    small_model, samples_of, tmp_path, monkeypatch, caplog
):
    def refuse(graph):
        raise ModelError("cannot convert to LiteRT: no Where")

    monkeypatch.setattr("poets.export.litert.convert_to_litert", refuse)
    config = config_from_args({"image_dir": "x", "saved_model_dir": ""})
    samples = samples_of(small_model.head)
    (graph,) = build_exports(config, small_model, samples, str(tmp_path))
    assert graph.url == config.output_graph
    assert "no Where: /tmp/output_graph.tflite is not written" in caplog.text


@pytest.mark.parametrize("name", ["frozen", "litert", "saved_model"])
def test_a_wrong_export_publishes_nothing_and_earlier_results_stay(
    finished, tmp_path, monkeypatch, name
):
    """The weights are changed between training and writing one of the exports."""
    exporter = importlib.import_module(FORMATS[name].exporter)
    build = exporter.build

    def spoilt(model, path):
        build(replace(model, head=other_order(model.head)), path)

    out = shutil.copytree(finished.folder, tmp_path / "out")
    before = retraining.snapshot(out)
    monkeypatch.setattr(exporter, "build", spoilt)
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
