"""`poets compare`: the same test pictures, real differences and chance."""

import csv
import importlib.util
import io
import json

import numpy as np
import pytest

from poets.cli import run
from poets.errors import ConfigError, ModelError
from poets.report.comparison import compare_runs

pytest_plugins = ["tests.watched"]

LABELS = ("Red Roses", "daisy")
MARKUP = "<img src=x onerror=alert(1)>"


def write_run(folder, right, paths=None, split="test", **flags):
    """Writes the files of a run whose answers are right or wrong as given."""
    folder.mkdir()
    paths = paths or [f"{LABELS[k % 2]}/{k}.jpg" for k in range(len(right))]
    rows = [("path", "label", "split", "predicted_label", "score")]
    for path, is_right in zip(paths, right, strict=True):
        folder_name = path.partition("/")[0]
        names = [folder_name.lower(), "other"]
        rows.append((path, folder_name, split, names[not is_right], "0.9"))
    table = io.StringIO(newline="")
    csv.writer(table).writerows(rows)
    (folder / "split.csv").write_text(table.getvalue())
    labels = [{"label": each.lower(), "folder": each} for each in LABELS]
    flags = {"image_dir": "images", "seed": 0, "output_graph": str(folder)} | flags
    metrics = {"labels": labels, "flags": flags}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return str(folder)


def answers(right, count=400, seed=0):
    return np.random.default_rng(seed).random(count) < right


@pytest.fixture
def better(tmp_path):
    """Two runs, the second of which is right where the first is, and 30 times more."""
    one = answers(0.7)
    other = one.copy()
    other[np.flatnonzero(~one)[:30]] = True
    return [
        write_run(tmp_path / "a", one, learning_rate=0.01),
        write_run(tmp_path / "b", other, learning_rate=0.1, flag_of_a_later_version=1),
    ]


def test_a_real_difference_is_found(better):
    found = compare_runs(better)
    (pair,) = found.pairs
    assert (found.images, pair.only_first, pair.only_second) == (400, 0, 30)
    assert pair.p == pytest.approx(2 * 0.5**30)
    assert pair.difference == pytest.approx(30 / 400)
    low, high = pair.interval_95
    assert 0 < low < pair.difference < high
    assert found.verdict(pair) == "2 is better"
    one, other = found.runs
    assert other.correct - one.correct == 30
    assert one.interval_95[0] < one.accuracy < one.interval_95[1]
    assert [each.flags for each in found.runs] == [
        {"learning_rate": 0.01},
        {"learning_rate": 0.1},
    ]


def test_equally_good_runs_are_called_equal_in_95_percent_of_trials(tmp_path):
    """Each trial has 2 runs that are wrong on different images, by chance alone."""
    equal = 0
    for trial in range(100):
        rng = np.random.default_rng(trial)
        hard = rng.random(400) < 0.4
        rights = [~hard | (rng.random(400) < 0.5) for _ in range(2)]
        urls = [
            write_run(tmp_path / f"{trial}-{k}", right)
            for k, right in enumerate(rights)
        ]
        (pair,) = compare_runs(urls).pairs
        equal += not pair.is_real
        assert pair.is_real == (pair.p < 0.05)
    assert equal >= 95


def test_p_is_corrected_for_the_number_of_pairs(tmp_path, better):
    alone = compare_runs(better).pairs[0].p
    third = write_run(tmp_path / "c", answers(0.7, seed=1), learning_rate=1)
    found = compare_runs([*better, third])
    assert [(each.first, each.second) for each in found.pairs] == [
        (0, 1),
        (0, 2),
        (1, 2),
    ]
    assert found.pairs[0].p == pytest.approx(3 * alone)
    assert all(each.p <= 1 for each in found.pairs)


def test_equal_runs_have_no_difference(tmp_path):
    urls = [write_run(tmp_path / name, answers(0.7)) for name in "ab"]
    (pair,) = compare_runs(urls).pairs
    assert (pair.p, pair.difference, pair.is_real) == (1.0, 0.0, False)
    assert pair.interval_95[0] < 0 < pair.interval_95[1]


