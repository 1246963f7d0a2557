"""Real workers with real children: the same result from any number, after any kill."""

import itertools
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from poets.cluster import Cluster
from poets.errors import PoetsError
from poets.fine_tuning import supervise
from poets.fine_tuning.files import Folder
from poets.fine_tuning.supervise import Supervisor
from tests.fine_tuning import network
from tests.fine_tuning.forks import tuners_of
from tests.retraining import is_running
from tests.seeds import seeds

WORKER = Path(__file__).with_name("worker.py")
TIMEOUT_S = 300
STEPS = 12


def shared(path, **more):
    """Returns a folder with inputs in it, and their key."""
    folder, inputs = Folder(str(path)), network.inputs(**more)
    key = inputs.key()
    folder.write_inputs(inputs, key)
    return folder, key


@pytest.fixture(scope="module")
def start(nursery, tmp_path_factory):
    """Starts a worker in a folder that it may share."""
    logs = tmp_path_factory.mktemp("logs")
    numbers = itertools.count()

    def run(folder, key, worker=0, workers=1, every_s=1000.0, silent_s=TIMEOUT_S):
        words = (folder.url, key, STEPS, worker, workers, every_s, silent_s)
        with (logs / str(next(numbers))).open("wb") as log:
            code = WORKER.read_text()
            return nursery.start(code, os.environ, log, list(map(str, words)))

    return run


def finish(*workers):
    for worker in workers:
        assert worker.wait(TIMEOUT_S) == 0, worker.log.read_text()


@pytest.fixture(scope="module")
def alone(start, tmp_path_factory):
    """The state after 12 steps of 8, made by one undisturbed worker."""
    folder, key = shared(tmp_path_factory.mktemp("alone"))
    finish(start(folder, key))
    return folder.read_checkpoint(key, STEPS)


@pytest.fixture(scope="module")
def two(start, tmp_path_factory):
    """The same, made by two undisturbed workers, and its folder."""
    folder, key = shared(tmp_path_factory.mktemp("two"))
    finish(*(start(folder, key, worker, 2) for worker in range(2)))
    return folder.read_checkpoint(key, STEPS), Path(folder.url)


def assert_same(found, expected, atol=0.0):
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert np.allclose(found[name], value, rtol=0, atol=atol), name


def hold_after(tmp_path, steps):
    """Has the first worker's child wait after so many steps, until it is released."""
    hold = tmp_path / "hold"
    hold.write_text(str(steps))
    return hold


def kill_children(worker):
    children = tuners_of(worker.pid)
    assert children
    for child in children:
        os.kill(child, signal.SIGKILL)


def test_two_workers_are_one_with_twice_the_batch(alone, two):
    """8 examples a step, of which each worker takes 4."""
    found, folder = two
    assert_same(found, alone, atol=1e-5)
    assert not list(folder.glob("reg-1.json"))


@pytest.mark.parametrize("seed", seeds(3, always=[1]))
def test_a_killed_child_goes_on_from_its_checkpoint(
    start, alone, tmp_path, seed, wait_until
):
    folder, key = shared(tmp_path)
    after = random.Random(seed).randint(1, STEPS - 1)
    hold = hold_after(tmp_path, after)
    worker = start(folder, key, every_s=0)
    wait_until(lambda: folder.newest_step(key) == after, TIMEOUT_S)
    kill_children(worker)
    hold.unlink()
    finish(worker)
    assert f"fine-tuning goes on from step {after}: a process" in worker.log.read_text()
    assert_same(folder.read_checkpoint(key, STEPS), alone)


def test_a_killed_worker_takes_its_child_with_it_and_goes_on(
    start, alone, tmp_path, wait_until
):
    folder, key = shared(tmp_path)
    hold = hold_after(tmp_path, 3)
    worker = start(folder, key, every_s=0)
    wait_until(lambda: folder.newest_step(key) == 3, TIMEOUT_S)
    children = tuners_of(worker.pid)
    assert children
    worker.kill()
    worker.wait(TIMEOUT_S)
    wait_until(lambda: not any(map(is_running, children)), TIMEOUT_S)
    hold.unlink()
    finish(start(folder, key))
    assert_same(folder.read_checkpoint(key, STEPS), alone)


@pytest.mark.parametrize(
    ("part", "lost"),
    [
        ("child", 0),
        ("worker", 1),
        pytest.param("child", 1, marks=pytest.mark.soak),
        pytest.param("worker", 0, marks=pytest.mark.soak),
    ],
)
def test_a_lost_one_of_two_is_restarted_and_both_go_on(
    start, two, tmp_path, wait_until, lost, part
):
    """It is lost when one has made 5 steps and the other waits for it in the next."""
    folder, key = shared(tmp_path)
    hold = hold_after(tmp_path, 5)
    workers = [start(folder, key, worker, 2, 0) for worker in range(2)]
    wait_until(lambda: folder.newest_step(key) == 5, TIMEOUT_S)
    if part == "worker":
        workers[lost].kill()
        workers[lost].wait(TIMEOUT_S)
        workers[lost] = start(folder, key, lost, 2, 0)
    else:
        kill_children(workers[lost])
    hold.unlink()
    finish(*workers)
    assert folder.read_json("generation.json")["number"] > 1
    assert_same(folder.read_checkpoint(key, STEPS), two[0])


