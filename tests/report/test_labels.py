"""The labels of a model are those of its run, or the only ones that can be its own."""

import hashlib
import json

import pytest

from poets.errors import ModelError
from poets.report.labels import (
    ModelRun,
    labels_files,
    labels_of,
    read_labels,
    run_beside,
)

pytest_plugins = ["tests.far"]


def write_run(folder, labels, *names):
    """Writes exports of a run and its metrics.json."""
    exports = {}
    for name in names:
        (folder / name).write_bytes(f"{name} {labels}".encode())
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        exports[name] = {"sha256": digest}
    rows = [{"label": label} for label in labels]
    metrics = {"exports": exports, "labels": rows}
    (folder / "metrics.json").write_text(json.dumps(metrics))


def test_a_run_knows_what_it_exported_and_its_labels(tmp_path):
    write_run(tmp_path, ["daisy", "rosé"], "a.pb", "a.tflite")
    (tmp_path / "a.pb").rename(tmp_path / "renamed.pb")
    (tmp_path / "b_labels.txt").write_text("b\n")
    for name in ("renamed.pb", "a.tflite"):
        model = str(tmp_path / name)
        assert run_beside(model).made_model
        assert labels_of(model, run_beside(model)) == ("daisy", "rosé")


def test_of_two_runs_in_a_folder_each_model_has_its_own_labels(tmp_path, caplog):
    """metrics.json is of the later one."""
    write_run(tmp_path, ["daisy", "rose"], "output_graph.pb")
    (tmp_path / "output_labels.txt").write_text("daisy\nrose\n")
    write_run(tmp_path, ["common", "rare"], "retrained_graph.pb")
    (tmp_path / "retrained_labels.txt").write_text("common\nrare\n")
    for name, labels in (
        ("output_graph.pb", ("daisy", "rose")),
        ("retrained_graph.pb", ("common", "rare")),
    ):
        model = str(tmp_path / name)
        assert labels_of(model, run_beside(model)) == labels
    assert caplog.text == ""
    (tmp_path / "output_labels.txt").unlink()
    model = str(tmp_path / "output_graph.pb")
    assert labels_of(model, run_beside(model)) == ("common", "rare")
    assert "taking its labels from retrained_labels.txt; give" in caplog.text


def test_a_run_is_found_on_other_storages(tmp_path, far):
    write_run(tmp_path, ["a", "b"], "a.pb")
    url = far.url(tmp_path / "a.pb")
    assert run_beside(url).made_model


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"exports": []}',
        b'{"exports": {"a.pb": {}}, "labels": []}',
        b'{"exports": {"a.pb": null}, "labels": []}',
        b'{"exports": {}, "labels": ["daisy"]}',
        b'{"exports": {}, "labels": []}',
    ],
)
def test_metrics_of_something_else_know_no_model(tmp_path, content):
    (tmp_path / "metrics.json").write_bytes(content)
    (tmp_path / "a.pb").write_bytes(b"graph")
    assert not run_beside(str(tmp_path / "a.pb")).made_model


def test_without_metrics_no_run_is_known(tmp_path):
    assert run_beside(str(tmp_path / "a.pb")) == ModelRun()


@pytest.mark.parametrize(
    ("model", "labels"),
    [
        ("output_graph.pb", "output_labels.txt"),
        ("retrained_graph.pb", "retrained_labels.txt"),
        ("retrained_graph.tflite", "retrained_labels.txt"),
        ("graph.pb", "labels.txt"),
        ("a.pb", "a.txt"),
        ("a.pb", "a_labels.txt"),
        ("a-graph.pb", "A-Labels.TXT"),
        ("graph_2.pb", "labels_2.txt"),
        ("flowers_graph.pb", "flowers.label.txt"),
    ],
)
def test_the_text_with_the_models_stem_has_its_labels(model, labels):
    names = [model, labels, "zz.txt", "b_labels.txt", "1_labels.txt", "metrics.json"]
    assert labels_files(names, f"hdfs://h/run/{model}") == [labels]


@pytest.mark.parametrize("name", ["l.txt", "other_labels.txt", "README.txt"])
def test_the_only_text_there_has_the_labels(tmp_path, name):
    (tmp_path / name).write_text("daisy\r\nroses\n")
    (tmp_path / ".hidden.txt").write_text("a\n")
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "split.csv").write_text("path,label\n")
    assert labels_of(str(tmp_path / "graph.pb"), ModelRun()) == ("daisy", "roses")


def test_a_model_in_the_current_folder_has_its_labels_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path, ["a"], "a.pb")
    (tmp_path / "b_labels.txt").write_text("b\n")
    assert run_beside("a.pb").made_model
    assert labels_of("b.pb", ModelRun()) == ("b",)


@pytest.mark.parametrize("names", [("a.txt", "b.txt"), ("g.txt", "g_labels.txt")])
def test_several_texts_are_named(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("daisy\n")
    with pytest.raises(
        ModelError,
        match="cannot choose the labels of '.*/g.pb': found no metrics.json of its "
        f"run, and {names[0]!r}, {names[1]!r} beside it; give one by --labels",
    ):
        labels_of(str(tmp_path / "g.pb"), ModelRun())


def test_no_text_at_all_is_an_error(tmp_path):
    with pytest.raises(
        ModelError,
        match="no labels file beside '.*/g.pb': found no metrics.json of its run and "
        r"no \.txt file; give one by --labels",
    ):
        labels_of(str(tmp_path / "g.pb"), ModelRun())


def test_labels_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "l.txt").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ModelError, match=r"l.txt' is not UTF-8 text"):
        read_labels(str(tmp_path / "l.txt"))
