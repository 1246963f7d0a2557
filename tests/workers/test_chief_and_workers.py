"""Workers share the work, and none of them is needed to end it.

Real processes that meet on a folder. Whichever one is killed, stopped, late or has a
wrong clock: the chief has, bit for bit, what one process alone has.
"""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from poets.data.distortions import Distortions
from poets.features.store import Store
from poets.flags import config_from_args
from poets.workers.folder import JobFolder
from tests.retraining import children_of, is_running
from tests.seeds import seeds

TASK = Path(__file__).with_name("task.py")
ROOT = Path(__file__).parents[2]
COUNT = 300
FLIP = Distortions(True, 0, 0, 0, seed=0)


@pytest.fixture(scope="module")
def many_images(tmp_path_factory, pictures):
    """300 images that differ in what comes after the picture; a third are daisies."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(COUNT):
        label = folder / ("daisy", "tulips", "roses")[number % 3]
        label.mkdir(exist_ok=True)
        data = pictures[number % len(pictures)] + b"%d" % number
        (label / f"{number:03d}.jpg").write_bytes(data)
    return folder


class Job:
    """Worker processes that meet below a folder."""

    def __init__(self, nursery, folder, image_dir, network, num_workers, **more):
        self.nursery, self.folder, self.num_workers = nursery, folder, num_workers
        self.size = network.size
        self.answer = folder / "answer.npz"
        self.store = folder / "store" / "network"
        self.flags = {
            "image_dir": str(image_dir),
            "bottleneck_dir": str(folder / "store"),
            "output_graph": str(folder / "out" / "graph.pb"),
            "chief_timeout_s": 300,
            **more.pop("flags", {}),
        }
        self.settings = {
            "flags": self.flags,
            "spec": network.spec(image_dir, self.store, distortions=FLIP).to_json(),
            "size": network.size,
            "answer": str(self.answer),
            "done_grace_s": 1.0,
            "late_s": 1.0,
            **more,
        }
        self.started = []

    def start(self, index, command=(), environment=None):
        """Starts a worker; what it says goes to `said(index)`."""
        words = (json.dumps(self.settings), str(index), str(self.num_workers))
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
        with (self.folder / f"log-{index}").open("ab") as log:
            if command:
                process = subprocess.Popen(
                    [*command, sys.executable, str(TASK), *words],
                    **{"cwd": ROOT, "env": environment, "stdout": log, "stderr": log},
                )
            else:
                code = TASK.read_text()
                process = self.nursery.start(code, environment, log, words)
        self.started.append(process)
        return process

    def start_all(self):
        return [self.start(index) for index in range(self.num_workers)]

    def said(self, index):
        return (self.folder / f"log-{index}").read_text()

    def parts(self):
        return list(self.store.glob("part-*.parquet"))

    def rows(self):
        """Returns how many bottlenecks the store holds, twins included."""
        store = Store(str(self.store), self.size)
        index = store.read_index()
        keys = zip(index.paths.to_pylist(), index.variants, strict=True)
        return len(index), len(set(keys))

    def job_folder(self):
        return JobFolder.of(config_from_args(self.flags), self.num_workers)

    def end(self, processes, codes=None):
        for number, process in enumerate(processes):
            expected = 0 if codes is None else codes[number]
            assert process.wait(300) == expected, self.logs()
        assert "Traceback" not in self.logs()

    def logs(self):
        return "\n".join(
            f"{path.name}: {path.read_text()}" for path in self.folder.glob("log-*")
        )

    def stop(self):
        for process in self.started:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


@pytest.fixture
def job(nursery, tmp_path, many_images, network):
    jobs = []

    def make(num_workers, folder="job", **more):
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        jobs.append(Job(nursery, place, many_images, network, num_workers, **more))
        return jobs[-1]

    yield make
    for made in jobs:
        made.stop()


@pytest.fixture(scope="module")
def alone(nursery, tmp_path_factory, many_images, network):
    """What a chief without other workers gets."""
    folder = tmp_path_factory.mktemp("alone")
    made = Job(nursery, folder, many_images, network, 1)
    made.end([made.start(0)])
    return np.load(made.answer)


def check_same(made, alone):
    with np.load(made.answer) as found:
        for name in alone.files:
            assert np.array_equal(found[name], alone[name]), name


@pytest.mark.parametrize("num_workers", [2, 3])
def test_workers_leave_what_one_leaves_and_each_image_is_computed_once(
    job, alone, num_workers
):
    made = job(num_workers, late_s=1e6)  # never late, on a busy machine, too
    made.end(made.start_all())
    check_same(made, alone)
    written, different = made.rows()
    assert different == COUNT + 2 * COUNT // 3
    assert written == different
    for index in range(1, num_workers):
        assert "the job is done" in made.said(index)
    left = {path.name for path in Path(made.job_folder().url).iterdir()}
    assert left <= {"chief.json", *(f"worker-{i}.json" for i in range(num_workers))}
    assert not list(made.store.glob("*.done"))


def test_every_worker_has_its_share(job, alone):
    made = job(2)
    made.end(made.start_all())
    computed = [
        int(line.split()[1])
        for line in made.said(1).splitlines()
        if "bottlenecks computed" in line
    ]
    assert len(computed) >= 1
    assert sum(computed) >= COUNT // 8


def test_a_chief_to_whom_nobody_comes_does_it_all(job, alone):
    made = job(3)
    made.end([made.start(0)])
    check_same(made, alone)


def test_a_worker_that_comes_when_all_is_done_ends_well(job):
    made = job(2)
    made.end([made.start(0)])
    made.end([made.start(1)])
    assert (
        "a job with these flags was done before this worker came; waiting 1 s for "
        "another run of it to begin"
    ) in made.said(1)
    assert "worker:1: no other run of it has begun" in made.said(1)


def test_another_run_of_a_done_job_takes_its_workers_again(job, alone):
    made = job(2, done_grace_s=30.0)
    made.end([made.start(0)])
    for part in made.parts():
        part.unlink()
    worker = made.start(1)
    made.end([made.start(0), worker])
    assert "the job is done" in made.said(1)
    check_same(made, alone)


def test_a_chief_that_fails_takes_the_workers_with_it(job, wait_until):
    made = job(2, failing="the sky is falling")
    worker = made.start(1)
    wait_until(lambda: "waiting for the chief" in made.said(1))
    made.end([made.start(0), worker], codes=[1, 1])
    assert "FAILED: the chief failed: the sky is falling" in made.said(1)


def test_a_worker_that_finds_the_chief_failed_waits_for_it_to_come_back(job, alone):
    made = job(2, failing="the sky is falling", flags={"chief_timeout_s": 2})
    made.end([made.start(0)], codes=[1])
    made.end([made.start(1)], codes=[1])
    assert "FAILED: the chief failed: the sky is falling" in made.said(1)
    made.settings["failing"] = ""
    made.flags["chief_timeout_s"] = 300
    worker = made.start(1)
    made.end([made.start(0), worker])
    check_same(made, alone)


def test_a_chief_that_does_not_come_is_named_by_the_worker(job):
    made = job(2, flags={"chief_timeout_s": 1})
    made.end([made.start(1)], codes=[1])
    assert "the chief was not heard from for 1 s in " in made.said(1)
    assert "--bottleneck_dir is one folder for all workers" in made.said(1)


@pytest.mark.parametrize("seed", seeds(24, always=range(4)))
def test_whoever_is_killed_the_result_is_the_same(job, alone, seed, wait_until):
    rng = random.Random(seed)
    made = job(2)
    victims = [[1], [0], [0, 1], [1]][seed % 4]
    comes_back = seed % 8 != 3
    enough = rng.randint(0, 12)
    processes = made.start_all()
    wait_until(
        lambda: len(made.parts()) >= enough or made.answer.exists(), poll_s=0.002
    )
    for index in victims:
        processes[index].kill()
    for index in victims:
        processes[index].wait(300)
        if comes_back:
            processes[index] = made.start(index)
    made.end([p for i, p in enumerate(processes) if comes_back or i not in victims])
    check_same(made, alone)
    written, different = made.rows()
    assert different == COUNT + 2 * COUNT // 3
    assert not list(made.store.glob("*.damaged"))
    # At most the chunks in work, on two workers, and again where a plan was dropped.
    assert written - different <= COUNT


def test_a_worker_that_is_stopped_is_not_waited_for_and_comes_back_late(
    job, alone, wait_until
):
    made = job(2)
    chief, worker = made.start_all()
    wait_until(lambda: "waiting for the chief" in made.said(1))
    wait_until(lambda: made.parts(), poll_s=0.002)
    stopped = [worker.pid, *children_of(worker.pid)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    made.end([chief])
    check_same(made, alone)
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    made.end([worker])
    assert "the job is done" in made.said(1)
    assert made.rows()[1] == COUNT + 2 * COUNT // 3


def test_a_chief_that_was_replaced_while_it_stood_still_gives_up(job, wait_until):
    made = job(2)
    first = made.start(0)
    wait_until(lambda: made.parts(), poll_s=0.002)
    stopped = [first.pid, *children_of(first.pid)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    made.end([made.start(0)])
    answer = made.answer.read_bytes()
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    assert first.wait(300) in (0, 1)
    if first.returncode:
        assert "another chief of this job has taken over" in made.said(0)
    assert made.job_folder().read("chief.json")["state"] == "done"
    assert np.load(made.answer)["plain"].shape[0] == COUNT
    assert answer


@pytest.mark.parametrize("offset", ["-1h", pytest.param("+1h", marks=pytest.mark.soak)])
def test_a_wrong_clock_does_no_harm(job, alone, require, offset, many_images):
    require("faketime", os.access("/usr/bin/faketime", os.X_OK))
    made = job(2, late_s=300.0)
    clock = {"NO_FAKE_STAT": "1"}
    worker = made.start(1, ("/usr/bin/faketime", "-f", offset), clock)
    made.end([made.start(0), worker])
    check_same(made, alone)
    written, different = made.rows()
    assert written == different
    image = next(many_images.glob("daisy/*.jpg"))
    before = image.stat()
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    try:  # a stale row is computed again, and once
        made.end([made.start(0)])
        rows = made.rows()[0]
        made.end([made.start(0)])
        assert made.rows()[0] == rows
    finally:
        os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_two_jobs_on_one_store_do_not_disturb_each_other(job, alone):
    one = job(2, "one")
    other = job(2, "other", flags={"bottleneck_dir": one.flags["bottleneck_dir"]})
    other.settings["spec"] = one.settings["spec"]
    one_runs, other_runs = one.start_all(), other.start_all()
    one.end(one_runs)
    other.end(other_runs)
    check_same(one, alone)
    check_same(other, alone)
    assert one.job_folder().url != other.job_folder().url


def test_a_worker_without_the_image_dir_reports_it_and_the_chief_does_its_share(
    job, alone, many_images, tmp_path, wait_until
):
    made = job(2)
    worker = made.start(1, _unshared(tmp_path, many_images))
    wait_until(lambda: "waiting for the chief" in made.said(1))
    chief = made.start(0)
    wait_until(lambda: made.parts(), poll_s=0.002)
    stopped = [chief.pid, *children_of(chief.pid)]
    for pid in stopped:  # else it may have done all before the worker begins
        os.kill(pid, signal.SIGSTOP)
    made.end([worker], codes=[1])
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    made.end([chief])
    check_same(made, alone)
    assert str(many_images) in made.said(1).splitlines()[-1]


def _unshared(tmp_path, image_dir):
    """A command that runs another one where a folder is empty."""
    empty = tmp_path / "empty"
    empty.mkdir()
    mount = f'mount --bind {empty} {image_dir} && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", mount, "sh"]
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("no mount namespace here")
    return command


def test_a_full_disk_ends_the_job_and_room_for_it_goes_on(job, alone, small_disk):
    """A chief that cannot say that it failed is one that is gone."""
    made = job(2, flags={"chief_timeout_s": 5})
    made.flags["bottleneck_dir"] = str(small_disk)
    made.store = small_disk / "network"
    spec = json.loads(made.settings["spec"])
    spec["networks"][0]["store_url"] = str(made.store)
    made.settings["spec"] = json.dumps(spec)
    processes = made.start_all()
    assert [process.wait(300) for process in processes] == [1, 1], made.logs()
    assert "no space left on device" in made.logs()
    assert "Traceback" not in made.logs()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    made.flags["chief_timeout_s"] = 300
    made.end(made.start_all())
    check_same(made, alone)


def test_a_store_that_becomes_read_only_ends_the_job(
    job, alone, small_disk, wait_until
):
    remount = ["mount", "-o", "remount,size=64m", str(small_disk)]
    subprocess.run(remount, check=True)
    made = job(2, flags={"chief_timeout_s": 5})
    made.flags["bottleneck_dir"] = str(small_disk)
    made.store = small_disk / "network"
    spec = json.loads(made.settings["spec"])
    spec["networks"][0]["store_url"] = str(made.store)
    made.settings["spec"] = json.dumps(spec)
    processes = made.start_all()
    wait_until(lambda: made.parts(), poll_s=0.002)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert processes[0].wait(300) == 1, made.logs()
    assert processes[1].wait(300) == 1, made.logs()
    assert "read-only file system" in made.logs()
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    made.flags["chief_timeout_s"] = 300
    made.end(made.start_all())
    check_same(made, alone)


def test_processes_end_with_their_killed_worker(job, wait_until):
    made = job(2)
    chief = made.start(0)
    wait_until(lambda: len(children_of(chief.pid)) == 2)  # with what forked the other
    children = children_of(chief.pid)
    chief.kill()
    chief.wait(300)
    wait_until(lambda: not any(map(is_running, children)))
