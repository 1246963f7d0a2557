"""A run on made-up features is a whole run but for the processes that compute."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.inputs import link_many
from poets.features.chunks import MAX_CHUNK
from tests.models import write_mobilenet_archive

COUNT = 1_500


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Links to a few photographs, and a network."""
    place = tmp_path_factory.mktemp("scale")
    random = np.random.default_rng(0)
    for label, mean in (("dark", 60), ("light", 190)):
        (place / "photographs" / label).mkdir(parents=True)
        for number in range(5):
            pixels = random.normal(mean, 30, (32, 32, 3)).clip(0, 255)
            picture = Image.fromarray(pixels.astype(np.uint8))
            picture.save(place / "photographs" / label / f"{number}.jpg")
    link_many(place / "photographs", COUNT, place / "images")
    write_mobilenet_archive(place / "models", 0.25, 128)
    return place


def run(nursery, place: Path, name: str) -> tuple[dict, dict, str]:
    """Returns what a run printed, its metrics and its split."""
    out = place / name
    flags = {
        "sources": place / "images_of",
        "image_dir": place / "images",
        "architecture": "mobilenet_0.25_128",
        "model_dir": place / "models",
        "bottleneck_dir": place / "bottlenecks",
        "output_graph": out / "graph.pb",
        "output_labels": out / "labels.txt",
        "saved_model_dir": "",
        "checkpoint_path": "",
        "summaries_dir": out / "summaries",
        "how_many_training_steps": 20,
    }
    arguments = [f"--{flag}={value}" for flag, value in flags.items()]
    code = "from benchmarks.made_up import main; main()"
    with (place / "log").open("wb") as log, (place / "out").open("wb") as printed:
        task = nursery.start(code, os.environ, log, arguments, printed)
    assert task.wait() == 0, task.log.read_text()
    told = json.loads((place / "out").read_text())
    metrics = json.loads((out / "metrics.json").read_text())
    return told, metrics, (out / "split.csv").read_text()


def test_each_image_is_stored_once_and_used(nursery, place: Path):
    told, metrics, split = run(nursery, place, "cold")
    parts = sorted(place.glob("bottlenecks/*/part-*.parquet"))
    assert told["made_up_s"] > 0
    assert metrics["images"] == {
        "found": COUNT,
        "used": COUNT,
        "skipped": 0,
        "duplicates": 0,
    }
    assert COUNT / MAX_CHUNK <= len(parts) < COUNT / MAX_CHUNK + 20
    rows = list(csv.DictReader(split.splitlines()))
    assert len({row["path"] for row in rows}) == COUNT
    assert sum(row["label"] == row["predicted_label"] for row in rows) > 0.9 * COUNT

    told, again, same_split = run(nursery, place, "warm")
    assert told["made_up_s"] == 0
    assert again["accuracy"] == metrics["accuracy"]
    assert same_split == split
    assert sorted(place.glob("bottlenecks/*/part-*.parquet")) == parts
