"""`poets results` as its users run it."""

import argparse
import json

import pytest

from poets.cli import results
from poets.errors import ModelError, StorageError

pytest_plugins = ["tests.far"]


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    results.add_arguments(parser)
    args = parser.parse_args(list(map(str, arguments)))
    return args.func(args)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "retrained_graph.pb").write_bytes(b"graph")
    (tmp_path / "retrained_labels.txt").write_text("daisy\nrosé\n", encoding="utf-8")
    (tmp_path / ".retrained_graph.pb.1.part").write_bytes(b"gr")
    return tmp_path


def test_a_folder_is_listed_then_summarized(folder, capsys):
    accuracy = {
        "test": {"n": 4, "correct": 3, "accuracy": 0.75, "interval_95": [0.3, 1]}
    }
    (folder / "metrics.json").write_text(json.dumps({"accuracy": accuracy}))
    assert run(folder) == 0
    listing, facts, *_ = capsys.readouterr().out.split("\n\n")
    assert listing.startswith("Found 3 items\n-rw-")
    assert listing.count("\n") == 3
    assert facts == (
        "labels      2: daisy, rosé\n"
        "test         75.0%  95 % interval 30.0% to 100.0%  (3 of 4)"
    )


def test_json_has_the_listing_and_the_figures(folder, capsys):
    (folder / "metrics.json").write_text('{"seed": 7}')
    (folder / "skipped_images.csv").write_text("path,reason\na,cut\nb,cut\n")
    assert run(folder, "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["skipped"] == {"cut": 2}
    assert data["metrics"] == {"seed": 7}
    assert data["labels"] == ["daisy", "rosé"]
    assert [entry["path"] for entry in data["listing"]] == [
        f"{folder}/metrics.json",
        f"{folder}/retrained_graph.pb",
        f"{folder}/retrained_labels.txt",
        f"{folder}/skipped_images.csv",
    ]
    graph = data["listing"][1]
    assert (graph["size_bytes"], graph["replication"]) == (5, 1)
    assert graph["permissions"].startswith("rw-")


def test_an_empty_folder_has_a_note_and_no_listing(tmp_path, capsys):
    assert run(tmp_path) == 0
    assert capsys.readouterr().out.startswith("notes\n  no metrics.json and no graph")


def test_a_missing_folder_is_an_error_with_exit_code_1(tmp_path, capsys):
    with pytest.raises(StorageError, match="no such file or folder") as caught:
        run(tmp_path / "nope")
    assert caught.value.exit_code == 1
    assert capsys.readouterr().out == ""


def test_broken_figures_still_get_the_listing(folder, capsys):
    (folder / "metrics.json").write_text("{")
    with pytest.raises(ModelError, match="it is not JSON"):
        run(folder)
    assert capsys.readouterr().out.startswith("Found 3 items\n")


def test_a_folder_on_another_storage_is_summarized(folder, far, capsys):
    (folder / "metrics.json").write_text('{"seed": 7}')
    assert run(far.url(folder)) == 0
    out = capsys.readouterr().out
    assert f" {far.url(folder)}/retrained_graph.pb\n" in out
    assert "seed 7" in out
    assert "labels      2: daisy, rosé" in out
