"""A run leaves what it promises, whole, and the numbers add up."""

import hashlib
import json
import re
from collections import Counter

import numpy as np
import pytest

from poets.report.findings import SECTIONS
from tests import retraining
from tests.retraining import FOLDERS, IMAGES, PER_SPLIT, read_csv, snapshot

pytest_plugins = ["tests.finished"]


def test_every_promised_file_is_there_and_no_other(finished):
    found = {
        name
        for name in snapshot(finished.folder)
        if not name.startswith(("bottlenecks/", "summaries/"))
    }
    assert found == {
        "retrained_graph.pb",
        "retrained_graph.tflite",
        "retrained_labels.txt",
        "metrics.json",
        "split.csv",
        "skipped_images.csv",
        "report.html",
        "report.json",
        *(row.csv for row in SECTIONS.values() if row.csv),
        "checkpoint.index",
        "checkpoint.data-00000-of-00001",
        "intermediate/intermediate_25.pb",
        "intermediate/intermediate_50.pb",
        "saved_model/1/saved_model.pb",
    }


def test_labels_are_lower_case_one_a_line_and_folders_keep_their_spelling(finished):
    text = (finished.folder / "retrained_labels.txt").read_bytes()
    assert text == b"daisy\nred roses\ntulips\n"
    assert {row["label"] for row in finished.split} == set(FOLDERS)
    assert [label["folder"] for label in finished.metrics["labels"]] == [
        "daisy",
        "Red Roses",
        "tulips",
    ]


def test_counts_in_metrics_add_up(finished):
    metrics = finished.metrics
    images = metrics["images"]
    assert images["found"] == IMAGES + 5
    assert images["skipped"] == 2
    assert images["used"] == images["found"] - images["skipped"]
    assert images["duplicates"] == 1
    splits = {split: metrics["accuracy"][split]["n"] for split in PER_SPLIT}
    assert sum(splits.values()) == images["used"]
    for label in metrics["labels"]:
        assert label["images"] == sum(label[split] for split in PER_SPLIT)
    for split, n in splits.items():
        assert sum(label[split] for label in metrics["labels"]) == n
    assert metrics["training_steps"] == 60
    assert metrics["flags"]["architecture"] == "scattering_96"
    durations = metrics["duration_s"]
    phases = {"backbone", "bottlenecks", "training", "export", "report"}
    assert set(durations) == phases | {"total"}
    assert sum(durations[phase] for phase in phases) <= durations["total"] + 0.01


def test_the_confusion_matrix_gives_accuracy_precision_and_recall(finished):
    metrics = finished.metrics
    confusion = np.array(metrics["confusion"])
    test = metrics["accuracy"]["test"]
    assert confusion.sum() == test["n"]
    assert np.trace(confusion) == test["correct"]
    for index, row in enumerate(metrics["per_label"]):
        assert row["n"] == confusion[index].sum() == metrics["labels"][index]["test"]
        right = confusion[index, index]
        assert row["recall"] == pytest.approx(right / row["n"], abs=1e-6)
        if row["precision"] is not None:
            assert row["precision"] == pytest.approx(
                right / confusion[:, index].sum(), abs=1e-6
            )


@pytest.mark.parametrize("split", sorted(PER_SPLIT))
def test_the_interval_holds_the_accuracy(finished, split):
    accuracy = finished.metrics["accuracy"][split]
    low, high = accuracy["interval_95"]
    assert 0 <= low <= accuracy["accuracy"] <= high <= 1
    assert accuracy["accuracy"] == pytest.approx(
        accuracy["correct"] / accuracy["n"], abs=1e-6
    )


def test_split_csv_lists_every_image_and_agrees_with_metrics(finished):
    rows = finished.split
    assert list(rows[0]) == ["path", "label", "split", "predicted_label", "score"]
    assert len(rows) == finished.metrics["images"]["used"]
    right = Counter()
    for row in rows:
        assert (finished.image_dir / row["path"]).is_file()
        assert row["path"].startswith(row["label"] + "/")
        assert 1 / 3 <= float(row["score"]) <= 1
        right[row["split"]] += finished.is_right(row)
    for split, accuracy in finished.metrics["accuracy"].items():
        assert right[split] == accuracy["correct"]


