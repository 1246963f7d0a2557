"""The whole job of `demo/poets-s3.json` against an S3 store on loopback.

The store's address and the keys come from the environment, as on a cluster; what is
written is read by a client that is none of ours.
"""

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LABELS = {"daisy": 30, "käse 花 #1?": 30, "roses": 30}


RETRAIN = "from poets.cli import main; main()"


def poets(s3_server, *words):
    """Returns what a command of ours did, with the store in its environment."""
    return subprocess.run(
        [sys.executable, "-m", "poets", *words],
        cwd=ROOT,
        env={**os.environ, **s3_server.environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def job_url(tmp_path_factory):
    dist = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "build_zip.py", "--output", str(dist)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=300,
    )
    (path,) = dist.glob("*.zip")
    return str(path)


@pytest.fixture(scope="module")
def bucket(s3_server, labelled_folder, tmp_path_factory):
    """A bucket with pictures below `flowers`."""
    name, client = s3_server.make_bucket(), s3_server.client()
    images = labelled_folder(tmp_path_factory.mktemp("pictures"), LABELS)

    def put(path):
        key = f"flowers/{path.relative_to(images)}"
        client.put_object(Bucket=name, Key=key, Body=path.read_bytes())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, images.rglob("*.jpg")))
    return name


def run_job(s3_server, job_url, bucket, sandbox, *settings):
    return poets(
        s3_server,
        *("dcos", "run", "demo/poets-s3.json", "--sandbox", str(sandbox)),
        *("--set", f"service.job_url={job_url}"),
        *("--set", f"service.shared_filesystem=s3://{bucket}/test_run"),
        *("--arg", f"image_dir=s3://{bucket}/flowers"),
        *("--arg", "saved_model_dir=<<shared_filesystem>>/saved_model/1"),
        *("--arg", "how_many_training_steps=100"),
        *("--arg", "checkpoint_path="),  # the default is a file of this machine
        *settings,
    )


def objects_of(s3_server, bucket, prefix):
    """Returns key below the prefix -> content, as another client sees them."""
    client = s3_server.client()
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=prefix
    )
    return {
        item["Key"].removeprefix(prefix): client.get_object(
            Bucket=bucket, Key=item["Key"]
        )["Body"].read()
        for page in pages
        for item in page.get("Contents", ())
        if not item["Key"].endswith("/")
    }


@pytest.fixture(scope="module")
def finished(s3_server, job_url, bucket, tmp_path_factory):
    """The first run, and what it left."""
    sandbox = tmp_path_factory.mktemp("first")
    done = run_job(s3_server, job_url, bucket, sandbox)
    assert done.returncode == 0, done.stderr
    return done, objects_of(s3_server, bucket, "test_run/")


def test_the_job_runs_with_everything_in_the_store(finished):
    done, objects = finished
    assert "(COMPLETE)" in done.stdout
    assert "Done" in done.stderr
    assert {
        *("retrained_graph.pb", "retrained_graph.tflite", "retrained_labels.txt"),
        *("metrics.json", "split.csv", "skipped_images.csv"),
        *("saved_model/1/saved_model.pb", "report.html", "report.json"),
    } <= set(objects)
    assert b"data:image/jpeg" in objects["report.html"]
    assert any(name.startswith("bottlenecks/") for name in objects)
    assert any(name.startswith("training_summaries/train/") for name in objects)
    labels = objects["retrained_labels.txt"].decode().splitlines()
    assert len(labels) == len(LABELS)
    assert not [name for name in objects if ".part" in name or "poets-" in name]


def test_what_the_manifest_says_is_in_the_store(finished):
    _, objects = finished
    metrics = json.loads(objects["metrics.json"])
    assert metrics["images"]["used"] == sum(LABELS.values())
    for name in ("retrained_graph.pb", "retrained_graph.tflite"):
        digest = hashlib.sha256(objects[name]).hexdigest()
        assert metrics["exports"][name]["sha256"] == digest


