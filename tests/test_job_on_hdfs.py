"""The whole job on a real Kerberized HDFS: what it leaves and what it spares."""

import csv
import hashlib
import json
import os
import signal
import threading

import pytest

from poets.cli import run as run_verb
from poets.data.images import MAX_BYTES
from poets.data.packing import pack_images
from poets.features.pool import Pool
from poets.flags import config_from_args
from poets.preflight import preflight
from poets.retraining import retrain
from poets.storage import read_url
from poets.storage.publish import write_atomically
from tests import retraining
from tests.hdfs_task import (
    INPUT,
    SAME,
    check_same,
    context,
    fetch,
    folder,
    hdfs,
    local,
    skipped,
    start,
    tensorflow,
)
from tests.storage.at_once import names_below

__all__ = ["fetch", "folder", "hdfs", "local", "start", "tensorflow"]  # fixtures

IMAGES = f"{INPUT}/job"
SOME = "tulips/" + next(retraining.names_for("tulips", "train"))
OTHER = "daisy/" + next(retraining.names_for("daisy", "train"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return retraining.write_images(tmp_path_factory.mktemp("drawn") / "job")


def unfinished(folder):
    """Returns what a publication that did not end has left."""
    return [name for name in retraining.snapshot(folder) if "/." in f"/{name}"]


def publishing(task):
    """Returns a function: whether a task begins to publish, or has ended."""
    return lambda: (
        "Save final result to" in task.said() or task.process.poll() is not None
    )


def test_the_whole_job_replaces_earlier_results_by_what_it_leaves_locally(
    hdfs, start, fetch, folder, local, tensorflow, capsys
):
    start(how_many_training_steps=80).succeed()
    earlier = read_url(f"{hdfs.url}{folder}/retrained_graph.pb")
    assert earlier != (local / "retrained_graph.pb").read_bytes()
    said = start().succeed()
    assert "0 bottleneck files created." in said
    found = fetch()
    check_same(found, local)
    assert unfinished(found) == []
    assert list(found.rglob("part-*.parquet"))
    assert list((found / "models").glob("*.tflite"))
    assert list((found / "summaries" / "train").glob("events.out.tfevents.*"))
    for sandbox in found.parent.glob("sandbox-*"):
        left = {path.name for path in sandbox.iterdir()} - {"__pycache__"}
        assert left == {"hdfs.keytab", "stderr"}

    names = [f"{hdfs.url}{folder}/{name}" for name in ("retrained_graph.pb", "log")]
    image = f"{hdfs.url}{IMAGES}/{SOME}"
    assert run_verb(["label", image, "--model", names[0], "--top", "1"]) == 0
    with (local / "split.csv").open() as file:
        (row,) = [row for row in csv.DictReader(file) if row["path"] == SOME]
    assert capsys.readouterr().out.startswith(f"{row['predicted_label']} (score = ")
    write_atomically(names[1], said.encode())
    assert run_verb(["logs", names[1]]) == 0
    assert "final test accuracy" in capsys.readouterr().out

    listing = hdfs.dfs("-ls", folder).stdout
    assert run_verb(["results", f"{hdfs.url}{folder}"]) == 0
    shown = capsys.readouterr().out
    for line in listing.splitlines()[1:]:
        mode, replication, owner, group, size, day, time, path = line.split()
        assert f"{mode} {replication:>3} {owner} {group} " in shown
        assert f" {size} {day} {time} {hdfs.url}{path}\n" in shown
    graph = next(x for x in listing.splitlines() if "retrained_graph.pb" in x)
    assert graph.startswith("-rw-r--r--   3 tensorflow tensorflow ")


def test_the_job_leaves_the_same_from_packs(
    hdfs, start, folder, fetch, local, tensorflow
):
    packed = pack_images(f"{hdfs.url}{IMAGES}", f"{hdfs.url}{folder}/packs")
    assert (packed.files, packed.images) == (1, retraining.IMAGES)
    assert run_verb(["doctor", f"{hdfs.url}{folder}/packs", "--all"]) == 0
    start(image_dir=f"hdfs://default{folder}/packs").succeed()
    check_same(fetch(), local)


def test_a_folder_that_is_not_ours_stops_the_job_early(start, hdfs, folder, tensorflow):
    hdfs.cluster.make_folder(f"{folder}/saved_model/1/mine", "tensorflow:tensorflow")
    code, said = start().end()
    assert code == 1
    assert "saved_model/1' holds files and is not a SavedModel" in said
    assert names_below(f"{hdfs.url}{folder}") == []


class TestLargeFiles:
    """On the HDFS without encryption, which takes them ten times as fast."""

    @pytest.fixture
    def hdfs(self, secure_hdfs):
        return secure_hdfs

    def test_images_that_cannot_be_had_are_left_out(
        self, hdfs, folder, images, tensorflow, tmp_path
    ):
        """Deleted, or forbidden, between listing and reading; or too long."""
        photos = f"{folder}/images"
        hdfs.cluster.put(images, photos)
        hdfs.change(("create", f"{photos}/daisy/long.jpg", MAX_BYTES + 1))
        given = context(str(tmp_path), image_dir=f"{hdfs.url}{photos}")
        config = config_from_args(given["args"])
        dataset = preflight(config)
        hdfs.change(
            ("delete", f"{photos}/{SOME}", False),
            ("set_permission", f"{photos}/{OTHER}", 0),
        )
        with Pool(1) as pool:
            retrain(config, dataset, pool)
        hdfs.change(("delete", photos, True))
        reasons = skipped(tmp_path)
        assert reasons.keys() == {SOME, OTHER, "daisy/long.jpg"}
        assert reasons[SOME].startswith("no such file or directory")
        assert "'tensorflow' may not read" in reasons[OTHER]
        told = f"{MAX_BYTES + 1} bytes are more than {MAX_BYTES}: not read"
        assert reasons["daisy/long.jpg"] == told


@pytest.mark.soak  # tests/storage has it without a whole job
def test_of_two_jobs_at_once_one_wins_and_the_other_reports_it(start, fetch):
    ends = [
        task.end()
        for task in [start(how_many_training_steps=5000, seed=seed) for seed in (1, 2)]
    ]
    assert sorted(code for code, _ in ends) == [0, 1]
    (lost,) = [said for code, said in ends if code]
    assert "another job published there" in lost
    found = fetch()
    assert unfinished(found) == []
    winner = 1 if ends[0][0] == 0 else 2
    metrics = json.loads((found / "metrics.json").read_text())
    assert metrics["flags"]["seed"] == winner
    graph = hashlib.sha256((found / "retrained_graph.pb").read_bytes()).hexdigest()
    assert metrics["exports"]["retrained_graph.pb"]["sha256"] == graph


@pytest.mark.soak  # tests/storage has it without a whole job
def test_a_job_killed_while_it_publishes_leaves_whole_files(
    start, fetch, local, wait_until
):
    start(how_many_training_steps=80).succeed()
    earlier = fetch()
    for pause_s in (0.0, 0.05, 0.2):
        task = start()
        wait_until(publishing(task))
        threading.Event().wait(pause_s)  # another moment each time
        os.kill(task.process.pid, signal.SIGKILL)
        task.process.wait(300)
        found = fetch()
        for name in SAME:
            data = (found / name).read_bytes()
            assert data in [(d / name).read_bytes() for d in (earlier, local)], name
    start().succeed()
    check_same(fetch(), local)
