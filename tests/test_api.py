"""Poets as other programs and notebooks use it: functions of the package."""

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import poets
from poets import cli
from poets.api import Prediction, Predictions
from poets.errors import ConfigError, DatasetError, ModelError
from poets.report.findings import SECTIONS
from tests import retraining

SMALL = {"architecture": "scattering_96", "how_many_training_steps": 60, "processes": 1}


@pytest.fixture(scope="module")
def image_dir(tmp_path_factory):
    return retraining.write_images(tmp_path_factory.mktemp("data") / "images")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Features of these tests are kept in a cache of their own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("POETS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def run(image_dir, tmp_path_factory):
    return poets.retrain(
        image_dir, output_dir=tmp_path_factory.mktemp("out") / "run", **SMALL
    )


def test_a_run_says_what_it_achieved(run):
    assert run.labels == ("daisy", "red roses", "tulips")
    metrics = json.loads(Path(run.url, "metrics.json").read_text())
    assert run.accuracy == metrics["accuracy"]["test"]["accuracy"] > 0.5
    assert run.confusion.sum() == metrics["accuracy"]["test"]["n"]
    assert np.trace(run.confusion) == metrics["accuracy"]["test"]["correct"]


def test_a_run_is_shown_as_poets_results_shows_it(run, capsys):
    assert cli.run(["results", run.url]) == 0
    assert capsys.readouterr().out.strip().endswith(str(run))
    assert f"{run.accuracy:.1%}" in str(run)
    assert repr(run) == f"Run({run.url!r})"


def test_a_run_lists_its_images(run, image_dir):
    rows = run.images
    assert all(Path(image_dir, row["path"]).is_file() for row in rows)
    assert len(rows) == retraining.IMAGES
    tested = [row for row in rows if row["split"] == "test"]
    right = [row["label"].lower() == row["predicted_label"] for row in tested]
    assert sum(right) / len(right) == pytest.approx(run.accuracy, abs=1e-6)


def test_output_dir_keeps_results_together_and_features_in_the_cache(run, cache):
    left = {path.name for path in Path(run.url).iterdir()}
    assert left == {
        *(row.csv for row in SECTIONS.values() if row.csv),
        "checkpoint.data-00000-of-00001",
        "checkpoint.index",
        "metrics.json",
        "report.html",
        "report.json",
        "retrained_graph.pb",
        "retrained_graph.tflite",
        "retrained_labels.txt",
        "saved_models",
        "skipped_images.csv",
        "split.csv",
        "training_summaries",
    }
    assert list(cache.glob("bottlenecks/*/part-*.parquet"))


def test_a_second_run_in_the_same_process_computes_no_picture_again(
    image_dir, run, tmp_path
):
    with retraining.logged() as lines:
        other = poets.retrain(image_dir, output_dir=tmp_path, seed=1, **SMALL)
    assert "0 bottleneck files created." in lines
    assert other.labels == run.labels
    assert other.metrics["seed"] == 1


@pytest.mark.parametrize("what", ["run", "folder", "graph", "tflite"])
def test_a_classifier_is_loaded_from_a_run_or_any_of_its_models(run, image_dir, what):
    source = {
        "run": run,
        "folder": Path(run.url),
        "graph": run.model,
        "tflite": Path(run.url, "retrained_graph.tflite"),
    }[what]
    path = next(Path(image_dir, "daisy").iterdir())
    classifier = poets.load(source)
    assert classifier.labels == run.labels
    by_path, by_content = classifier.predict([path, path.read_bytes()])
    assert by_path.image == path
    assert by_path.scores == by_content.scores
    assert set(by_path.scores) == set(run.labels)
    assert (
        by_path.score == max(by_path.scores.values()) == by_path.scores[by_path.label]
    )
    assert sum(by_path.scores.values()) == pytest.approx(1, abs=1e-5)


def test_an_image_that_cannot_be_read_does_not_lose_the_others(run, image_dir):
    path = next(Path(image_dir, "tulips").iterdir())
    broken, good = poets.load(run).predict([b"no picture", str(path)])
    assert (broken.label, broken.score) == ("", 0.0)
    assert "no picture" in broken.failure or "image" in broken.failure
    assert good.label
    assert good.failure == ""


def test_a_notebook_shows_predictions_with_their_pictures(run, image_dir):
    path = next(Path(image_dir, "daisy").iterdir())
    found = poets.load(run).predict([path, path.read_bytes(), b"no <picture>"])
    hostile = Prediction(str(path), {"<script>": 0.5})
    shown = Predictions([*found, hostile])._repr_html_()
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', shown)
    assert [base64.b64decode(text)[:2] for text in pictures] == [b"\xff\xd8"] * 3
    assert f"{found[0].label} {found[0].score:.1%}</figure>" in shown
    assert "&lt;script&gt; 50.0%</figure>" in shown
    assert "<script>" not in shown
    assert shown.count("<figure") == 4


def test_one_image_is_no_list_of_images(run):
    with pytest.raises(ConfigError, match=r"takes a list of images; give \[image\]"):
        poets.load(run).predict("new.jpg")


def test_results_of_a_folder_are_read_again(run):
    again = poets.results(run.url)
    assert (again.labels, again.accuracy) == (run.labels, run.accuracy)
    assert poets.load(again).labels == run.labels


def test_results_of_the_original_script_have_labels_and_no_accuracy(run, tmp_path):
    for name in ("retrained_graph.pb", "retrained_labels.txt"):
        (tmp_path / name).write_bytes(Path(run.url, name).read_bytes())
    found = poets.results(tmp_path)
    assert found.labels == run.labels
    with pytest.raises(ModelError, match="has no metrics.json with 'accuracy'"):
        assert found.accuracy


def test_a_sweep_returns_its_table_and_the_best_run(image_dir, tmp_path):
    swept = poets.sweep(
        image_dir, {"learning_rate": [0.01, 0.1]}, output_dir=tmp_path, **SMALL
    )
    assert {row["flags"]["learning_rate"] for row in swept.table} == {0.01, 0.1}
    shares = [row["accuracy"]["validation"]["accuracy"] for row in swept.table]
    assert shares == sorted(shares, reverse=True)
    assert swept.best.url == str(tmp_path / "best")
    first, second = str(swept).splitlines()[1:]
    assert first.startswith(f"*  {swept.table[0]['flags']['learning_rate']}")
    assert second.split()[0] == str(swept.table[1]["flags"]["learning_rate"])
    assert swept.chart == (tmp_path / "sweep.png").read_bytes()
    assert poets.load(swept.best).labels == swept.best.labels


def test_wrong_flags_are_reported_as_on_the_command_line(image_dir):
    with pytest.raises(ConfigError) as caught:
        poets.retrain(image_dir, learning_rat=0.1, seed=-1)
    assert "unknown flag 'learning_rat' (did you mean" in str(caught.value)
    assert "--seed=-1: must be at least 0" in str(caught.value)


def test_what_is_wrong_with_the_images_is_an_error_of_poets(tmp_path):
    with pytest.raises(DatasetError, match="Image directory"):
        poets.retrain(tmp_path / "absent", output_dir=tmp_path / "out")


def test_flags_that_travel_by_the_environment_end_with_the_run(
    image_dir, tmp_path, monkeypatch
):
    monkeypatch.setenv("POETS_HADOOP_CONF", "as it was")
    with pytest.raises(DatasetError):
        poets.retrain(
            tmp_path / "absent",
            output_dir=tmp_path / "out",
            hadoop_conf=tmp_path,
            kerberos_keytab="",
        )
    assert os.environ["POETS_HADOOP_CONF"] == "as it was"


def test_importing_poets_loads_nothing_else():
    program = (
        "import sys, poets; assert 'numpy' not in sys.modules; "
        "assert {'retrain', 'load', 'results', 'sweep'} <= set(dir(poets))"
    )
    done = subprocess.run([sys.executable, "-c", program], timeout=300, check=False)
    assert done.returncode == 0
