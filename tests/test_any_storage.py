"""The whole job with nothing on this machine: as it is locally, bit for bit.

The storage is `tests.far`, so that it can be slow and can fail, and once S3; for HDFS
see `tests/test_job_on_hdfs.py`.
"""

import contextlib
import json
import shutil

import pytest

from poets.data.packs import parquet
from poets.errors import PoetsError, StorageError
from poets.features.pool import Pool
from poets.flags import config_from_args
from poets.job import run
from poets.preflight import preflight
from poets.retraining import retrain
from poets.system.runtime import tf
from tests import packs, retraining
from tests.models import write_mobilenet_archive
from tests.retraining import snapshot

pytest_plugins = ["tests.far"]

SOME = "tulips/" + next(retraining.names_for("tulips", "train"))
FLAGS = {
    "architecture": "mobilenet_0.25_128",
    "intermediate_store_frequency": 25,
    "flip_left_right": True,
    "augmentations": 2,
    "how_many_training_steps": 60,
}
SAME = (  # what a run leaves and does not date
    "retrained_graph.pb",
    "retrained_labels.txt",
    "retrained_graph.tflite",
    "split.csv",
    "skipped_images.csv",
    "saved_model/1/saved_model.pb",
    "checkpoint.data-00000-of-00001",
    "intermediate/intermediate_25.pb",
    "intermediate/intermediate_50.pb",
)


@pytest.fixture(scope="module")
def image_dir(tmp_path_factory):
    """Images, two of which cannot be used; read only."""
    folder = retraining.write_images(tmp_path_factory.mktemp("data") / "images")
    (folder / "daisy" / "broken.jpg").write_bytes(b"text, no image")
    (folder / "daisy" / "empty.png").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    return write_mobilenet_archive(tmp_path_factory.mktemp("models")).parent


