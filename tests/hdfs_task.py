"""A task of DC/OS on a real Kerberized HDFS: a process that calls the hook.

It has the variables that a task has: the address of the Hadoop configuration, the
Kerberos realm and its KDC, the keytab in the sandbox. Nothing of the job is on this
machine. What it leaves is read by Hadoop's own shell.

A file of tests defines the fixture `images`, the folder that `hdfs` and `local` use.
"""

import csv
import hashlib
import io
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from poets.flags import config_from_args
from poets.job import run
from tests import forked
from tests.command import OURS

ROOT = Path(__file__).parents[1]
INPUT = "/tensorflow_input_data"
HOOK = """
import sys
from poets.errors import PoetsError
from poets.job import main
try:
    main(None, sys.argv[1], sys.argv[2])
except PoetsError as error:
    sys.exit(f"FAILED: {error}")
"""
SAME = (
    "retrained_graph.pb",
    "retrained_graph.tflite",
    "retrained_labels.txt",
    "split.csv",
    "checkpoint.data-00000-of-00001",
)


def context(folder, **more):
    """Returns the job's context; all that it writes lies below a folder."""
    args = {
        "architecture": "scattering_96",
        "how_many_training_steps": 60,
        "output_graph": f"{folder}/retrained_graph.pb",
        "output_labels": f"{folder}/retrained_labels.txt",
        "saved_model_dir": f"{folder}/saved_model/1",
        "checkpoint_path": f"{folder}/checkpoint",
        "summaries_dir": f"{folder}/summaries",
        "bottleneck_dir": f"{folder}/bottlenecks",
        "model_dir": f"{folder}/models",
        **more,
    }
    return {"args": {f"--{name}": value for name, value in args.items()}}


def on_hdfs(images):
    """Returns the URL of a folder of images that `hdfs` has put there."""
    return f"hdfs://default{INPUT}/{images.name}"


@dataclass
class Task:
    """A process that runs the hook.

    Attributes:
      process: it.
      log: what it prints.
    """

    process: forked.Task
    log: Path

    def said(self):
        """Returns what it has printed so far."""
        return self.log.read_text()

    def end(self, timeout_s=300):
        """Waits for its end and returns the exit code and what it printed."""
        code = self.process.wait(timeout_s)
        assert "Traceback" not in self.said(), self.said()
        return code, self.said()

    def succeed(self):
        """Waits for its end, which must be a success, and returns what it printed."""
        code, said = self.end()
        assert code == 0, said
        return said


@pytest.fixture(scope="module")
def hdfs(private_hdfs, images):
    """The session's HDFS that encrypts all data, with the images on it."""
    private_hdfs.cluster.put(images, f"{INPUT}/{images.name}")
    return private_hdfs


@pytest.fixture(scope="module")
def local(images, tmp_path_factory):
    """What the same job leaves on this machine."""
    folder = tmp_path_factory.mktemp("local")
    run(config_from_args(context(str(folder), image_dir=str(images))["args"]))
    return folder


@pytest.fixture
def folder(hdfs, request):
    """A new folder of `tensorflow`, by its path."""
    name = re.sub(r"\W+", "_", request.node.name)[:60]
    path = f"/tensorflow/{name}"
    hdfs.cluster.make_folder(path, "tensorflow:tensorflow")
    return path


@pytest.fixture
def start(nursery, hdfs, images, folder, tmp_path):
    """Returns a function that starts the hook as the task of DC/OS does."""
    started = []

    def start_task(timeout_s=None, place=None, **more):
        sandbox = tmp_path / f"sandbox-{len(started)}"
        sandbox.mkdir()
        keytab = shutil.copy(hdfs.keytab("tensorflow"), sandbox / "hdfs.keytab")
        os.chmod(keytab, 0o600)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
        task = {
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(sandbox),
            "MESOS_SANDBOX": str(sandbox),
            "HDFS_ENABLED": "true",
            "HDFS_CORE_SITE_URI": f"{hdfs.config_uri}/core-site.xml",
            "HDFS_HDFS_SITE_URI": f"{hdfs.config_uri}/hdfs-site.xml",
            "SECURITY_KERBEROS_ENABLED": "true",
            "SECURITY_KERBEROS_PRIMARY": "tensorflow",
            "SECURITY_KERBEROS_REALM": "LOCAL",
            "SECURITY_KERBEROS_KDC_HOSTNAME": "localhost",
            "SECURITY_KERBEROS_KDC_PORT": str(hdfs.kdc.port),
        }
        if timeout_s:
            task["POETS_STORAGE_TIMEOUT_S"] = str(timeout_s)
        if place:
            task["TF_CONFIG"] = json.dumps(place)
        given = {"image_dir": on_hdfs(images), **more}
        text = json.dumps(context("<<shared_filesystem>>", **given))
        log = sandbox / "stderr"
        with log.open("wb") as file:
            words = [f"hdfs://default{folder}", text]
            process = nursery.start(HOOK, kept | task, file, words)
        started.append(Task(process, log))
        return started[-1]

    yield start_task
    for task in started:
        task.process.kill()
        task.process.wait()


@pytest.fixture
def tensorflow(hdfs, monkeypatch):
    """This process is `tensorflow`, too."""
    for name in [name for name in os.environ if name.startswith(OURS)]:
        monkeypatch.delenv(name)
    for name, value in hdfs.environment("tensorflow").items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def fetch(hdfs, folder, tmp_path):
    """Returns a function that copies the folder here by Hadoop's own shell."""

    def get():
        target = tmp_path / f"fetched-{len(list(tmp_path.iterdir()))}"
        done = hdfs.dfs("-get", folder, str(target), user="tensorflow")
        assert done.returncode == 0, done.stderr
        return target

    return get


def check_same(found, expected):
    """Fails unless a run left what another did."""
    for name in SAME:
        one, other = (
            hashlib.sha256((place / name).read_bytes()).hexdigest()
            for place in (found, expected)
        )
        assert one == other, name
    exports = json.loads((found / "metrics.json").read_text())["exports"]
    graph = (found / "retrained_graph.pb").read_bytes()
    digest = hashlib.sha256(graph).hexdigest()
    assert exports["retrained_graph.pb"]["sha256"] == digest


def skipped(folder):
    """Returns the images that a run left out, with the reasons."""
    text = (folder / "skipped_images.csv").read_text()
    return {row["path"]: row["reason"] for row in csv.DictReader(io.StringIO(text))}