def test_a_worker_that_is_done_lets_the_first_write_its_last_checkpoint(
    start, two, tmp_path, wait_until
):
    folder, key = shared(tmp_path)
    hold = hold_after(tmp_path, STEPS)
    workers = [start(folder, key, worker, 2) for worker in range(2)]
    wait_until(lambda: tuners_of(workers[1].pid), TIMEOUT_S)
    wait_until(lambda: not tuners_of(workers[1].pid), TIMEOUT_S)
    done_s = time.monotonic()
    wait_until(lambda: time.monotonic() > done_s + 1, TIMEOUT_S)  # looks at each other
    hold.unlink()
    finish(*workers)
    assert folder.read_json("generation.json")["number"] == 1
    assert_same(folder.read_checkpoint(key, STEPS), two[0])


def test_a_child_that_hangs_is_ended_and_another_goes_on(
    start, alone, tmp_path, wait_until
):
    folder, key = shared(tmp_path)
    hold = hold_after(tmp_path, 3)
    worker = start(folder, key, every_s=0, silent_s=5.0)
    wait_until(lambda: folder.newest_step(key) == 3, TIMEOUT_S)
    for child in tuners_of(worker.pid):
        os.kill(child, signal.SIGSTOP)
    hold.unlink()
    finish(worker)
    assert_same(folder.read_checkpoint(key, STEPS), alone)
    assert "step 3: a process reported nothing for 5 s" in worker.log.read_text()


def test_a_finished_one_is_not_made_again(start, tmp_path, monkeypatch):
    folder, key = shared(tmp_path)
    finish(start(folder, key))
    monkeypatch.setattr(supervise, "_Tuner", None)
    Supervisor(folder, Cluster()).lead(key, STEPS)
    assert folder.newest_step(key) == STEPS


def test_a_worker_that_does_not_come_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(supervise, "WAIT_S", 0.5)
    folder, key = shared(tmp_path)
    with pytest.raises(
        PoetsError,
        match=r"fine-tuning waits for worker 1, worker 2 of 3 workers, which did not "
        r"register in '.*' within 0.5 s; see their logs, or run with fewer workers",
    ):
        Supervisor(folder, Cluster(num_workers=3)).lead(key, STEPS)


def test_a_disk_that_gets_full_ends_the_wait_for_a_worker(small_disk, monkeypatch):
    monkeypatch.setattr(supervise, "LOG_EVERY_S", 0.0)
    monkeypatch.setattr(supervise, "WAIT_S", 60.0)
    folder, key = shared(small_disk / "shared")

    def fill(*log_line):
        left = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        (small_disk / "filler").write_bytes(bytes(left))

    monkeypatch.setattr(supervise.logger, "info", fill)  # while it waits
    with pytest.raises(PoetsError, match=r"reg-0.json': no space left on device"):
        Supervisor(folder, Cluster(num_workers=2)).lead(key, STEPS)
    assert folder.read_json("reg-0.json")


def test_no_progress_ends_with_what_ended_the_child(tmp_path, monkeypatch):
    monkeypatch.setattr(supervise, "ATTEMPTS", 2)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    folder, key = shared(tmp_path)
    with pytest.raises(
        PoetsError,
        match=r"fine-tuning was started 2 times from step 0 and made no progress, "
        r"last: a process ended: exit code 1; find out why its processes end",
    ):
        Supervisor(folder, Cluster()).lead(key, STEPS)


def test_a_loss_that_is_not_finite_is_reported_at_once(start, tmp_path):
    folder, key = shared(tmp_path, learning_rate=1e38)
    worker = start(folder, key)
    assert worker.wait(TIMEOUT_S) == 1
    assert re.search(
        r"no finite cross entropy at step \d: nan; lower --fine_tune_learn",
        worker.log.read_text(),
    )


def test_a_disk_that_is_full_is_reported_at_once(start, small_disk):
    folder, key = shared(small_disk / "shared")
    left = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    with (small_disk / "filler").open("wb") as filler:
        filler.write(bytes(left - 8192))
    worker = start(folder, key, every_s=0)
    assert worker.wait(TIMEOUT_S) == 1
    assert re.search(
        r"cannot write '.*checkpoint-\w+-\d+.npz': no space left on device",
        worker.log.read_text(),
    )
    assert folder.newest_step(key) == 0