def test_only_the_common_test_images_count_as_a_note_says(tmp_path):
    paths = [f"daisy/{k}.jpg" for k in range(9)]
    urls = [
        write_run(tmp_path / "a", [True] * 6, paths[:6], image_dir="here"),
        write_run(tmp_path / "b", [False] * 6, paths[3:], image_dir="there"),
    ]
    found = compare_runs(urls)
    assert found.images == 3
    assert [each.tested for each in found.runs] == [6, 6]
    assert found.notes == (
        "the runs have 6, 6 test images; compared on the 3 that all of them have",
        "the runs have different --image_dir: images with the same path and label were "
        "taken for the same",
    )


@pytest.mark.parametrize("split", ["train", "validation"])
def test_runs_without_common_test_images_are_an_error(tmp_path, split):
    one = write_run(tmp_path / "a", [True, False])
    other = write_run(tmp_path / "b", [True, False], split=split)
    with pytest.raises(
        ConfigError, match="no test image in common, of 2, 0: paths and"
    ):
        compare_runs([one, other])
    with pytest.raises(
        ConfigError, match=f"cannot compare one run, '{one}'; give two or more"
    ):
        compare_runs([one])


def test_what_is_no_run_is_an_error(tmp_path, better):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "split.csv").write_text("")
    with pytest.raises(ModelError, match=r"empty': it has no metrics\.json; give the"):
        compare_runs([better[0], str(tmp_path / "empty")])
    (tmp_path / "b" / "split.csv").write_text("path,label\nx,y\n")
    with pytest.raises(ModelError, match=r"b': its split\.csv is damaged"):
        compare_runs(better)


def test_the_command_prints_tables(better, capsys):
    assert run(["compare", *better]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "400 test pictures"
    assert lines[2].split() == ["run", "accuracy", "95", "%", "interval", "right"] + [
        "learning_rate"
    ]
    assert lines[4].startswith(f"2  {better[1]}")
    assert lines[4].endswith("0.1")
    assert lines[7].startswith("2 - 1  +7.5")
    assert lines[7].endswith("30      0     <0.001  2 is better")


def test_the_command_prints_json(better, capsys):
    assert run(["compare", *better, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 400
    assert found["pairs"][0]["is_real"]


@pytest.fixture
def page_of(better, tmp_path, capsys):
    """A page with a run whose name is hostile."""
    hostile = write_run(tmp_path / MARKUP, answers(0.7, seed=2))
    page = tmp_path / "compare.html"
    assert run(["compare", *better, hostile, "--output", str(page)]) == 0
    capsys.readouterr()
    return page


@pytest.mark.parametrize("width", [360, 1400])
def test_the_page_has_the_same_and_shows_names_as_they_are(watched, page_of, width):
    page = watched.open(page_of, viewport={"width": width, "height": 740})
    heading = page.get_by_role("heading", level=1)
    assert heading.inner_text() == "3 runs on 400 test pictures"
    assert page.get_by_text(MARKUP).count() == 1
    row = page.get_by_role("row", name="2 against 1")
    assert row.get_by_text("2 is better").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(watched, page_of, require, scheme):
    require("axe", importlib.util.find_spec("axe_playwright_python"))
    from axe_playwright_python.sync_playwright import Axe

    page = watched.open(page_of, color_scheme=scheme)
    assert Axe().run(page).response["violations"] == []


def test_runs_and_the_page_may_be_on_any_storage(better, s3, capsys):
    bucket, client = s3.make_bucket(), s3.client()
    for name in ("metrics.json", "split.csv"):
        client.upload_file(f"{better[1]}/{name}", bucket, f"run/{name}")
    page = f"s3://{bucket}/compare.html"
    assert run(["compare", better[0], f"s3://{bucket}/run", "--output", page]) == 0
    assert "2 is better" in capsys.readouterr().out
    body = client.get_object(Bucket=bucket, Key="compare.html")["Body"].read()
    assert body.startswith(b"<!doctype html>")


def test_runs_cannot_be_compared_exits_with_2(better, capsys):
    assert run(["compare", better[0]]) == 2
    assert "give two or more" in capsys.readouterr().err
