"""The whole job with several workers, each a process, with real TensorFlow servers.

What they leave is what one process leaves, byte for byte, whoever is killed when.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from poets.cli import run as run_verb
from tests import retraining

ROOT = Path(__file__).parents[1]
SAME = ("retrained_graph.pb", "retrained_graph.tflite", "split.csv")
TASK = """
import json, os, sys
from poets.errors import PoetsError
from poets.job import main
place = json.loads(os.environ["PLACE"])
server = None
if place:
    from poets.runtime import tf
    server = tf.distribute.Server(
        place["cluster"], job_name=place["job"], task_index=place["index"]
    )
try:
    main(server, os.environ["LOG_DIR"], os.environ["CONTEXT"])
except PoetsError as error:
    print(f"FAILED: {error}", file=sys.stderr)
    sys.stderr.flush()
    os._exit(error.exit_code)
os._exit(0)  # a TensorFlow server cannot be stopped
"""
pytestmark = pytest.mark.timeout(180)


class Cluster:
    """Tasks on loopback that run one job in a folder."""

    def __init__(self, folder, image_dir, workers, ps=0, server=True, **more):
        self.folder, self.workers, self.server = folder, workers, server
        folder.mkdir(parents=True, exist_ok=True)
        ports = _free_ports(workers + ps)
        self.jobs = {"worker": ports[:workers]} | (
            {"ps": ports[workers:]} if ps else {}
        )
        flags = retraining.flags_for(folder, image_dir, processes=1, **more)
        self.flags = {"chief_timeout_s": 60, "flip_left_right": True, **flags}
        self.started = []

    def start(self, job, index):
        place = {"cluster": self.jobs, "job": job, "index": index}
        task = {"cluster": self.jobs, "task": {"type": job, "index": index}}
        several = len(self.jobs["worker"]) > 1
        environment = {
            "PYTHONPATH": str(ROOT),
            "PLACE": json.dumps(place if self.server else None),
            "LOG_DIR": str(self.folder),
            "CONTEXT": json.dumps({"args": self.flags}),
            **({"TF_CONFIG": json.dumps(task)} if several and not self.server else {}),
        }
        with (self.folder / f"log-{job}-{index}").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", TASK],
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,
            )
        self.started.append(process)
        return process

    def start_workers(self):
        return [self.start("worker", index) for index in range(self.workers)]

    def said(self, index, job="worker"):
        return (self.folder / f"log-{job}-{index}").read_text()

    def end(self, processes):
        logs = self.folder.glob("log-*")
        for process in processes:
            assert process.wait(90) == 0, "\n".join(p.read_text() for p in logs)

    def stop(self):
        for process in self.started:
            process.kill()
            process.wait()


def _free_ports(count):
    bound = [socket.socket() for _ in range(count)]
    try:
        for one in bound:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in bound]
    finally:
        for one in bound:
            one.close()


@pytest.fixture(scope="module")
def image_dir(tmp_path_factory):
    return retraining.write_images(tmp_path_factory.mktemp("drawn") / "images")


@pytest.fixture(scope="module")
def alone(image_dir, tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("alone"), image_dir, 1, server=False)
    made.end(made.start_workers())
    return made.folder


@pytest.fixture
def cluster(tmp_path, image_dir):
    made = []

    def make(workers, folder="job", **more):
        made.append(Cluster(tmp_path / folder, image_dir, workers, **more))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def check_same(folder, alone):
    for name in SAME:
        assert (folder / name).read_bytes() == (alone / name).read_bytes(), name
    accuracies = [
        json.loads((place / "metrics.json").read_text())["accuracy"]
        for place in (folder, alone)
    ]
    assert accuracies[0] == accuracies[1]
    assert not (folder / ".poets-progress.json").exists()


@pytest.mark.parametrize(("workers", "ps"), [(1, 1), (2, 0), (2, 1), (3, 1)])
def test_any_number_of_tasks_leaves_what_one_process_leaves(
    cluster, alone, workers, ps
):
    made = cluster(workers, ps=ps)
    servers = [made.start("ps", index) for index in range(ps)]
    made.end(made.start_workers())
    check_same(made.folder, alone)
    assert made.said(0).rstrip().endswith("Done")
    for index in range(1, workers):
        assert f"worker:{index}: the job is done" in made.said(index)
    assert all(server.poll() is None for server in servers)


def test_tf_config_does_as_well(cluster, alone):
    made = cluster(2, server=False)
    made.end(made.start_workers())
    check_same(made.folder, alone)


@pytest.mark.parametrize(
    "moment",
    [
        "the workers of this job meet",
        "bottleneck files created",
        "bottlenecks of distorted copies created",
        "Final test accuracy",
        "Save final result to",
    ],
)
def test_a_chief_killed_anywhere_goes_on_when_it_is_started_again(
    cluster, alone, moment, wait_until
):
    made = cluster(2, server=False)
    chief, worker = made.start_workers()
    wait_until(lambda: moment in made.said(0), timeout_s=60, poll_s=0.005)
    chief.send_signal(signal.SIGKILL)
    chief.wait(30)
    made.end([made.start("worker", 0), worker])
    check_same(made.folder, alone)


def test_a_killed_ps_is_not_missed(cluster, alone, wait_until):
    made = cluster(2, ps=1)
    server = made.start("ps", 0)
    processes = made.start_workers()
    wait_until(lambda: "serving until" in made.said(0, "ps"), timeout_s=60)
    server.kill()
    made.end(processes)
    check_same(made.folder, alone)


def test_the_users_mistake_ends_all_workers_with_its_exit_code(
    cluster, tmp_path, wait_until
):
    made = cluster(2, server=False)
    made.flags["image_dir"] = str(tmp_path / "absent")
    worker = made.start("worker", 1)
    wait_until(lambda: "waiting for the chief" in made.said(1), timeout_s=60)
    chief = made.start("worker", 0)
    assert [process.wait(60) for process in (chief, worker)] == [2, 2]
    assert "FAILED: the chief failed: Image directory " in made.said(1)


def test_results_show_how_far_a_running_job_is(cluster, capsys, tmp_path):
    made = cluster(2, server=False)
    record = {
        "done": 7,
        "total": 9,
        "workers": [
            {"worker": 0, "computed": 5, "taken_over": 1, "silent_s": 0.0},
            {"worker": 1, "computed": 2, "taken_over": 0, "silent_s": 12.0},
            {"worker": 2, "computed": 0, "taken_over": 0, "silent_s": None},
        ],
    }
    (made.folder / ".poets-progress.json").write_text(json.dumps(record))
    assert run_verb(["results", str(made.folder)]) == 0
    assert (
        "running, or killed: 7 of 9 bottlenecks; by worker: 0: 5 with 1 chunk of "
        "others, 1: 2, silent for 12 s, 2: not heard of\n"
    ) in capsys.readouterr().out
