"""The whole job with several workers, each a process, with real TensorFlow servers.

What they leave is what one process leaves, byte for byte; see `test_lost_workers`, too.
"""

import json
import os
import re

import pytest

from poets.cli import run as run_verb
from tests.tasks import check_same


@pytest.mark.parametrize(
    ("workers", "ps"),
    [
        (1, 1),
        pytest.param(2, 0, marks=pytest.mark.soak),
        pytest.param(2, 1, marks=pytest.mark.soak),
        pytest.param(3, 1, marks=pytest.mark.soak),
    ],
)
def test_any_number_of_tasks_leaves_what_one_process_leaves(
    cluster, one_process, workers, ps
):
    made = cluster(workers, ps=ps)
    servers = [made.start("ps", index) for index in range(ps)]
    made.end(made.start_workers())
    check_whole(made, one_process)
    assert all(server.poll() is None for server in servers)


def check_whole(made, one_process):
    check_same(made.folder, one_process)
    assert made.said(0).rstrip().endswith("Done")
    for index in range(1, made.workers):
        assert f"worker:{index}: the job is done" in made.said(index)


def test_a_killed_ps_is_not_missed_by_three_workers(cluster, one_process, wait_until):
    made = cluster(3, ps=2)
    killed, other = (made.start("ps", index) for index in range(2))
    processes = made.start_workers()
    wait_until(lambda: "serving until" in made.said(0, "ps"), timeout_s=300)
    killed.kill()
    made.end(processes)
    check_whole(made, one_process)
    assert other.poll() is None


def test_tf_config_does_as_well(two_processes, one_process):
    check_whole(two_processes, one_process)


def test_the_users_mistake_ends_all_workers_with_its_exit_code(
    cluster, tmp_path, wait_until
):
    made = cluster(2, server=False)
    made.flags["image_dir"] = str(tmp_path / "absent")
    worker = made.start("worker", 1)
    wait_until(lambda: "waiting for the chief" in made.said(1), timeout_s=300)
    chief = made.start("worker", 0)
    assert [process.wait(300) for process in (chief, worker)] == [2, 2]
    assert "FAILED: the chief failed: Image directory " in made.said(1)


def test_results_show_how_far_a_running_job_is(cluster, capsys, tmp_path):
    made = cluster(2, server=False)
    record = {
        "done": 7,
        "total": 9,
        "unit": "bottlenecks",
        "workers": "0: 5 with 1 chunk of others, 1: 2",
    }
    (made.folder / ".poets-progress.json").write_text(json.dumps(record))
    assert run_verb(["results", str(made.folder)]) == 0
    assert (
        "running, or killed: 7 of 9 bottlenecks; by worker: 0: 5 with 1 chunk of "
        "others, 1: 2\n"
    ) in capsys.readouterr().out


# Once all have computed something, the chief goes on when somebody has read it.
HELD = """
import os, re, time
from poets.workers import folder, progress
folder.BEAT_S, progress.LINE_EVERY_S = 0.02, 0.0
def report(self, division, earlier=progress.Progress.report):
    with division._lock:
        earlier(self, division)
        shown = progress.read_progress(self._results_url) or {"workers": "0: 0"}
        if all(map(int, re.findall(r": (\\d+)", shown["workers"]))):
            while not os.path.exists(os.environ["LOG_DIR"] + "-read"):
                time.sleep(0.01)
progress.Progress.report = report
"""


def test_results_and_the_chiefs_log_show_the_progress_of_all_workers(
    cluster, wait_until, capsys
):
    made = cluster(2, server=False, before=HELD, augmentations=20)
    processes = made.start_workers()
    shown = []

    def told():
        capsys.readouterr()
        if made.folder.exists() and os.listdir(made.folder):
            assert run_verb(["results", str(made.folder)]) == 0
            found = re.search(
                r"running, or killed: (\d+) of (\d+) bottlenecks; by worker: "
                r"0: (\d+)[^,]*, 1: (\d+)",
                capsys.readouterr().out,
            )
            if found and all(map(int, found.groups())):
                shown.append([int(text) for text in found.groups()])
        return shown

    wait_until(told, timeout_s=300)
    made.folder.with_name(made.folder.name + "-read").touch()
    made.end(processes)
    done, total, *by_worker = shown[0]
    assert 0 < done < total
    assert sum(by_worker) <= total
    lines = re.findall(r"bottlenecks by worker: 0: (\d+).*, 1: (\d+)", made.said(0))
    assert any(int(one) and int(other) for one, other in lines)
    assert run_verb(["results", str(made.folder)]) == 0
    assert "running" not in capsys.readouterr().out
    assert json.loads((made.folder / "metrics.json").read_text())["images"]
