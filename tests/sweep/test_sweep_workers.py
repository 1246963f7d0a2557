"""A sweep by several workers, each a process, that TF_CONFIG tells of each other.

What they leave is what one process leaves, whoever is killed when.
"""

import json
import os
import re
import signal
import sys

import pytest

from tests.retraining import flags_for
from tests.sweep.swept import OUTPUTS, sweep_json_of, values_of

STEPS = "how_many_training_steps=" + ",".join(str(400 + n) for n in range(10))
GRID = ("flip_left_right=false,true", STEPS)  # as many chunks as combinations
TOTAL = 20
pytest_plugins = ["tests.far"]


class Team:
    """The tasks of one sweep, below a folder."""

    def __init__(self, nursery, folder, image_dir, store, grid=GRID, workers=2):
        self.nursery = nursery
        self.folder, self.workers = folder, workers
        self.out = folder / "out"
        folder.mkdir(parents=True, exist_ok=True)
        flags = flags_for(folder, image_dir, processes=1, bottleneck_dir=str(store))
        for name in (*OUTPUTS, "how_many_training_steps"):
            del flags[name]
        self.flags = {"chief_timeout_s": 300, "output_dir": str(self.out)}
        self.flags |= flags
        self.grid = grid
        self.started = []

    def start(self, index, job="worker", environment=None):
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
                {**os.environ, **path, **told, **(environment or {})},
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
def alone(nursery, image_dir, store, tmp_path_factory):
    """What one process leaves of the same sweep."""
    folder = tmp_path_factory.mktemp("alone")
    made = Team(nursery, folder, image_dir, store, workers=1)
    made.end(made.start(0))
    return made


@pytest.fixture
def team(nursery, tmp_path, image_dir, store):
    made = []

    def make(folder="team", **more):
        made.append(Team(nursery, tmp_path / folder, image_dir, store, **more))
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


def test_two_workers_leave_what_one_leaves_and_train_each_head_once(
    team, alone, wait_until
):
    made = team()
    made.end(*begin(made, wait_until))
    check_same(made, alone)
    counts = [len(made.trained(index)) for index in range(2)]
    assert sum(counts) == TOTAL
    assert set(made.trained(0)).isdisjoint(made.trained(1))
    assert min(counts) > 0, counts
    assert "worker:1: the job is done" in made.said(1)
    assert made.told(1) == ""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
def test_what_a_worker_leaves_that_is_gone_or_hangs_is_trained_by_the_chief(
    team, alone, wait_until, sent
):
    made = team()
    chief, worker = begin(made, wait_until)
    wait_until(lambda: made.trained(1), timeout_s=300, poll_s=0.005)
    worker.send_signal(sent)
    made.end(chief)
    check_same(made, alone)
    assert set(made.trained(0)) | set(made.trained(1)) == set(alone.trained(0))
    if sent == signal.SIGSTOP:
        worker.send_signal(signal.SIGCONT)
        made.end(worker)
        assert runs_of(made.out) == runs_of(alone.out)


def test_a_worker_that_is_started_again_goes_on(team, alone, wait_until):
    made = team()
    chief, worker = begin(made, wait_until)
    wait_until(lambda: made.trained(1), timeout_s=300, poll_s=0.005)
    worker.kill()
    worker.wait(300)
    made.end(made.start(1), chief)
    check_same(made, alone)


def test_a_chief_that_is_started_again_goes_on_from_what_is_kept(
    team, alone, wait_until
):
    made = team()
    chief, worker = begin(made, wait_until)
    wait_until(lambda: made.trained(0) and made.trained(1), timeout_s=300, poll_s=0.005)
    chief.kill()
    chief.wait(300)
    kept = {path: path.stat().st_mtime_ns for path in made.out.glob("runs/image-*")}
    assert 0 < len(kept) <= TOTAL
    made.end(made.start(0), worker)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    found = re.search(r"(\d+) combinations are finished already", made.said(0))
    assert int(found[1]) >= len(kept)
    check_same(made, alone)


def test_workers_may_share_any_storage(team, alone, far, wait_until):
    fewer = ("flip_left_right=true", "how_many_training_steps=400,401,402,403")
    made = team(grid=fewer)
    made.flags["output_dir"] = far.url(made.out)
    made.flags["bottleneck_dir"] = far.url(made.folder / "store")
    far.wait(0.005)
    made.end(*begin(made, wait_until))
    assert sorted(made.trained(0) + made.trained(1)) == sorted(
        name.removesuffix(".json") for name in runs_of(made.out)
    )
    assert runs_of(made.out).items() <= runs_of(alone.out).items()
    assert len(runs_of(made.out)) == 4
    assert (made.out / "best" / "retrained_graph.pb").exists()


def test_two_sweeps_on_one_store_do_not_meet(team, alone):
    fewer = ("flip_left_right=false,true", "how_many_training_steps=400,401,402")
    made, other = team(), team("other", grid=fewer)
    made.end(*(each.start(index) for each in (made, other) for index in (1, 0)))
    check_same(made, alone)
    names = other.trained(0) + other.trained(1)
    ours, theirs = runs_of(other.out), runs_of(alone.out)
    assert sorted(f"{name}.json" for name in names) == sorted(ours)
    assert len(ours) == 6
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


def test_results_that_each_task_would_have_for_itself_are_refused(team):
    made = team()
    made.flags["output_dir"] = str(made.folder / "sandbox" / "out")
    box = {"MESOS_SANDBOX": str(made.folder / "sandbox")}
    assert made.start(0, environment=box).wait(300) == 2
    assert "2 workers need folders that all of them share" in made.said(0)
    assert "--output_dir=" in made.said(0)
    assert "is in the sandbox, which each task has for itself" in made.said(0)
