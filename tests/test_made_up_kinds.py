"""What comes in kinds is a row in a table: nothing else has to know its name."""

import json

import pytest

from poets.backbones import FAMILIES, Family
from poets.cli import run
from poets.data.dataset import find_images
from poets.data.packs import KINDS
from poets.formats import FORMATS, Format, beside
from tests import retraining
from tests.made_up_pack import packed


@pytest.fixture
def retrain(tmp_path, monkeypatch):
    """Returns a function that runs the verb on drawn pictures; gives its exit code."""
    monkeypatch.setenv("POETS_CACHE", str(tmp_path / "cache"))
    image_dir = retraining.write_images(tmp_path / "images")

    def call(*flags):
        few = ["--how_many_training_steps=60", "--processes=1", "--saved_model_dir="]
        words = [str(image_dir), f"--output_dir={tmp_path / 'out'}", *few, *flags]
        return run(["retrain", *words])

    return call


@pytest.fixture
def backbone(monkeypatch):
    family = Family(
        "tests.made_up_backbone", ("made_up_24",), "made_up_24", "it has no weights"
    )
    monkeypatch.setitem(FAMILIES, "made_up", family)
    return "made_up_24"


@pytest.fixture
def suffix(monkeypatch):
    made_up = Format(
        title="made-up model",
        exporter="tests.made_up_format",
        reader="tests.made_up_format",
        url=lambda config: beside(config.output_graph, ".made_up"),
        suffixes=(".made_up",),
    )
    monkeypatch.setitem(FORMATS, "made_up", made_up)
    return ".made_up"


def test_a_backbone_and_a_format_go_from_pictures_to_labels(
    retrain, backbone, suffix, tmp_path, capsys
):
    """The backbone takes each channel with its own mean and std, in every export."""
    assert retrain(f"--architecture={backbone}") == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["model"]["backbone"] == backbone
    exports = metrics["exports"]
    assert {f"retrained_graph{each}" for each in (".pb", ".tflite", suffix)} == {
        *exports
    }
    for export in exports.values():
        assert export["checked_images"] > 0
        assert export["max_score_difference"] < 1e-4

    capsys.readouterr()
    pictures = sorted(map(str, (tmp_path / "images" / "tulips").iterdir()))[:4]
    model = str(tmp_path / "out" / f"retrained_graph{suffix}")
    assert run(["label", *pictures, "--model", model, "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert run(["label", *pictures, "--model", str(tmp_path / "out"), "--json"]) == 0
    others = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for one, other in zip(found, others, strict=True):
        scores = {each["label"]: each["score"] for each in one["labels"]}
        expected = {each["label"]: each["score"] for each in other["labels"]}
        assert scores == pytest.approx(expected, abs=1e-5)
        assert len(scores) == 3

    assert run(["results", str(tmp_path / "out")]) == 0
    assert "made-up model" in capsys.readouterr().out
    assert run(["label", "x.jpg", "--model", "absent"]) == 2  # no such picture
    assert run(["label", *pictures, "--model", "absent"]) == 1
    assert "made-up model (.made_up)" in capsys.readouterr().err


def test_a_backbone_is_suggested_and_refused_by_its_row(retrain, backbone, capsys):
    assert retrain("--architecture=made_up_42") == 2
    assert "did you mean 'made_up_24'?" in capsys.readouterr().err
    assert retrain(f"--architecture={backbone.upper()}", "--fine_tune_steps=1") == 2
    assert (
        "--architecture='made_up_24' cannot be fine-tuned: it has no weights"
        in capsys.readouterr().err
    )


def test_a_form_of_packs_has_the_pictures_of_its_folders(tmp_path, monkeypatch):
    monkeypatch.setitem(KINDS, ".made_up", "tests.made_up_pack")
    folder = retraining.write_images(tmp_path / "images")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    pack = tmp_path / "pictures.made_up"
    pack.write_bytes(
        packed({str(each.relative_to(folder)): each.read_bytes() for each in files})
    )
    listed, expected = find_images(str(pack)), find_images(str(folder))
    assert listed.labels == expected.labels
    paths = expected.images.paths.to_pylist()
    assert listed.images.paths.to_pylist() == paths
    assert [*listed.read(paths)] == [*expected.read(paths)]