def test_no_secret_is_in_what_was_printed_or_written(s3_server, finished):
    done, objects = finished
    secret = s3_server.secret_key
    assert secret not in done.stdout + done.stderr
    assert not [name for name, data in objects.items() if secret.encode() in data]


def test_a_second_run_computes_no_picture_again(
    s3_server, nursery, bucket, finished, tmp_path
):
    _, before = finished
    flags = json.loads(before["metrics.json"])["flags"]
    flags["report"] = "false"  # the first run has it
    words = [f"--{name}={value}" for name, value in flags.items()]
    with (tmp_path / "log").open("wb") as log:
        variables = {**os.environ, **s3_server.environment}
        task = nursery.start(RETRAIN, variables, log, ["retrain", *words])
    code = task.wait()
    said = task.log.read_text()
    assert code == 0, said
    assert "0 bottleneck files created." in said
    after = objects_of(s3_server, bucket, "test_run/")
    assert after["metrics.json"] != before["metrics.json"]
    assert after["retrained_graph.pb"] == before["retrained_graph.pb"]


def test_the_results_are_shown_and_used(s3_server, bucket, finished):
    shown = poets(s3_server, "results", f"s3://{bucket}/test_run")
    assert shown.returncode == 0, shown.stderr
    assert "retrained_graph.pb" in shown.stdout
    labelled = poets(
        s3_server,
        *("label", f"s3://{bucket}/flowers/daisy/0000.jpg"),
        *("--model", f"s3://{bucket}/test_run/retrained_graph.pb"),
    )
    assert labelled.returncode == 0, labelled.stderr
    assert labelled.stdout.startswith("daisy (score = 0.")


@pytest.mark.soak  # tests/storage has it without a whole job
def test_of_two_jobs_at_once_one_wins(s3_server, job_url, bucket, tmp_path):
    def run(name):
        shared = f"service.shared_filesystem=s3://{bucket}/both"
        longer = "how_many_training_steps=5000"  # both are at work for some seconds
        words = ("--set", shared, "--arg", longer)
        return run_job(s3_server, job_url, bucket, tmp_path / name, *words)

    with ThreadPoolExecutor(2) as pool:
        done = sorted(pool.map(run, ["one", "other"]), key=lambda run: run.returncode)
    assert [run.returncode for run in done] == [0, 1], [run.stderr for run in done]
    assert "worker-0 exited with code 2" in done[1].stdout  # and is not started again
    assert (
        f"cannot publish to 's3://{bucket}/both': another job published there at 20"
    ) in done[1].stderr
    assert "its results stay; run again, or name another folder" in done[1].stderr
    objects = objects_of(s3_server, bucket, "both/")
    digest = hashlib.sha256(objects["retrained_graph.pb"]).hexdigest()
    metrics = json.loads(objects["metrics.json"])
    assert metrics["exports"]["retrained_graph.pb"]["sha256"] == digest
    assert not [name for name in objects if ".part" in name or "poets-" in name]


def test_a_bucket_that_is_missing_is_reported_before_the_work(s3_server, bucket):
    for images, out in ((bucket, "no-such-bucket"), ("no-such-bucket", bucket)):
        flags = {
            "image_dir": f"s3://{images}/flowers",
            "architecture": "scattering_128",
            "output_graph": f"s3://{out}/run/graph.pb",
            "output_labels": f"s3://{bucket}/run/labels.txt",
            "bottleneck_dir": f"s3://{bucket}/run/bottlenecks",
            "summaries_dir": f"s3://{bucket}/run/summaries",
        }
        words = [f"--{name}={value}" for name, value in flags.items()]
        done = poets(s3_server, "retrain", *words)
        assert done.returncode in (1, 2)
        assert "the bucket 'no-such-bucket' does not exist; make it, or " in done.stderr
        assert "Traceback" not in done.stderr
        assert "bottleneck files created" not in done.stderr
