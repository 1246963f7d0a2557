"""The whole job on a real Kerberized HDFS that fails while images are read.

Servers stop, a worker is killed, tickets end: the job goes on, or its rerun does.
"""

import contextlib
import os
import re
import signal
import time

import numpy as np
import pyarrow.fs
import pytest

from poets.storage import exists, open_storage
from tests import retraining
from tests.hdfs_task import (
    check_same,
    fetch,
    folder,
    hdfs,
    local,
    skipped,
    start,
    tensorflow,
)

__all__ = ["fetch", "folder", "hdfs", "local", "start", "tensorflow"]  # fixtures

COUNT = 900


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Images enough for some seconds; they differ in what follows the picture."""
    folder = tmp_path_factory.mktemp("drawn") / "many"
    rng = np.random.default_rng(1)
    pictures = [retraining.jpeg(rng, number % 3) for number in range(30)]
    for number in range(COUNT):
        label = folder / retraining.FOLDERS[number % 3]
        label.mkdir(parents=True, exist_ok=True)
        data = pictures[number % len(pictures)] + b"%d" % number
        (label / f"{number:04d}.jpg").write_bytes(data)
    return folder


@pytest.fixture
def start_pass(start, hdfs, folder, tensorflow, wait_until):
    """Returns a function that starts a task and waits until it has stored features."""

    def start_and_wait(**more):
        task = start(**more)
        wait_until(has_parts(hdfs, folder))
        return task

    return start_and_wait


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


@pytest.mark.soak  # tests/storage has it without a whole job
def test_a_namenode_restarted_in_the_pass_is_waited_for(hdfs, start_pass, fetch, local):
    task = start_pass()
    hdfs.stop_namenode()
    try:
        assert task.process.poll() is None
    finally:
        hdfs.start_namenode()
    task.succeed()
    found = fetch()
    assert skipped(found) == {}
    check_same(found, local)


def test_a_namenode_that_stays_away_ends_the_job_and_a_rerun_goes_on(
    hdfs, start_pass, start, folder, fetch, local
):
    task = start_pass(timeout_s=2, processes=1)
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
    said = start().succeed()
    computed = re.search(r"(\d+) bottleneck files created", said)
    assert 0 < int(computed[1]) < COUNT
    check_same(fetch(), local)


@pytest.mark.soak  # tests/storage has it without a whole job
def test_a_killed_datanode_costs_nothing(hdfs, start_pass, fetch, local):
    task = start_pass()
    hdfs.kill_datanode(0)
    try:
        task.succeed()
        found = fetch()
    finally:
        hdfs.start_all()
    assert skipped(found) == {}
    check_same(found, local)


def test_two_workers_leave_what_one_leaves_though_one_is_killed(
    hdfs, start, fetch, folder, local, tensorflow, wait_until
):
    def worker(index):
        task = {"type": "worker", "index": index}
        place = {"cluster": {"worker": ["one:1", "two:2"]}, "task": task}
        return start(place=place, processes=1)

    chief, other = worker(0), worker(1)
    wait_until(has_parts(hdfs, folder, 2))
    other.process.kill()
    again = worker(1)
    chief.succeed()
    again.succeed()
    found = fetch()
    check_same(found, local)
    assert not list(found.rglob("worker-*.json.*"))


def test_a_job_outlives_its_tickets(hdfs, start_pass, fetch, local, wait_until):
    """Tickets last 10 s. In the pass the NameNode goes, and is back after 12 s."""
    hdfs.kdc.kadmin("modprinc", "-maxlife", "10seconds", "tensorflow@LOCAL")
    try:
        task = start_pass(processes=1)
        with paused(task):
            hdfs.stop_namenode()
        stopped = time.monotonic()
        wait_until(lambda: time.monotonic() - stopped > 12, poll_s=0.5)
        assert task.process.poll() is None, task.said()
        hdfs.start_namenode()
        task.succeed()
    finally:
        hdfs.kdc.kadmin("modprinc", "-maxlife", "1days", "tensorflow@LOCAL")
        hdfs.start_all()
    found = fetch()
    assert skipped(found) == {}
    check_same(found, local)
