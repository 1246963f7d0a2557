"""Inputs, limit, table and plain SGD are what the bench takes them for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import inputs
from benchmarks.accuracy import Score, plain_sgd, read_split
from benchmarks.processes import RunError, run_python
from benchmarks.retraining import SECTIONS
from benchmarks.table import Row, render

PROJECT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 300


@pytest.fixture
def image_dir(tmp_path: Path) -> Path:
    """Two labels with two and one photographs."""
    for i, name in enumerate(("daisy/a.jpg", "daisy/b.JPG", "roses/c.jpeg")):
        path = tmp_path / "flowers" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (80 * i, 0, 0)).save(path, "JPEG")
    (tmp_path / "flowers" / "daisy" / "notes.txt").write_text("no photograph")
    return tmp_path / "flowers"


def test_photographs_are_the_jpeg_files_of_the_labels(image_dir: Path):
    names = [path.name for path in inputs.photographs(image_dir)]
    assert names == ["a.jpg", "b.JPG", "c.jpeg"]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_many_images_differ_in_bytes_and_not_in_pixels(
    image_dir: Path, tmp_path: Path, count: int
):
    target = inputs.write_many(image_dir, count, tmp_path / "many")
    paths = list(inputs.photographs(target))
    assert len(paths) == len({path.read_bytes() for path in paths}) == count
    for path in paths:
        source = image_dir / path.parent.name / path.name.split("_", 1)[1]
        with Image.open(path) as copy, Image.open(source) as original:
            np.testing.assert_array_equal(np.array(copy), np.array(original))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_linked_images_are_the_photographs_under_other_names(
    image_dir: Path, tmp_path: Path, count: int
):
    target = inputs.link_many(image_dir, count, tmp_path / "links")
    paths = [str(p.relative_to(target)) for p in inputs.photographs(target)]
    assert len(paths) == count
    for path in paths:
        source = image_dir / inputs.linked(path)
        assert (target / path).read_bytes() == source.read_bytes()


def test_many_images_are_written_once(image_dir: Path, tmp_path: Path):
    target = inputs.write_many(image_dir, 4, tmp_path / "many")
    times = {path: path.stat().st_mtime_ns for path in inputs.photographs(target)}
    inputs.write_many(image_dir, 4, target)
    assert times == {
        path: path.stat().st_mtime_ns for path in inputs.photographs(target)
    }
    inputs.write_many(image_dir, 2, target)
    assert len(list(inputs.photographs(target))) == 2


def test_inputs_are_found_where_the_environment_points(
    image_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "data").mkdir()
    image_dir.rename(tmp_path / "data" / inputs.SMALL.photographs)
    monkeypatch.setenv("POETS_TEST_DATA", str(tmp_path / "data"))
    work = tmp_path / "work"
    work.mkdir()
    found = inputs.find_inputs(inputs.SMALL, work)
    assert found.image_dir == tmp_path / "data" / inputs.SMALL.photographs
    assert found.archive.parent == work
    assert found.graph.stat().st_size > 1_000_000
    assert not found.real
    some = inputs.find_inputs(inputs.SMALL, work, per_label=1)
    assert [path.name for path in inputs.photographs(some.image_dir)] == [
        "a.jpg",
        "c.jpeg",
    ]


def test_flowers_are_drawn_where_photographs_are_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("POETS_TEST_DATA", str(tmp_path / "nothing" / "here"))
    monkeypatch.setitem(
        inputs.DRAWN, inputs.SMALL.photographs, ["--per_label=2", "--size=128..128"]
    )
    found = inputs.find_inputs(inputs.SMALL, tmp_path)
    assert not found.real
    paths = list(inputs.photographs(found.image_dir))
    assert len(paths) == 2 * len({path.parent for path in paths}) == 10
    for path in paths:
        with Image.open(path) as image:
            assert image.size == (128, 128)


def test_limit_is_below_decode_and_below_forward(
    image_dir: Path, tmp_path: Path, nursery
):
    archive = inputs.make_archive(inputs.SMALL, tmp_path)
    graph = tmp_path / "graph.pb"
    inputs.unpack_graph(archive, graph)
    code = "from benchmarks.limits import main; main()"
    argv = ["--round_s=0.1", f"--image_dir={image_dir}", f"--graph={graph}"]
    with (tmp_path / "log").open("wb") as log, (tmp_path / "out").open("wb") as out:
        task = nursery.start(code, os.environ, log, argv, out)
    assert task.wait() == 0, task.log.read_text()
    limit = json.loads((tmp_path / "out").read_text())
    assert 0 < limit["limit_per_s"] < min(limit["decode_per_s"], limit["forward_per_s"])


def test_plain_sgd_learns_what_is_easy():
    rng = np.random.default_rng(0)
    features, split = {}, []
    for i in range(60):
        label = ("daisy", "roses")[i % 2]
        key = (label, f"{i}.jpg")
        features[key] = rng.normal(i % 2, 0.1, 8).astype(np.float32)
        split.append((key, label, ("train", "validation", "test")[i % 3]))
    assert plain_sgd(features, split, steps=300, runs=2) == Score(20, 20)


def test_split_is_read_by_folder_and_file(tmp_path: Path):
    path = tmp_path / "split.csv"
    path.write_text(
        "path,label,split,predicted_label,score\n"
        '"Red Roses!/a, b.jpg",red roses,test,daisy,0.5\n'
    )
    assert read_split(path) == [(("Red Roses!", "a, b.jpg"), "red roses", "test")]


def test_scores_are_pooled_by_image():
    assert (Score(1, 2) + Score(8, 8)).percent == 90


@pytest.mark.parametrize(
    ("row", "times"),
    [
        (Row("a", "s", 2.0, 10.0), 5),
        (Row("a", "MB", 200.0, 100.0), 0.5),
        (Row("a", "images/s", 300.0, 100.0), 3),
        (Row("a", "%", 60.0, 50.0), None),
        (Row("a", "s", 2.0), None),
    ],
)
def test_times_says_how_much_better_ours_is(row: Row, times: float | None):
    assert row.times == times


def test_table_is_aligned_and_says_what_is_missed():
    rows = [
        Row("bottlenecks", "images/s", 3210, 321, 4000, "85% of the limit", False),
        Row("warm run", "s", 4.31, goal="under 5 s", reached=True),
        Row("  peak memory", "MB", 812.4),
    ]
    assert render(rows).splitlines() == [
        "figure         unit       ours  baseline   times  limit  of limit  goal",
        "bottlenecks    images/s  3,210       321  10.0 x  4,000      80 %  "
        "MISSED: 85% of the limit",
        "warm run       s          4.31                                     "
        "reached: under 5 s",
        "  peak memory  MB          812",
    ]


def test_run_reports_time_memory_and_output(tmp_path: Path):
    run = run_python("platform", ["--help"], tmp_path / "log")
    assert run.stdout
    assert run.wall_s > 0
    assert 0 < run.main_rss_mb <= run.tree_rss_mb


def test_failed_run_shows_the_end_of_its_log(tmp_path: Path):
    with pytest.raises(
        RunError, match=r"(?s)benchmarks\.limits --graph ended with 2.*--image_dir"
    ):
        run_python("benchmarks.limits", ["--graph", "none"], tmp_path / "log")


def test_unknown_section_is_refused_with_the_known_ones():
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks", "speed"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert process.returncode == 2
    assert f"no section 'speed'; choose from {', '.join(SECTIONS)}" in process.stderr
