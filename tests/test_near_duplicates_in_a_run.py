"""A run on pictures with copies: what leaks is reported, and can be kept together."""

import csv
import json

import pytest

from tests.photographs import COPIES, as_jpeg, photograph
from tests.retraining import retrain

LABELS, EACH, COPIED = ("daisy", "roses"), 40, 12


@pytest.fixture(scope="module")
def image_dir(tmp_path_factory):
    """80 pictures; 12 of each label have a copy under another name."""
    folder = tmp_path_factory.mktemp("copies") / "images"
    kinds = [COPIES[kind] for kind in ("mirrored", "recompressed", "brighter by 20 %")]
    for first, label in enumerate(LABELS):
        (folder / label).mkdir(parents=True)
        for number in range(EACH):
            original = photograph(EACH * first + number)
            (folder / label / f"{number}.jpg").write_bytes(as_jpeg(original))
            if number < COPIED:
                copy = kinds[number % len(kinds)](original)
                (folder / label / f"copy of {number}.jpg").write_bytes(copy)
    return folder


def run(folder, image_dir, **flags):
    """Runs the job; returns its log, its metrics and the split of each path."""
    flags |= {"testing_percentage": 25, "report": True}
    lines = retrain(folder, image_dir, exports=False, **flags)
    metrics = json.loads((folder / "metrics.json").read_text())
    rows = csv.DictReader((folder / "split.csv").read_text().splitlines())
    return lines, metrics, {row["path"]: row["split"] for row in rows}


def leaks(folder):
    """Returns the report's section, and the pairs of paths that it found."""
    report = json.loads((folder / "report.json").read_text())
    found = report["sections"]["near_duplicates"]
    groups = [[copy["path"] for copy in group["copies"]] for group in found["groups"]]
    return found, groups


def test_copies_leak_unless_they_are_kept_in_one_split(tmp_path, image_dir):
    _, metrics, splits = run(tmp_path / "plain", image_dir)
    found, groups = leaks(tmp_path / "plain")
    assert 22 <= len(groups) <= len(LABELS) * COPIED  # scattering may miss a mirrored
    for one, other in groups:
        assert one.replace("copy of ", "") == other.replace("copy of ", "")
    apart = [pair for pair in groups if len({splits[path] for path in pair}) == 2]
    assert len(apart) >= sum(found["leaked"].values()) > 0
    assert found["test"]["accuracy"] > found["test_without_leaked"]["accuracy"]
    assert found["advice"] in metrics["notes"]

    shared = {"bottleneck_dir": str(tmp_path / "plain" / "bottlenecks")}
    flags = {**shared, "group_near_duplicates": True}
    lines, metrics, splits = run(tmp_path / "grouped", image_dir, **flags)
    found, same_groups = leaks(tmp_path / "grouped")
    assert sorted(same_groups) == sorted(groups)
    assert all(len({splits[path] for path in pair}) == 1 for pair in groups)
    count = len(groups)
    kept = (
        f"{count} groups of near-duplicates stay in one split, of {2 * count} images."
    )
    assert kept in lines
    assert found["leaked"] == {"validation": 0, "test": 0}
    assert found["advice"] == ""
    assert not any("near-duplicate" in note for note in metrics["notes"])
