"""A sweep by several workers, each a process with a TF_CONFIG.

They share the bottlenecks, and the chief trains the heads. What they leave is what one
process leaves, whichever worker is killed, and when.
"""

import json
import os
import re
import signal
import sys

import pytest

from tests.retraining import flags_for
from tests.sweeps.swept import OUTPUTS, sweep_json_of, values_of

GRID = ("flip_left_right=false,true", "how_many_training_steps=40,41,42")
TOTAL = 6


class Team:
    """The tasks of one sweep, below a folder."""

    def __init__(self, nursery, folder, image_dir, grid=GRID, workers=2):
        self.nursery = nursery
        self.folder, self.workers = folder, workers
        self.out = folder / "out"
        folder.mkdir(parents=True, exist_ok=True)
        flags = flags_for(folder, image_dir, processes=1)
        for name in (*OUTPUTS, "how_many_training_steps"):
            del flags[name]
        self.flags = {"chief_timeout_s": 300, "output_dir": str(self.out)}
        self.flags |= flags
        self.grid = grid
        self.started = []

    def start(self, index, job="worker"):
        words = [f"--{name}={value}" for name, value in self.flags.items()]
        words += [f"--grid={text}" for text in self.grid]
        addresses = [f"127.0.0.1:{1001 + n}" for n in range(self.workers)]
        cluster = {"worker": addresses, "ps": ["127.0.0.1:1000"]}
        place = {"cluster": cluster, "task": {"type": job, "index": index}}
        path = {"PYTHONPATH": os.pathsep.join(sys.path)}  # as here, `far` with it
        told = {"TF_CONFIG": json.dumps(place)} if self.workers > 1 else {}
        log = self.folder / f"log-{job}-{index}"
        with log.open("ab") as err, log.with_name(f"out-{index}").open("wb") as out:
            process = self.nursery.start(
                "from poets.cli import main; main()",
                {**os.environ, **path, **told},
                err,
                ["sweep", *words],
                out,
            )
        self.started.append(process)
        return process

    def said(self, index, job="worker"):
        return (self.folder / f"log-{job}-{index}").read_text()

    def told(self, index):
        return (self.folder / f"out-{index}").read_text()

    def trained(self, index):
        """Returns the names of the combinations that a worker trained."""
        return re.findall(r"\]: (image-\S+): Validation accuracy", self.said(index))

    def end(self, *processes):
        for process in processes:
            logs = "\n".join(p.read_text() for p in self.folder.glob("log-*"))
            assert process.wait(300) == 0, logs
            assert "Traceback" not in logs

    def stop(self):
        for process in self.started:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def alone(nursery, image_dir, tmp_path_factory):
    """What one process leaves of the same sweep."""
    folder = tmp_path_factory.mktemp("alone")
    made = Team(nursery, folder, image_dir, workers=1)
    made.end(made.start(0))
    return made


@pytest.fixture
def team(nursery, tmp_path, image_dir):
    made = []

    def make(folder="team", **more):
        made.append(Team(nursery, tmp_path / folder, image_dir, **more))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def check_same(team, alone):
    ours, theirs = ({"runs": runs_of(each.out)} for each in (team, alone))
    assert ours == theirs
    ours, theirs = (sweep_json_of(each.out) for each in (team, alone))
    for each, told in ((team, ours), (alone, theirs)):
        graph = each.out / "best" / "retrained_graph.pb"
        assert told["best"].pop("output_graph") == str(graph)
    assert without_seconds(ours) == without_seconds(theirs)
    assert team.told(0).count("\n") == alone.told(0).count("\n")
    for name in ("retrained_graph.pb", "retrained_graph.tflite", "split.csv"):
        same = [(each.out / "best" / name).read_bytes() for each in (team, alone)]
        assert same[0] == same[1], name
    assert not (team.out / "best" / ".poets-progress.json").exists()
    ours, theirs = (events_of(each.out) for each in (team, alone))
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        assert ours[name] == values, name


def runs_of(folder):
    found = {path.name: json.loads(path.read_text()) for path in folder.glob("runs/*")}
    return without_seconds(found)


def events_of(folder):
    return {path.name: values_of(path) for path in folder.glob("training_summaries/*")}


def without_seconds(value):
    """Returns JSON data without what a clock says."""
    if isinstance(value, dict):
        return {k: without_seconds(v) for k, v in value.items() if k != "seconds"}
    if isinstance(value, list):
        return [without_seconds(each) for each in value]
    return value


def begin(team, wait_until, chief=0):
    """Starts a worker, and the chief once the worker waits for it."""
    worker = team.start(1)

    def waits():
        assert worker.poll() is None, team.said(1)
        return "waiting for the chief" in team.said(1)

    wait_until(waits, timeout_s=300)
    return team.start(chief), worker


def test_two_workers_leave_what_one_leaves_and_the_chief_trains_each_head(
    team, alone, wait_until
):
    made = team()
    made.end(*begin(made, wait_until))
    check_same(made, alone)
    assert len(made.trained(0)) == TOTAL
    assert made.trained(1) == []
    assert "bottlenecks computed" in made.said(1)
    assert "worker:1: the job is done" in made.said(1)
    assert made.told(1) == ""


def test_who_is_killed_and_started_again_goes_on_from_what_is_kept(
    team, alone, wait_until
):
    made = team()
    chief, worker = begin(made, wait_until)
    wait_until(lambda: len(made.trained(0)) >= 3, timeout_s=300)
    for process in (chief, worker):
        process.kill()
        process.wait(300)
    before = len(runs_of(made.out))
    assert 0 < before < TOTAL
    made.end(*begin(made, wait_until))
    check_same(made, alone)
    assert len(made.trained(0)) <= TOTAL + 3


def test_two_sweeps_on_one_store_do_not_meet(team, alone):
    fewer = ("flip_left_right=false", "how_many_training_steps=40,41")
    made, other = team(), team("other", grid=fewer)
    other.flags["bottleneck_dir"] = made.flags["bottleneck_dir"]
    made.end(*(each.start(index) for each in (made, other) for index in (1, 0)))
    check_same(made, alone)
    ours, theirs = runs_of(other.out), runs_of(alone.out)
    assert sorted(f"{name}.json" for name in other.trained(0)) == sorted(ours)
    assert len(ours) == 2
    assert ours.items() <= theirs.items()


def test_the_users_mistake_ends_all_workers_with_its_exit_code(
    team, tmp_path, wait_until
):
    made = team()
    made.flags["image_dir"] = str(tmp_path / "absent")
    chief, worker = begin(made, wait_until)
    assert [process.wait(300) for process in (chief, worker)] == [2, 2]
    assert "poets sweep: the chief failed: Image directory " in made.said(1)


def test_a_task_that_is_no_worker_does_nothing(team):
    made = team()
    made.end(made.start(0, job="ps"))
    assert "ps:0: the workers do all the work of this job" in made.said(0, "ps")
    assert not made.out.exists()
