"""A run leaves what it promises, whole, and the numbers add up."""

import csv
import io
import json
import re
import shutil
from collections import Counter

import numpy as np
import pytest

from poets.errors import ConfigError, DatasetError, PoetsError
from poets.features.store import Store
from poets.report.build import report_names
from poets.report.findings import SECTIONS
from tests import retraining
from tests.retraining import FOLDERS, IMAGES, PER_SPLIT, snapshot

pytest_plugins = ["tests.finished"]


def table(path):
    return list(csv.DictReader(io.StringIO(path.read_text(), newline="")))


@pytest.fixture
def again(finished, tmp_path):
    """Runs once more on the same images and features, into a folder of its own."""

    def run(folder=tmp_path / "out", image_dir=finished.image_dir, **flags):
        flags = {"bottleneck_dir": str(finished.folder / "bottlenecks"), **flags}
        return retraining.retrain(folder, image_dir, **flags)

    return run


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
    assert {row["label"] for row in table(finished.folder / "split.csv")} == set(
        FOLDERS
    )
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
    rows = table(finished.folder / "split.csv")
    assert list(rows[0]) == ["path", "label", "split", "predicted_label", "score"]
    assert len(rows) == finished.metrics["images"]["used"]
    folder_of = {
        label["label"]: label["folder"] for label in finished.metrics["labels"]
    }
    right = Counter()
    for row in rows:
        assert (finished.image_dir / row["path"]).is_file()
        assert row["path"].startswith(row["label"] + "/")
        assert 1 / 3 <= float(row["score"]) <= 1
        right[row["split"]] += folder_of[row["predicted_label"]] == row["label"]
    for split, accuracy in finished.metrics["accuracy"].items():
        assert right[split] == accuracy["correct"]


def test_images_with_the_same_content_are_in_one_split(finished):
    splits = {row["path"]: row["split"] for row in table(finished.folder / "split.csv")}
    twin = (finished.image_dir / "tulips" / "twin.jpg").read_bytes()
    same = [p for p in splits if (finished.image_dir / p).read_bytes() == twin]
    assert len(same) == 2
    assert len({splits[path] for path in same}) == 1


def test_skipped_images_are_listed_with_their_reason(finished):
    rows = table(finished.folder / "skipped_images.csv")
    assert [row["path"] for row in rows] == list(finished.broken)
    assert rows[1]["reason"] == "empty file"
    assert rows[0]["reason"].startswith("cannot be decoded: ")
    for row in rows:
        assert f"skipped {row['path']}: {row['reason']}" in finished.lines


def test_a_job_reads_what_is_an_image_and_lists_what_points_to_one(
    again, finished, tmp_path
):
    images, out = tmp_path / "images", tmp_path / "out"
    shutil.copytree(finished.image_dir, images)
    tulip = min((images / "tulips").glob("[0-9]*.jpg"))
    tulip.rename(tulip.with_suffix(".jfif"))
    (images / "daisy" / "lfs.jpg").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    )
    (images / "daisy" / "a.jpg.url").write_text("[InternetShortcut]")
    (images / "tulips" / "all").symlink_to("..")
    shutil.copytree(images / "daisy", images / "_temporary" / "0")
    again(out, images, exports=False)
    metrics = json.loads((out / "metrics.json").read_text())
    rows = table(out / "skipped_images.csv")
    assert [row["path"] for row in rows] == sorted(
        [*finished.broken, "daisy/lfs.jpg", "daisy/a.jpg.url"]
    )
    assert rows[2]["reason"].startswith("a pointer of Git LFS, not the picture: run")
    assert metrics["images"]["skipped"] == len(rows)
    assert metrics["images"]["used"] == finished.metrics["images"]["used"]
    used = [row["path"] for row in table(out / "split.csv")]
    assert f"tulips/{tulip.stem}.jfif" in used


def test_exports_are_recorded_with_digest_and_size(finished):
    import hashlib

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
    folder_of = {
        label["label"]: label["folder"] for label in finished.metrics["labels"]
    }
    wrong = [
        f"{finished.image_dir / row['path']!s:>70}  {row['predicted_label']}"
        for row in table(finished.folder / "split.csv")
        if row["split"] == "test" and folder_of[row["predicted_label"]] != row["label"]
    ]
    test = finished.metrics["accuracy"]["test"]
    assert len(wrong) == test["n"] - test["correct"]
    assert list(finished.lines[start : start + len(wrong)]) == wrong