@pytest.fixture(scope="module")
def local(tmp_path_factory, image_dir, archives):
    """The files of the same job on this machine."""
    folder = tmp_path_factory.mktemp("local")
    shutil.copytree(archives, folder / "models")
    run_job(str(folder), str(image_dir), processes=2)
    return folder


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """The folder for temporary files of `on_far`."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def on_far(tmp_path_factory, image_dir, archives, scratch, far_storage, local):
    """The files of the same job with all of it on `far`; it comes after `local`.

    TensorFlow keeps files of its own in the temporary folder of its first run.
    """
    folder = tmp_path_factory.mktemp("on_far")
    shutil.copytree(archives, folder / "models")
    with (
        far_storage(tmp_path_factory.mktemp("far")) as far,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        monkeypatch.setattr("tempfile.tempdir", str(scratch))
        far.wait(0.002)
        run_job(far.url(folder), far.url(image_dir), processes=2)
    return folder


def run_job(url, image_url, exports=True, processes=1, report=False):
    """Runs a job that has and leaves everything below a URL; returns what it logs."""
    names = {
        "image_dir": image_url,
        "output_graph": f"{url}/retrained_graph.pb",
        "output_labels": f"{url}/retrained_labels.txt",
        "saved_model_dir": f"{url}/saved_model/1",
        "checkpoint_path": f"{url}/checkpoint",
        "summaries_dir": f"{url}/summaries",
        "bottleneck_dir": f"{url}/bottlenecks",
        "intermediate_output_graphs_dir": f"{url}/intermediate/",
        "model_dir": f"{url}/models",
        "processes": processes,
        "report": report,
    }
    made = contextlib.nullcontext() if exports else retraining.without_exports()
    with made, retraining.logged() as lines:
        run(config_from_args(FLAGS | names))
    return lines


@pytest.fixture
def results(on_far, tmp_path):
    """A folder with nothing but the backbone, as an earlier run left it."""
    folder = tmp_path / "results"
    shutil.copytree(on_far / "models", folder / "models")
    return folder


@pytest.fixture
def results_with_features(on_far, results):
    """The same folder, with the features of an earlier run."""
    shutil.copytree(on_far / "bottlenecks", results / "bottlenecks")
    return results


@pytest.fixture
def job(far, image_dir, results):
    """Returns a function that runs the job, all of it on `far`."""

    def run(**more):
        return run_job(far.url(results), far.url(image_dir), **more)

    return run


def check_same(found, expected):
    """Fails unless two runs left the same, but for times."""
    for name in SAME:
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name
    one, other = (
        json.loads((folder / "metrics.json").read_text())
        for folder in (found, expected)
    )
    for name in ("finished", "duration_s", "flags", "versions", "workers"):
        one.pop(name), other.pop(name)
    assert one == other
    assert values_of(found) == values_of(expected)


def values_of(folder):
    """Returns (run, step, tag, value) of the event files."""
    found = []
    for path in sorted((folder / "summaries").rglob("events.out.tfevents.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                found.append(
                    (path.parent.name, event.step, value.tag, value.simple_value)
                )
    assert found
    return found


def test_the_whole_job_is_the_same_on_any_storage(on_far, local, scratch):
    check_same(on_far, local)
    assert list((on_far / "models").glob("*.tflite"))
    assert list((on_far / "bottlenecks").rglob("part-*.parquet"))
    assert not [n for n in snapshot(on_far) if n.endswith((".part", ".aside"))]
    assert not list(scratch.iterdir())


def test_the_whole_job_is_the_same_on_an_object_store(
    s3, image_dir, archives, local, tmp_path
):
    """Written and read back by a client that is none of ours."""
    client, bucket = s3.client(), s3.make_bucket()
    for name, data in snapshot(image_dir).items():
        client.put_object(Bucket=bucket, Key=f"data/{name}", Body=data)
    for name, data in snapshot(archives).items():
        client.put_object(Bucket=bucket, Key=f"run/models/{name}", Body=data)
    run_job(f"s3://{bucket}/run", f"s3://{bucket}/data")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    for key in [found["Key"] for page in pages for found in page["Contents"]]:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        body = client.get_object(Bucket=bucket, Key=key)["Body"]
        if not key.endswith("/"):
            (tmp_path / key).write_bytes(body.read())
    check_same(tmp_path / "run", local)
    left = [name for name in snapshot(tmp_path / "run") if "/." in f"/{name}"]
    assert left == []


@pytest.mark.parametrize("form", ["ours_parquet", "folder_tgz"])
def test_the_whole_job_is_the_same_from_packs(
    far, form, image_dir, archives, local, tmp_path
):
    shutil.copytree(archives, tmp_path / "models")
    (tmp_path / "packs").mkdir()
    packs.FORMS[form](tmp_path / "packs", snapshot(image_dir))
    run_job(str(tmp_path), far.url(tmp_path / "packs"), processes=2)
    check_same(tmp_path, local)


def test_packs_of_ours_share_the_features_of_folders(
    far, image_dir, results_with_features, tmp_path
):
    folder = tmp_path / "packs"
    folder.mkdir()
    pictures = [
        (path, path.partition("/")[0], _time_of(image_dir / path), data)
        for path, data in snapshot(image_dir).items()
    ]
    with (folder / "a.parquet").open("wb") as file:
        parquet.write(file, pictures, sorted(retraining.FOLDERS))
    far.log()
    lines = run_job(str(results_with_features), far.url(folder), exports=False)
    assert "0 bottleneck files created." in lines
    opened = [line for line in far.log() if line.startswith("open ")]
    assert len(opened) == 2  # to list it, and for the test images of the exports


def _time_of(path):
    return path.stat().st_mtime_ns // 10**6 * 10**6  # as `far` has it


def test_a_pack_that_fails_ends_the_job(far, image_dir, tmp_path):
    (tmp_path / "packs").mkdir()
    pack = packs.stored_zip(tmp_path / "packs", snapshot(image_dir))
    flags = retraining.flags_for(tmp_path, tmp_path / "packs")
    config = config_from_args(flags | {"image_dir": far.url(tmp_path / "packs")})
    dataset = preflight(config)
    far.fail({pack.name: "TimeoutError"})
    with pytest.raises(PoetsError) as caught, Pool(1) as pool:
        retrain(config, dataset, pool)
    assert str(caught.value).startswith(
        f"cannot read '{far.url(pack)}': no answer within 120 s; run again when"
    )


def test_a_second_run_computes_and_converts_nothing(
    job, far, results_with_features, local
):
    far.log()
    lines = job()
    assert "0 bottleneck files created." in lines
    assert not [line for line in lines if line.startswith("converting ")]
    models = [line for line in far.log() if f"{results_with_features}/models/" in line]
    assert not [line for line in models if line.startswith(("write ", "rename "))]
    check_same(results_with_features, local)


def test_the_report_is_written_with_its_pictures(job, results_with_features):
    job(exports=False, report=True)
    page = (results_with_features / "report.html").read_text()
    assert page.count("data:image/jpeg") > 10
    assert "no picture" not in page
    assert (results_with_features / "mistakes.csv").is_file()


def test_a_torn_part_is_computed_again(job, results_with_features, local):
    part = min((results_with_features / "bottlenecks").rglob("part-*.parquet"))
    part.write_bytes(part.read_bytes()[:-30])
    lines = job(exports=False)
    assert any("is damaged" in line for line in lines)
    assert list((results_with_features / "bottlenecks").rglob("*.damaged"))
    for name in ("split.csv", "skipped_images.csv", "checkpoint.data-00000-of-00001"):
        found = (results_with_features / name).read_bytes()
        assert found == (local / name).read_bytes()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("FileNotFoundError", "no such file or directory"),
        ("PermissionError", "permission denied"),
    ],
)
def test_an_image_that_cannot_be_had_is_left_out_and_listed(
    job, far, results, fault, reason
):
    far.fail({f"/{SOME}": fault})
    job(exports=False)
    skipped = (results / "skipped_images.csv").read_text().splitlines()
    assert f"{SOME},{reason}" in skipped


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("ConnectionError", "nobody answers"),
        ("TimeoutError", "no answer within 120 s"),
        ("NotAuthenticatedError", "no ticket"),
    ],
)
def test_a_storage_that_fails_ends_the_job(job, far, image_dir, results, fault, reason):
    far.fail({f"/{SOME}": fault})
    with pytest.raises(PoetsError) as caught:
        job()
    assert str(caught.value) == (
        f"cannot read '{far.url(image_dir)}/{SOME}': {reason}; run again when it "
        "is available: what is done so far is kept"
    )
    assert not (results / "retrained_graph.pb").exists()


def test_a_store_that_cannot_be_read_is_not_taken_for_damaged(
    job, far, results_with_features
):
    far.fail({"part-": "TimeoutError"})
    with pytest.raises(StorageError, match="cannot read 'far://.*parquet': no answer"):
        job()
    assert not list((results_with_features / "bottlenecks").rglob("*.damaged"))


def test_a_long_file_is_not_read(job, far, results, image_dir):
    long = image_dir / "tulips" / "long.jpg"
    with open(long, "wb") as file:
        file.truncate(2**30)
    far.log()
    try:
        job(exports=False)
    finally:
        long.unlink()
    assert not [line for line in far.log() if "long.jpg" in line]
    assert (
        "tulips/long.jpg,1073741824 bytes are more than 268435456: not read"
        in (results / "skipped_images.csv").read_text().splitlines()
    )
