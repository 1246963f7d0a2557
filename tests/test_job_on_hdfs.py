"""The whole job on a real Kerberized HDFS, as the task of DC/OS runs it.

A process of its own calls the hook with the variables that a task has: the address of
the Hadoop configuration, the Kerberos realm and its KDC, the keytab in the sandbox.
Nothing of the job is on this machine. What it leaves is read by Hadoop's own shell.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import re
import shutil
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.fs
import pytest

from poets.cli import run as run_verb
from poets.data.images import MAX_BYTES
from poets.data.packing import pack_images
from poets.features.pool import Pool
from poets.flags import config_from_args
from poets.job import run
from poets.preflight import preflight
from poets.retraining import retrain
from poets.storage import exists, open_storage, read_url
from poets.storage.publish import write_atomically
from tests import forked, retraining
from tests.command import OURS
from tests.storage.at_once import names_below

ROOT = Path(__file__).parents[1]
IMAGES = "/tensorflow_input_data/job"
MANY = "/tensorflow_input_data/many"
SOME = "tulips/" + next(retraining.names_for("tulips", "train"))
OTHER = "daisy/" + next(retraining.names_for("daisy", "train"))
COUNT = 900
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


def context(folder="<<shared_filesystem>>", images=IMAGES, **more):
    """Returns the job's context; all of it lies below a folder."""
    args = {
        "image_dir": f"hdfs://default{images}",
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


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return retraining.write_images(tmp_path_factory.mktemp("drawn") / "images")


@pytest.fixture(scope="module")
def many_images(tmp_path_factory):
    """Images enough for some seconds; they differ in what follows the picture."""
    folder = tmp_path_factory.mktemp("many") / "images"
    rng = np.random.default_rng(1)
    pictures = [retraining.jpeg(rng, number % 3) for number in range(30)]
    for number in range(COUNT):
        label = folder / retraining.FOLDERS[number % 3]
        label.mkdir(parents=True, exist_ok=True)
        data = pictures[number % len(pictures)] + b"%d" % number
        (label / f"{number:04d}.jpg").write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def hdfs(private_hdfs, images, many_images):
    """The session's HDFS that encrypts all data, with the images on it."""
    private_hdfs.cluster.put(images, IMAGES)
    private_hdfs.cluster.put(many_images, MANY)
    return private_hdfs


def local_run(folder, image_dir):
    """Runs the same job on this machine."""
    given = context(str(folder), **{"image_dir": str(image_dir)})
    run(config_from_args(given["args"]))
    return folder


@pytest.fixture(scope="module")
def local(images, tmp_path_factory):
    return local_run(tmp_path_factory.mktemp("local"), images)


@pytest.fixture(scope="module")
def local_many(many_images, tmp_path_factory):
    return local_run(tmp_path_factory.mktemp("local"), many_images)


@pytest.fixture
def folder(hdfs, request):
    """A new folder of `tensorflow`, by its path."""
    name = re.sub(r"\W+", "_", request.node.name)[:60]
    path = f"/tensorflow/{name}"
    hdfs.cluster.make_folder(path, "tensorflow:tensorflow")
    return path


@pytest.fixture
def start(nursery, hdfs, folder, tmp_path):
    """Returns a function that starts the hook as the task of DC/OS does."""
    started = []

    def start_task(given=None, user="tensorflow", timeout_s=None, place=None, **more):
        sandbox = tmp_path / f"sandbox-{len(started)}"
        sandbox.mkdir()
        keytab = shutil.copy(hdfs.keytab(user), sandbox / "hdfs.keytab")
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
            "SECURITY_KERBEROS_PRIMARY": user,
            "SECURITY_KERBEROS_REALM": "LOCAL",
            "SECURITY_KERBEROS_KDC_HOSTNAME": "localhost",
            "SECURITY_KERBEROS_KDC_PORT": str(hdfs.kdc.port),
        }
        if timeout_s:
            task["POETS_STORAGE_TIMEOUT_S"] = str(timeout_s)
        if place:
            task["TF_CONFIG"] = json.dumps(place)
        text = json.dumps(given or context(**more))
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


def unfinished(folder):
    """Returns what a publication that did not end has left."""
    return [name for name in retraining.snapshot(folder) if "/." in f"/{name}"]


def skipped(folder):
    text = (folder / "skipped_images.csv").read_text()
    return {row["path"]: row["reason"] for row in csv.DictReader(io.StringIO(text))}


def says(task, text):
    """Returns a function: whether a task has printed a text, or ended."""
    return lambda: text in task.said() or task.process.poll() is not None


def has_parts(hdfs, folder, count=1):
    """Returns a function: whether so many parts are in the store."""

    def found():
        filesystem, path = open_storage(f"{hdfs.url}{folder}/bottlenecks")
        below = pyarrow.fs.FileSelector(path, recursive=True, allow_not_found=True)
        infos = filesystem.get_file_info(below)
        return sum(info.base_name.startswith("part-") for info in infos) >= count

    return found