@pytest.mark.parametrize(("size", "shown"), [(4, 4), (-1, 17), (1000, 17)])
def test_the_final_test_takes_as_many_images_as_asked(again, size, shown):
    lines = again(test_batch_size=size, exports=False, how_many_training_steps=1)
    (line,) = [line for line in lines if line.startswith("Final test accuracy")]
    assert line.endswith(f"(N={shown})")


@pytest.fixture(scope="module")
def warm(finished, tmp_path_factory):
    """A run on the same images and features that is to leave less; and its log."""
    folder = tmp_path_factory.mktemp("warm")
    store = str(finished.folder / "bottlenecks")
    flags = {"bottleneck_dir": store, "saved_model_dir": "", "checkpoint_path": ""}
    return folder, retraining.retrain(folder, finished.image_dir, **flags)


def test_a_warm_run_computes_nothing_and_gives_the_same_head(warm, finished):
    folder, lines = warm
    assert "0 bottleneck files created." in lines
    for name in ("retrained_graph.pb", "retrained_labels.txt", "split.csv"):
        assert (folder / name).read_bytes() == (finished.folder / name).read_bytes()


def test_features_do_not_hang_on_where_the_images_lie(again, finished, tmp_path):
    """A copy elsewhere, spelt otherwise: same split, no forward pass, same head."""
    shutil.copytree(finished.image_dir, tmp_path / "elsewhere")
    again(image_dir=tmp_path / "x" / ".." / "elsewhere", exports=False)
    assert (tmp_path / "out" / "split.csv").read_bytes() == (
        finished.folder / "split.csv"
    ).read_bytes()


@pytest.fixture(scope="module")
def rerun(finished, tmp_path_factory):
    """What lay in a folder of results, and what a run with other flags leaves there."""
    out = tmp_path_factory.mktemp("rerun") / "out"
    shutil.copytree(finished.folder, out)
    (out / "saved_model" / "1" / "old.txt").write_text("of the first run")
    first = snapshot(out)
    flags = {"learning_rate": 0.5, "final_tensor_name": "scores"}
    retraining.retrain(out, finished.image_dir, **flags)
    return first, snapshot(out)


def test_a_rerun_replaces_every_result_whole(rerun):
    first, second = rerun
    for name in ("retrained_graph.pb", "retrained_graph.tflite", "metrics.json"):
        assert second[name] != first[name]
    assert (
        second["saved_model/1/saved_model.pb"] != first["saved_model/1/saved_model.pb"]
    )
    assert "saved_model/1/old.txt" not in second
    results = {name for name in first if not name.startswith("summaries/")}
    assert {n for n in second if not n.startswith("summaries/")} == results - {
        "saved_model/1/old.txt",
        *report_names(),  # the second run writes none
    }
    assert not [name for name in second if name.endswith(".part")]


def test_calibration_changes_scores_and_no_answer(again, finished, tmp_path):
    again(exports=False, calibrate=False)
    raw = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert raw["calibration"] == {"temperature": 1}
    temperature = finished.metrics["calibration"]["temperature"]
    assert 0.1 <= temperature <= 10
    assert temperature != 1
    assert f"scores calibrated on validation: temperature {temperature:g}" in (
        finished.lines
    )
    rows = zip(
        *(table(out / "split.csv") for out in (finished.folder, tmp_path / "out")),
        strict=True,
    )
    for calibrated, original in rows:
        assert calibrated["predicted_label"] == original["predicted_label"]
        sure, before = float(calibrated["score"]), float(original["score"])
        assert (sure > before) == (temperature < 1) or sure == before
    for name in ("accuracy", "confusion"):
        assert raw[name] == finished.metrics[name]


def test_the_reject_threshold_agrees_with_split_csv(finished):
    reject = finished.metrics["reject"]
    folder_of = {
        label["label"]: label["folder"] for label in finished.metrics["labels"]
    }
    assert reject["wanted_accuracy"] == 0.95
    for split in ("validation", "test"):
        rows = [
            row for row in table(finished.folder / "split.csv") if row["split"] == split
        ]
        kept = [row for row in rows if float(row["score"]) >= reject["threshold"]]
        right = [
            row for row in kept if folder_of[row["predicted_label"]] == row["label"]
        ]
        assert reject[split]["n"] == len(kept)
        assert reject[split]["coverage"] == pytest.approx(
            len(kept) / len(rows), abs=1e-6
        )
        if kept:
            share = len(right) / len(kept)
            assert reject[split]["accuracy"] == pytest.approx(share, abs=1e-6)


