"""Another run on the same images: what it reuses, replaces, refuses and keeps."""

import json
import shutil

import pytest

from poets.errors import ConfigError, DatasetError, PoetsError
from poets.features.store import Store
from poets.report.build import report_names
from tests import retraining
from tests.retraining import IMAGES, read_csv, snapshot

pytest_plugins = ["tests.finished"]


@pytest.fixture
def again(finished, tmp_path):
    """Runs once more on the same images and features, into a folder of its own."""

    def run(folder=tmp_path / "out", image_dir=finished.image_dir, **flags):
        flags = {"bottleneck_dir": str(finished.folder / "bottlenecks"), **flags}
        return retraining.retrain(folder, image_dir, **flags)

    return run


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
    rows = read_csv(out / "skipped_images.csv")
    assert [row["path"] for row in rows] == sorted(
        [*finished.broken, "daisy/lfs.jpg", "daisy/a.jpg.url"]
    )
    assert rows[2]["reason"].startswith("a pointer of Git LFS, not the picture: run")
    assert metrics["images"]["skipped"] == len(rows)
    assert metrics["images"]["used"] == finished.metrics["images"]["used"]
    used = [row["path"] for row in read_csv(out / "split.csv")]
    assert f"tulips/{tulip.stem}.jfif" in used


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


def test_empty_flags_leave_out_what_they_name(warm):
    names = {path.name for path in warm[0].iterdir()}
    assert "saved_model" not in names
    assert not [name for name in names if name.startswith("checkpoint")]


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


def test_another_final_tensor_name_is_used_in_all_exports(rerun):
    _, files = rerun
    assert json.loads(files["metrics.json"])["model"]["final_tensor_name"] == "scores"
    for name in ("retrained_graph.pb", "saved_model/1/saved_model.pb"):
        assert b"final_result" not in files[name]
        assert b"scores" in files[name]


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
        *(read_csv(out / "split.csv") for out in (finished.folder, tmp_path / "out")),
        strict=True,
    )
    for calibrated, original in rows:
        assert calibrated["predicted_label"] == original["predicted_label"]
        sure, before = float(calibrated["score"]), float(original["score"])
        assert (sure > before) == (temperature < 1) or sure == before
    for name in ("accuracy", "confusion"):
        assert raw[name] == finished.metrics[name]


def test_distorted_copies_train_the_head_and_are_cached(again, tmp_path):
    flags = {"flip_left_right": True, "random_crop": 10, "augmentations": 2}
    flags["bottleneck_dir"] = str(tmp_path / "store")
    first, second = (again(exports=False, **flags) for _ in range(2))
    train = json.loads((tmp_path / "out" / "metrics.json").read_text())
    copies = 2 * train["accuracy"]["train"]["n"]
    assert f"{copies} bottlenecks of distorted copies created." in first
    assert "0 bottlenecks of distorted copies created." in second


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


def test_a_disk_that_is_full_keeps_the_earlier_results(again, small_disk, tmp_path):
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
        again(folder=out, summaries_dir=str(tmp_path / "summaries"))
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