def test_images_with_the_same_content_are_in_one_split(finished):
    splits = {row["path"]: row["split"] for row in finished.split}
    twin = (finished.image_dir / "tulips" / "twin.jpg").read_bytes()
    same = [p for p in splits if (finished.image_dir / p).read_bytes() == twin]
    assert len(same) == 2
    assert len({splits[path] for path in same}) == 1


def test_skipped_images_are_listed_with_their_reason(finished):
    rows = read_csv(finished.folder / "skipped_images.csv")
    assert [row["path"] for row in rows] == list(finished.broken)
    assert rows[1]["reason"] == "empty file"
    assert rows[0]["reason"].startswith("cannot be decoded: ")
    for row in rows:
        assert f"skipped {row['path']}: {row['reason']}" in finished.lines


def test_exports_are_recorded_with_digest_and_size(finished):
    exports = finished.metrics["exports"]
    assert set(exports) == {"retrained_graph.pb", "retrained_graph.tflite", "1"}
    for name in ("retrained_graph.pb", "retrained_graph.tflite"):
        data = (finished.folder / name).read_bytes()
        assert exports[name]["sha256"] == hashlib.sha256(data).hexdigest()
        assert exports[name]["size_bytes"] == len(data)


def test_the_log_has_the_originals_lines(finished):
    text = "\n".join(finished.lines)
    test = finished.metrics["accuracy"]["test"]
    for folder in FOLDERS:
        assert f"Looking for images in '{folder}'" in finished.lines
    assert f"{IMAGES + 5} bottleneck files created." in finished.lines
    assert (
        f"Final test accuracy = {test['accuracy'] * 100:.1f}% (N={test['n']})"
        in finished.lines
    )
    assert f"Save final result to : {finished.graph}" in finished.lines
    steps = re.findall(r"Step (\d+): Validation accuracy = .* \(N=12\)", text)
    assert steps == ["0", "10", "20", "30", "40", "50", "59"]


def test_misclassified_test_images_are_listed(finished):
    start = finished.lines.index("=== MISCLASSIFIED TEST IMAGES ===") + 1
    wrong = [
        f"{finished.image_dir / row['path']!s:>70}  {row['predicted_label']}"
        for row in finished.split
        if row["split"] == "test" and not finished.is_right(row)
    ]
    test = finished.metrics["accuracy"]["test"]
    assert len(wrong) == test["n"] - test["correct"]
    assert list(finished.lines[start : start + len(wrong)]) == wrong


def test_the_reject_threshold_agrees_with_split_csv(finished):
    reject = finished.metrics["reject"]
    assert reject["wanted_accuracy"] == 0.95
    for split in ("validation", "test"):
        rows = [row for row in finished.split if row["split"] == split]
        kept = [row for row in rows if float(row["score"]) >= reject["threshold"]]
        right = [row for row in kept if finished.is_right(row)]
        assert reject[split]["n"] == len(kept)
        assert reject[split]["coverage"] == pytest.approx(
            len(kept) / len(rows), abs=1e-6
        )
        if kept:
            share = len(right) / len(kept)
            assert reject[split]["accuracy"] == pytest.approx(share, abs=1e-6)


def test_the_real_network_tells_real_flowers(photographs, models, tmp_path):
    """The first 60 photographs of each label, far above chance."""
    for label in sorted(photographs.iterdir()):
        if label.is_dir():
            (tmp_path / "images" / label.name).mkdir(parents=True)
            for path in sorted(label.glob("*.jpg"))[:60]:
                (tmp_path / "images" / label.name / path.name).symlink_to(path)
    (tmp_path / "models").mkdir()
    archive = models / "mobilenet_v1_0.25_128_frozen.tgz"
    (tmp_path / "models" / archive.name).symlink_to(archive)
    retraining.retrain(
        tmp_path / "out",
        tmp_path / "images",
        architecture="mobilenet_0.25_128",
        model_dir=str(tmp_path / "models"),
        how_many_training_steps=150,
        saved_model_dir="",
    )
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["accuracy"]["test"]["interval_95"][0] > 0.35