def test_empty_flags_leave_out_what_they_name(warm):
    names = {path.name for path in warm[0].iterdir()}
    assert "saved_model" not in names
    assert not [name for name in names if name.startswith("checkpoint")]


def test_distorted_copies_train_the_head_and_are_cached(again, tmp_path):
    flags = {"flip_left_right": True, "random_crop": 10, "augmentations": 2}
    flags["bottleneck_dir"] = str(tmp_path / "store")
    first, second = (again(exports=False, **flags) for _ in range(2))
    train = json.loads((tmp_path / "out" / "metrics.json").read_text())
    copies = 2 * train["accuracy"]["train"]["n"]
    assert f"{copies} bottlenecks of distorted copies created." in first
    assert "0 bottlenecks of distorted copies created." in second


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("_scores", "is not a valid name of a TensorFlow operation; use letters"),
        ("final result", "is not a valid name of a TensorFlow operation"),
        ("scores:0", "is not a valid name of a TensorFlow operation"),
        ("Scattering/features", "the graph of scattering_96 has an operation of"),
        ("input", "choose another"),
        ("DecodeJpeg/contents", "choose another"),
        ("DecodeJpeg", "choose another"),
        ("final_training_ops/weights", "choose another"),
        ("INPUT", "choose another"),
        ("final_training_ops", "choose another"),
        ("scores/", "choose another"),
    ],
)
def test_a_final_tensor_name_that_cannot_be_is_refused(again, tmp_path, name, message):
    with pytest.raises(ConfigError, match=message) as caught:
        again(final_tensor_name=name)
    assert f"--final_tensor_name={name!r}" in str(caught.value)
    assert not (tmp_path / "out" / "retrained_graph.pb").exists()


def test_another_final_tensor_name_is_used_in_all_exports(rerun):
    _, files = rerun
    assert json.loads(files["metrics.json"])["model"]["final_tensor_name"] == "scores"
    for name in ("retrained_graph.pb", "saved_model/1/saved_model.pb"):
        assert b"final_result" not in files[name]
        assert b"scores" in files[name]


def test_more_than_half_unreadable_stops_and_changes_nothing(again, finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "out")
    before = snapshot(tmp_path / "out")
    images = retraining.write_images(tmp_path / "images")
    for path in sorted(images.rglob("*.jpg"))[: IMAGES // 2 + 1]:
        path.write_bytes(b"no image")
    with pytest.raises(
        DatasetError,
        match=r"32 of 63 images in '.*/images' cannot be used, first 'Red Roses/.*': "
        "not a JPEG.* image; fix the files: at most half may be skipped",
    ):
        again(image_dir=images)
    assert snapshot(tmp_path / "out") == before


def test_a_disk_that_is_full_keeps_the_earlier_results(again, finished, small_disk):
    out = small_disk / "out"
    out.mkdir()
    (out / "retrained_graph.pb").write_bytes(b"of an earlier run")
    (out / "metrics.json").write_text("{}")
    (small_disk / "filler").write_bytes(bytes(150_000))
    with pytest.raises(
        PoetsError,
        match=r"cannot write '.*': no space left on device; what was there before is "
        "unchanged",
    ):
        again(folder=out, summaries_dir=str(finished.folder / "summaries_of_full"))
    assert snapshot(out) == {
        "retrained_graph.pb": b"of an earlier run",
        "metrics.json": b"{}",
    }


def test_a_corrupt_part_is_computed_again_and_the_run_goes_on(
    again, finished, tmp_path
):
    store = tmp_path / "store"
    shutil.copytree(finished.folder / "bottlenecks", store)
    (part, *others) = sorted(store.rglob("part-*.parquet"))
    part.write_bytes(part.read_bytes()[:-100])
    lines = again(bottleneck_dir=str(store), exports=False)
    (warning,) = [line for line in lines if "is damaged" in line]
    assert part.name in warning
    assert "its images are computed again" in warning
    assert (tmp_path / "out" / "split.csv").read_bytes() == (
        finished.folder / "split.csv"
    ).read_bytes()
    assert all(other.exists() for other in others)
    assert len(Store(str(part.parent), 1194).read_index())


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
