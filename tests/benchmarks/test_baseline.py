"""The baseline does the original's work and leaves the original's files."""

import json
import logging
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from benchmarks import baseline
from benchmarks.accuracy import read_bottlenecks
from tests.models import write_mobilenet_archive

SIZE_PX = 128
v1 = tf.compat.v1


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    path = folder / "graph.pb"
    with tarfile.open(write_mobilenet_archive(folder, size_px=SIZE_PX)) as archive:
        member = archive.extractfile("mobilenet_v1_0.25_128/frozen_graph.pb")
        path.write_bytes(member.read())
    return path


@pytest.fixture(scope="module")
def image_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two labels with 3 images in each split: reddish and bluish noise."""
    folder = tmp_path_factory.mktemp("flowers")
    rng = np.random.default_rng(0)
    for name, channel in (("Red Roses!", 0), ("tulips", 2)):
        (folder / name).mkdir()
        wanted = dict.fromkeys(baseline.SPLITS, 3)
        number = 0
        while any(wanted.values()):
            path = folder / name / f"{number}.jpg"
            number += 1
            split = baseline.split_of(path.relative_to(folder))
            if not wanted[split]:
                continue
            wanted[split] -= 1
            pixels = rng.integers(0, 20, (150, 200, 3), np.uint8)
            pixels[:, :, channel] += 150
            Image.fromarray(pixels).save(path)
    return folder


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, image_dir: Path, graph: Path, nursery
) -> tuple[dict, Path, str]:
    """What a run of 20 steps printed, its folder and its log."""
    work = tmp_path_factory.mktemp("work")
    code = "from benchmarks.baseline import main; main()"
    argv = [
        *("--steps=20", f"--image_dir={image_dir}", f"--graph={graph}"),
        *(f"--image_size_px={SIZE_PX}", f"--work={work}"),
    ]
    place = tmp_path_factory.mktemp("told")
    with (place / "log").open("wb") as log, (place / "out").open("wb") as out:
        task = nursery.start(code, os.environ, log, argv, out)
    assert task.wait() == 0, task.log.read_text()
    return json.loads((place / "out").read_text()), work, task.log.read_text()


def test_baseline_learns_what_is_easy(trained: tuple[dict, Path, str]):
    result, _, _ = trained
    assert result["images"] == result["created"] == 18
    assert result["test_accuracy"] == 1.0


def test_baseline_reports_phases_that_add_up(trained: tuple[dict, Path, str]):
    result, _, _ = trained
    duration_s = result["duration_s"]
    phases_s = [duration_s[name] for name in ("start", "bottlenecks", "training")]
    assert all(seconds > 0 for seconds in phases_s)
    assert sum(phases_s) == pytest.approx(duration_s["total"])
    assert result["images_per_s"] == pytest.approx(18 / duration_s["bottlenecks"])
    assert result["peak_rss_mb"] > 100


def test_baseline_leaves_one_text_file_an_image(
    trained: tuple[dict, Path, str], image_dir: Path, graph: Path
):
    _, work, _ = trained
    found = read_bottlenecks(work / "bottlenecks", "mobilenet_0.25_128")
    images = {(path.parent.name, path.name) for path in image_dir.glob("*/*.jpg")}
    assert found.keys() == images
    text = next((work / "bottlenecks" / "tulips").iterdir()).read_text()
    assert len(text.split(",")) == 1001

    key = ("tulips", next((image_dir / "tulips").iterdir()).name)
    pixels = tf.io.decode_jpeg((image_dir / "tulips" / key[1]).read_bytes())
    with tf.Graph().as_default(), v1.Session() as session:
        resized = v1.image.resize_bilinear(
            tf.cast(pixels.numpy()[None], tf.float32), [SIZE_PX, SIZE_PX]
        )
        graph_def = v1.GraphDef.FromString(graph.read_bytes())
        expected = tf.import_graph_def(
            graph_def,
            input_map={baseline.INPUT: resized / 127.5 - 1},
            return_elements=[baseline.BOTTLENECK],
        )
        [expected] = session.run(expected)
    np.testing.assert_allclose(found[key], expected[0], atol=1e-3)


def test_baseline_publishes_a_frozen_graph_and_clean_labels(
    trained: tuple[dict, Path, str],
):
    _, work, _ = trained
    assert (work / "retrained_labels.txt").read_text() == "red roses \ntulips\n"
    graph_def = v1.GraphDef.FromString((work / "retrained_graph.pb").read_bytes())
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        images = np.zeros((1, SIZE_PX, SIZE_PX, 3), np.float32)
        scores = session.run("final_result:0", {baseline.INPUT: images})
    assert scores.shape == (1, 2)
    assert scores.sum() == pytest.approx(1, abs=1e-5)


def test_baseline_evaluates_every_tenth_step_and_the_last(
    trained: tuple[dict, Path, str],
):
    _, _, text = trained
    steps = [
        int(line.split("Step ")[1].split(":")[0])
        for line in text.splitlines()
        if "Validation accuracy" in line
    ]
    assert steps == [0, 10, 19]


def test_baseline_uses_the_text_files_that_are_there(
    tmp_path: Path, image_dir: Path, graph: Path, caplog: pytest.LogCaptureFixture
):
    images, _ = baseline.find_images(image_dir)
    results = []
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            results.append(baseline.retrain(image_dir, graph, SIZE_PX, 0, tmp_path))
    assert [result["created"] for result in results] == [18, 0]
    assert results[1]["images_per_s"] is None
    assert caplog.text.count("Creating bottleneck at") == 18
    assert set(images) == {"red roses ", "tulips"}


def test_baseline_names_the_label_with_an_empty_split(
    tmp_path: Path, image_dir: Path, graph: Path
):
    (tmp_path / "tulips").mkdir()
    source = next((image_dir / "tulips").iterdir())
    (tmp_path / "tulips" / "7.jpg").write_bytes(source.read_bytes())
    with pytest.raises(
        SystemExit, match=r"cannot train: 'tulips' has .*: 0.* images; give it more"
    ):
        baseline.retrain(tmp_path, graph, SIZE_PX, 10, tmp_path / "work")


@pytest.mark.parametrize(
    ("one", "other"),
    [("a/1_nohash_2.jpg", "a/1_nohash_3.jpg"), ("a/1_nohash_.jpg", "a/1")],
)
def test_split_ignores_what_follows_nohash(one: str, other: str):
    assert baseline.split_of(Path(one)) == baseline.split_of(Path(other))


def test_split_gives_a_tenth_to_validation_and_a_tenth_to_testing():
    splits = [baseline.split_of(Path(f"roses/{i}.jpg")) for i in range(5000)]
    assert splits.count("validation") / 5000 == pytest.approx(0.1, abs=0.02)
    assert splits.count("testing") / 5000 == pytest.approx(0.1, abs=0.02)
