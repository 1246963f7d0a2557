"""A whole run on folders that are the user's own split."""

import csv
import io
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from poets.cli import run
from tests import retraining
from tests.retraining import FOLDERS, jpeg

COUNTS = {"Train": 12, "test": 5}
PERCENTAGES = {"validation_percentage": 30, "testing_percentage": 50}


@dataclass(frozen=True)
class Done:
    """A run, and what it logged."""

    image_dir: Path
    folder: Path
    lines: list[str]

    @property
    def metrics(self):
        return json.loads((self.folder / "metrics.json").read_text())

    @property
    def splits(self):
        text = (self.folder / "split.csv").read_text()
        return {row["path"]: row for row in csv.DictReader(io.StringIO(text))}


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Done:
    """`Train` and `test`, a picture in both, and test pictures without a label."""
    folder = tmp_path_factory.mktemp("own")
    image_dir = folder / "images"
    rng = np.random.default_rng(0)
    for channel, label in enumerate(FOLDERS):
        for split, count in COUNTS.items():
            (image_dir / split / label).mkdir(parents=True)
            for number in range(count):
                path = image_dir / split / label / f"{number}.jpg"
                path.write_bytes(jpeg(rng, channel))
    twin = image_dir / "Train" / "daisy" / "0.jpg"
    (image_dir / "test" / "daisy" / "twin.jpg").write_bytes(twin.read_bytes())
    (image_dir / "testing").mkdir()
    (image_dir / "testing" / "1.jpg").write_bytes(twin.read_bytes())
    out = folder / "out"
    lines = retraining.retrain(out, image_dir, exports=False, **PERCENTAGES)
    return Done(image_dir, out, lines)


def test_labels_are_those_inside_and_each_image_keeps_its_folders_split(own):
    labels = (own.folder / "retrained_labels.txt").read_text()
    assert labels == "daisy\nred roses\ntulips\n"
    assert len(own.splits) == len(FOLDERS) * sum(COUNTS.values()) + 1
    for path, row in own.splits.items():
        folder, label, _ = path.split("/")
        assert row["label"] == label
        assert (row["split"] == "test") is (folder == "test")
    carved = Counter(row["split"] for row in own.splits.values())
    assert carved["test"] == 16
    assert 0 < carved["validation"] < carved["train"]


def test_metrics_and_log_name_the_split_and_what_it_shares(own):
    metrics = own.metrics
    in_train = metrics["split"]["also_in_train"]
    assert metrics["split"]["by"] == "folders"
    assert metrics["split"]["folders"] == {"Train": "train", "test": "test"}
    twin = own.splits["Train/daisy/0.jpg"]["split"]
    assert in_train == {"validation": 0, "test": int(twin == "train")}
    assert twin == "train"  # of a picture that may validate, too
    told = [
        "the folders are a split: 'Train' is train, 'test' is test; "
        "validation images are taken from 'Train'",
        "1 images left out: in 'testing', without folders of labels",
        "1 of 16 test images are training images, too: the test accuracy is too high; "
        "remove them from one of the folders",
    ]
    assert metrics["notes"] == told
    assert set(told) <= set(own.lines)
    assert metrics["images"]["duplicates"] == 1


def test_results_show_whose_split_it_is(own, capsys):
    assert run(["results", str(own.folder)]) == 0
    assert (
        "split       the user's own: train is Train/, test is test/; validation taken "
        "from train\n"
    ) in capsys.readouterr().out


def test_a_warm_run_has_the_same_split_and_computes_nothing(own, tmp_path):
    store = own.folder / "bottlenecks"
    lines = retraining.retrain(
        tmp_path,
        own.image_dir,
        exports=False,
        bottleneck_dir=str(store),
        **PERCENTAGES,
    )
    assert "0 bottleneck files created." in lines
    assert Done(own.image_dir, tmp_path, lines).splits == own.splits


def test_folders_that_are_no_splits_are_refused_when_asked_for(own, capsys, tmp_path):
    flags = retraining.flags_for(tmp_path, own.image_dir, split="folders")
    flags["image_dir"] = str(own.image_dir / "Train")
    words = [f"--{name}={value}" for name, value in flags.items()]
    assert run(["retrain", *words]) == 2
    assert capsys.readouterr().err == (
        f"poets retrain: no training images in '{own.image_dir}/Train' by "
        "--split=folders: found 'Red Roses', 'daisy', 'tulips', and none of them is "
        "named train or training and holds a folder for each label; name one so, or "
        "give --split=hash to take the folders as labels\n"
    )