@contextlib.contextmanager
def paused(task):
    """Stops a task and its children, so that it is where it was at the end."""
    pids = [task.process.pid]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
        pids += retraining.children_of(pid)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_the_whole_job_replaces_earlier_results_by_what_it_leaves_locally(
    hdfs, start, fetch, folder, local, tensorflow, capsys
):
    code, said = start(how_many_training_steps=80).end()
    assert code == 0, said
    earlier = read_url(f"{hdfs.url}{folder}/retrained_graph.pb")
    assert earlier != (local / "retrained_graph.pb").read_bytes()
    code, said = start().end()
    assert code == 0, said
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
    code, said = start(images=f"{folder}/packs").end()
    assert code == 0, said
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
def test_a_namenode_restarted_in_the_pass_is_waited_for(
    hdfs, start, folder, fetch, local_many, tensorflow, wait_until
):
    task = start(images=MANY)
    wait_until(has_parts(hdfs, folder), timeout_s=300)
    hdfs.stop_namenode()
    try:
        assert task.process.poll() is None
    finally:
        hdfs.start_namenode()
    code, said = task.end()
    assert code == 0, said
    found = fetch()
    assert skipped(found) == {}
    check_same(found, local_many)


def test_a_namenode_that_stays_away_ends_the_job_and_a_rerun_goes_on(
    hdfs, start, folder, fetch, local_many, tensorflow, wait_until
):
    task = start(images=MANY, timeout_s=2, processes=1)
    wait_until(has_parts(hdfs, folder), timeout_s=300)
    try:
        with paused(task):
            hdfs.stop_namenode()
        code, said = task.end()
    finally:
        hdfs.start_namenode()
    assert code == 1
    told = said[said.index("FAILED: ") :]
    assert re.search(r"NameNode.*\(tried \d+ times in \d+ s\); run again when", told), (
        told
    )
    assert not exists(f"{hdfs.url}{folder}/retrained_graph.pb")
    code, said = start(images=MANY).end()
    assert code == 0, said
    computed = re.search(r"(\d+) bottleneck files created", said)
    assert 0 < int(computed[1]) < COUNT
    check_same(fetch(), local_many)


@pytest.mark.soak  # tests/storage has it without a whole job
def test_a_killed_datanode_costs_nothing(
    hdfs, start, folder, fetch, local_many, tensorflow, wait_until
):
    task = start(images=MANY)
    wait_until(has_parts(hdfs, folder), timeout_s=300)
    hdfs.kill_datanode(0)
    try:
        code, said = task.end()
        assert code == 0, said
        found = fetch()
    finally:
        hdfs.start_all()
    assert skipped(found) == {}
    check_same(found, local_many)


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
    assert start(how_many_training_steps=80).end()[0] == 0
    earlier = fetch()
    for pause_s in (0.0, 0.05, 0.2):
        task = start()
        wait_until(says(task, "Save final result to"), timeout_s=300)
        threading.Event().wait(pause_s)  # another moment each time
        os.kill(task.process.pid, signal.SIGKILL)
        task.process.wait(300)
        found = fetch()
        for name in SAME:
            data = (found / name).read_bytes()
            assert data in [(d / name).read_bytes() for d in (earlier, local)], name
    code, said = start().end()
    assert code == 0, said
    check_same(fetch(), local)


def test_two_workers_leave_what_one_leaves_though_one_is_killed(
    hdfs, start, fetch, folder, local_many, tensorflow, wait_until
):
    def worker(index):
        task = {"type": "worker", "index": index}
        place = {"cluster": {"worker": ["one:1", "two:2"]}, "task": task}
        return start(place=place, images=MANY, processes=1)

    chief, other = worker(0), worker(1)
    wait_until(has_parts(hdfs, folder, 2), timeout_s=300)
    other.process.kill()
    again = worker(1)
    code, said = chief.end()
    assert code == 0, said
    assert again.end()[0] == 0, again.said()
    found = fetch()
    check_same(found, local_many)
    assert not list(found.rglob("worker-*.json.*"))


def test_a_job_outlives_its_tickets(
    hdfs, start, fetch, folder, local_many, tensorflow, wait_until
):
    """Tickets last 10 s. In the pass the NameNode goes, and is back after 12 s."""
    hdfs.kdc.kadmin("modprinc", "-maxlife", "10seconds", "tensorflow@LOCAL")
    try:
        task = start(images=MANY, processes=1)
        wait_until(has_parts(hdfs, folder), timeout_s=300)
        with paused(task):
            hdfs.stop_namenode()
        stopped = time.monotonic()
        wait_until(lambda: time.monotonic() - stopped > 12, timeout_s=300, poll_s=0.5)
        assert task.process.poll() is None, task.said()
        hdfs.start_namenode()
        code, said = task.end()
    finally:
        hdfs.kdc.kadmin("modprinc", "-maxlife", "1days", "tensorflow@LOCAL")
        hdfs.start_all()
    assert code == 0, said
    found = fetch()
    assert skipped(found) == {}
    check_same(found, local_many)
