"""The whole job in several processes on loopback, as a scheduler starts them.

Each task is a process with a real TensorFlow server, or with TF_CONFIG and none. What
it says goes to a file. The job is small: 63 drawn pictures, each distorted four times.

    cluster(2, ps=1)     a fixture that makes a `Cluster` and stops what is left of it
    drawn_images         its pictures
    one_process          the folder that one process leaves
    two_processes        an undisturbed `Cluster` of two, with TF_CONFIG
"""

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from tests import retraining

ROOT = Path(__file__).parents[1]
SAME = ("retrained_graph.pb", "retrained_graph.tflite", "split.csv")
TASK = """
import json, os, sys
from poets.errors import PoetsError
exec(os.environ["BEFORE"])
from poets.job import main
place = json.loads(os.environ["PLACE"])
server = None
if place:
    from poets.system.runtime import tf
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


class Cluster:
    """Tasks on loopback that run one job in a folder.

    Args:
      nursery: what starts them.
      folder: of all the job leaves; made if absent.
      image_dir: the pictures.
      workers: how many, the chief included.
      ps: how many parameter servers.
      server: whether tasks have TensorFlow servers; else the workers have TF_CONFIG.
      before: Python that each task runs first.
      more: flags.
    """

    def __init__(
        self, nursery, folder, image_dir, workers, ps=0, server=True, before="", **more
    ):
        self.nursery = nursery
        self.folder, self.workers, self.server = folder, workers, server
        self.ps, self.before = ps, before
        folder.mkdir(parents=True, exist_ok=True)
        ports = _free_ports(workers + ps)
        self.jobs = {"worker": ports[:workers]} | (
            {"ps": ports[workers:]} if ps else {}
        )
        flags = retraining.flags_for(folder, image_dir, processes=1, **more)
        self.flags = {"chief_timeout_s": 300, "flip_left_right": True, **flags}
        self.started = []

    def start(self, job, index):
        """Starts a task; what it says is added to what it said."""
        place = {"cluster": self.jobs, "job": job, "index": index}
        task = {"cluster": self.jobs, "task": {"type": job, "index": index}}
        several = len(self.jobs["worker"]) > 1
        environment = {
            "BEFORE": self.before,
            "PLACE": json.dumps(place if self.server else None),
            "LOG_DIR": str(self.folder),
            "CONTEXT": json.dumps({"args": self.flags}),
            **({"TF_CONFIG": json.dumps(task)} if several and not self.server else {}),
        }
        with (self.folder / f"log-{job}-{index}").open("ab") as log:
            process = self.nursery.start(TASK, {**os.environ, **environment}, log)
        self.started.append(process)
        return process

    def start_workers(self):
        return [self.start("worker", index) for index in range(self.workers)]

    def start_all(self):
        """Returns (job, index) -> process of every task."""
        tasks = [("ps", index) for index in range(self.ps)]
        tasks += [("worker", index) for index in range(self.workers)]
        return {task: self.start(*task) for task in tasks}

    def said(self, index, job="worker"):
        path = self.folder / f"log-{job}-{index}"
        return path.read_text() if path.exists() else ""

    def logs(self):
        return "\n".join(
            f"{path.name}:\n{path.read_text()}" for path in self.folder.glob("log-*")
        )

    def end(self, processes):
        for process in processes:
            assert process.wait(300) == 0, self.logs()
        assert "Traceback" not in self.logs(), self.logs()

    def stop(self):
        for process in self.started:
            process.send_signal(signal.SIGCONT)
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


@pytest.fixture(scope="session")
def drawn_images(tmp_path_factory):
    return retraining.write_images(tmp_path_factory.mktemp("drawn") / "images")


@pytest.fixture(scope="session")
def one_process(nursery, drawn_images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    made = Cluster(nursery, folder, drawn_images, 1, server=False)
    made.end(made.start_workers())
    return made.folder


@pytest.fixture(scope="session")
def two_processes(nursery, drawn_images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    made = Cluster(nursery, folder, drawn_images, 2, server=False)
    made.end(made.start_workers())
    return made


@pytest.fixture
def cluster(nursery, tmp_path, drawn_images):
    made = []

    def make(workers, folder="job", **more):
        place = tmp_path / folder
        made.append(Cluster(nursery, place, drawn_images, workers, **more))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def check_same(folder, expected):
    """Fails unless a job left what another did, byte for byte, and no other file."""
    for name in SAME:
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name
    accuracies = [
        json.loads((place / "metrics.json").read_text())["accuracy"]
        for place in (folder, expected)
    ]
    assert accuracies[0] == accuracies[1]
    assert _names(folder) == _names(expected)


def _names(folder):
    """Returns what a job left, less what killed ones did not finish."""
    names = {path.name for path in folder.iterdir()}
    return {n for n in names if not n.startswith("log-") and not n.endswith(".part")}
