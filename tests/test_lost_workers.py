"""The whole job when tasks of it are lost: killed at any moment, or out of disk.

A scheduler starts a lost task again. Whichever task it was, at any moment, even several
times: the job leaves what an undisturbed one leaves, byte for byte. Tours go through a
job with a kill in each of its phases; 17 seeds make 21 more kills in as many jobs.
"""

import random
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime

import pytest

from tests.seeds import seeds
from tests.tasks import Cluster, check_same

MOMENTS = (
    "Looking for images",
    "the workers of this job meet",
    "bottleneck files created",
    "bottlenecks of distorted copies created",
    "Step 30: Train",
    "Final test accuracy",
    "Save final result to",
    "Done",
)
TUNING_MOMENTS = (
    "pictures computed up to the last layers",
    "fine-tuning step 4:",
    "fine-tuning step 20:",
    "were fine-tuned in",
)

TUNING = {
    "architecture": "mobilenet_0.25_128",
    "augmentations": 1,
    "fine_tune_steps": 40,
    "fine_tune_layers": 2,
    "fine_tune_batch_size": 8,
}
VICTIMS = (["worker"], ["chief"], ["ps"], ["chief", "worker"], ["all"])

# A marker of a killed publication is waited for, in this job for a minute less.
BEFORE = """
from poets.storage import publish_lock
publish_lock.STALE_S = 1.0
from poets.workers import worker
worker.DONE_GRACE_S = 5.0
"""
# Checkpoints and looks come often.
TUNING_BEFORE = f"""{BEFORE}
from poets.fine_tuning import supervise
from tests.fine_tuning.forks import fork_children
supervise.POLL_S, supervise.LOOK_EVERY_S = 0.02, 0.1
supervise.CHECKPOINT_EVERY_S = 0.05
supervise.LOG_EVERY_S = 1.0
fork_children()
"""
# The chief dies when all is published and no worker knows it yet.
SPEECHLESS = f"""{BEFORE}
import os, poets.retraining
def retrain(*args, earlier=poets.retraining.retrain):
    earlier(*args)
    if not os.path.exists(os.environ["LOG_DIR"] + "-died"):
        open(os.environ["LOG_DIR"] + "-died", "w").close()
        os.kill(os.getpid(), 9)
poets.retraining.retrain = retrain
"""


@dataclass(frozen=True)
class Kill:
    """Who is killed when.

    Attributes:
      victims: "chief", "worker" (any other), "ps" or "all".
      moment: what the chief says before.
      way: how far it is from there to what it says next, 0 to 1.
    """

    victims: list[str]
    moment: str
    way: float

    def __str__(self):
        return f"{'+'.join(self.victims)} {self.way:.2f} after {self.moment!r}"


def kills_of(seed, moments=MOMENTS):
    """Returns one kill for a seed, or two for every fourth."""
    rng = random.Random(f"{seed} of {moments[0]}")
    kills = []
    for number in range(2 if seed % 4 == 3 else 1):
        victims = VICTIMS[(seed + 2 * number) % len(VICTIMS)]
        if moments is TUNING_MOMENTS and victims == ["ps"]:
            victims = ["chief"]
        moment = moments[-1 - (seed + 3 * number) % len(moments)]
        kills.append(Kill(victims, moment, rng.random()))
    return kills


def points(count, moments, always):
    """Returns the seeds as parameters whose names describe what happens."""
    return [
        pytest.param(
            *point.values,
            marks=point.marks,
            id=f"seed {seed}, " + ", ".join(map(str, kills_of(seed, moments))),
        )
        for seed, point in enumerate(seeds(count, always))
    ]


def gaps(said, moments):
    """Returns moment -> seconds until the next one, in what an undisturbed chief said.

    The first moment counts from when it was said, the last one has none after it.
    """
    times = []
    for moment in moments:
        line = next(line for line in said.splitlines() if moment in line)
        at = re.match(r"\[(.*?),(\d+)\|", line)
        seconds = datetime.fromisoformat(at[1]).timestamp() + int(at[2]) / 1000
        times.append(seconds)
    seconds = [later - at for at, later in zip(times, times[1:], strict=False)]
    return dict(zip(moments, [*seconds, 0.1], strict=True))


@pytest.fixture(scope="module")
def plain_gaps(two_processes):
    return gaps(two_processes.said(0), MOMENTS)


@pytest.fixture(scope="module")
def two_tuned(nursery, drawn_images, model_dir, tmp_path_factory):
    """What two undisturbed workers leave that fine-tune, and how long it took."""
    made = Cluster(
        nursery,
        tmp_path_factory.mktemp("tuned"),
        drawn_images,
        2,
        server=False,
        before=TUNING_BEFORE,
        model_dir=str(model_dir),
        **TUNING,
    )
    made.end(made.start_workers())
    return made.folder, gaps(made.said(0), TUNING_MOMENTS)


def disturb(made, tasks, kills, seconds, wait_until):
    """Kills tasks as they are to be killed, and starts each again; then all end."""
    rng = random.Random(str(kills))
    said_before = 0

    def reached(moment):
        said = made.said(0)[said_before:]
        return moment in said or tasks["worker", 0].poll() is not None

    for kill in kills:
        wait_until(lambda moment=kill.moment: reached(moment), 300, poll_s=0.002)
        at = time.monotonic() + kill.way * seconds[kill.moment]
        wait_until(lambda at=at: time.monotonic() >= at, 300, poll_s=0.001)
        lost = [task for task in tasks if is_victim(task, kill.victims)]
        for task in lost:
            tasks[task].kill()
        if ("worker", 0) in lost:
            said_before = len(made.said(0))
        rng.shuffle(lost)
        for task in lost:
            if tasks[task].wait(300) == -signal.SIGKILL:
                tasks[task] = made.start(*task)
    made.end([process for (job, _), process in tasks.items() if job == "worker"])


def is_victim(task, victims):
    job, index = task
    name = "chief" if task == ("worker", 0) else job
    return "all" in victims or name in victims


def tour(kills):
    """Returns the kills of one job at seeded moments of its phases, in their order."""
    rng = random.Random(str(kills))
    return [Kill(victims, moment, rng.random()) for moment, victims in kills]


@pytest.mark.parametrize(
    ("kills", "ps"),
    [
        pytest.param(
            [
                (MOMENTS[0], ["worker"]),
                (MOMENTS[1], ["chief"]),
                (MOMENTS[1], ["worker"]),
                (MOMENTS[2], ["chief", "ps"]),
                (MOMENTS[3], ["chief", "worker"]),
                (MOMENTS[4], ["all"]),
                (MOMENTS[5], ["chief"]),
                (MOMENTS[6], ["chief"]),
                (MOMENTS[7], ["worker", "ps"]),
            ],
            1,
            id="all of them",
        ),
        pytest.param(
            [(moment, ["chief"]) for moment in MOMENTS],
            0,
            id="the chief",
            marks=pytest.mark.soak,
        ),
    ],
)
def test_a_kill_in_each_phase_of_a_job_changes_nothing(
    cluster, one_process, plain_gaps, wait_until, kills, ps
):
    made = cluster(2, ps=ps, server=bool(ps), before=BEFORE)
    disturb(made, made.start_all(), tour(kills), plain_gaps, wait_until)
    check_same(made.folder, one_process)


@pytest.mark.parametrize("seed", points(13, MOMENTS, always=()))
def test_whoever_is_killed_whenever_the_result_is_the_same(
    cluster, one_process, plain_gaps, wait_until, seed
):
    kills = kills_of(seed)
    ps = any({"ps", "all"} & set(kill.victims) for kill in kills)
    workers = 3 if seed % 8 == 5 else 2
    made = cluster(workers, ps=int(ps), server=ps, before=BEFORE)
    disturb(made, made.start_all(), kills, plain_gaps, wait_until)
    check_same(made.folder, one_process)


def test_a_kill_in_each_phase_of_fine_tuning_ends_in_the_same_bits(
    cluster, two_tuned, model_dir, wait_until
):
    folder, seconds = two_tuned
    made = cluster(
        2, server=False, before=TUNING_BEFORE, model_dir=str(model_dir), **TUNING
    )
    victims = [["chief"], ["worker"], ["all"], ["chief"]]
    kills = tour(list(zip(TUNING_MOMENTS, victims, strict=True)))
    disturb(made, made.start_all(), kills, seconds, wait_until)
    check_same(made.folder, folder)


@pytest.mark.parametrize("seed", points(4, TUNING_MOMENTS, always=()))
def test_whoever_is_killed_fine_tuning_ends_in_the_same_bits(
    cluster, two_tuned, model_dir, wait_until, seed
):
    folder, seconds = two_tuned
    made = cluster(
        2, server=False, before=TUNING_BEFORE, model_dir=str(model_dir), **TUNING
    )
    kills = kills_of(seed, TUNING_MOMENTS)
    disturb(made, made.start_all(), kills, seconds, wait_until)
    check_same(made.folder, folder)


def test_a_chief_killed_while_the_children_find_each_other_is_waited_for(
    cluster, two_tuned, model_dir, wait_until
):
    """The other worker's child waits for a cluster that never comes."""
    made = cluster(
        2, server=False, before=TUNING_BEFORE, model_dir=str(model_dir), **TUNING
    )
    chief, worker = made.start_workers()
    store = made.folder / "bottlenecks"
    wait_until(lambda: list(store.glob("fine_tuning-*/generation.json")), 300, 0.002)
    chief.kill()
    chief.wait(300)
    made.end([made.start("worker", 0), worker])
    check_same(made.folder, two_tuned[0])


def test_a_chief_killed_before_its_last_word_says_it_when_it_is_back(
    cluster, one_process
):
    made = cluster(2, server=False, before=SPEECHLESS)
    chief, worker = made.start_workers()
    assert chief.wait(300) == -signal.SIGKILL, made.logs()
    check_same(made.folder, one_process)
    assert worker.poll() is None
    made.end([made.start("worker", 0), worker])
    check_same(made.folder, one_process)
    assert "0 bottleneck files created" in made.said(0)


def test_a_worker_killed_before_it_hears_that_all_is_done_ends_well(
    cluster, one_process, wait_until
):
    """It knows by the file of its predecessor that the job was its own."""
    made = cluster(2, server=False)
    chief, worker = made.start_workers()
    wait_until(lambda: "Save final result to" in made.said(0), 300, poll_s=0.002)
    worker.send_signal(signal.SIGSTOP)
    made.end([chief])
    worker.kill()
    worker.wait(300)
    made.end([made.start("worker", 1)])
    assert made.said(1).rstrip().endswith("worker:1: the job is done")
    assert "no other run of it" not in made.said(1)
    check_same(made.folder, one_process)


@pytest.mark.parametrize(
    ("moment", "flags", "how"),
    [
        pytest.param(
            *("bottlenecks of distorted copies created", {}, "full"),
            id="head, full",
            marks=pytest.mark.soak,
        ),
        pytest.param(
            *("Final test accuracy", {}, "read-only"), id="publication, read-only"
        ),
        pytest.param(
            *("pictures computed up to the last layers", TUNING, "full"),
            id="fine-tuning, full",
        ),
        pytest.param(
            *("fine-tuning step 4:", TUNING, "full"), id="fine-tuning's steps, full"
        ),
    ],
)
def test_a_storage_that_takes_no_more_ends_all_and_a_rerun_goes_on(
    cluster,
    small_disk,
    one_process,
    two_tuned,
    model_dir,
    wait_until,
    moment,
    flags,
    how,
):
    remount(small_disk, "size=128m")
    before = TUNING_BEFORE if flags else BEFORE
    if flags:
        flags = {**flags, "model_dir": str(model_dir)}
    made = cluster(2, server=False, before=before, chief_timeout_s=5, **flags)
    for name, value in made.flags.items():
        if isinstance(value, str) and value.startswith(f"{made.folder}/"):
            value = value.replace(f"{made.folder}/", f"{small_disk}/")
            made.flags[name] = value
    processes = made.start_workers()
    wait_until(lambda: moment in made.said(0), 300, poll_s=0.002)
    spoil(small_disk, how, wait_until)
    codes = [process.wait(300) for process in processes]
    assert codes == [1, 1], made.logs()
    assert "Traceback" not in made.logs()
    why = {"full": "no space left on device", "read-only": "read-only file system"}
    for index in range(2):
        last = made.said(index).splitlines()[-1]
        assert last.startswith("FAILED: "), made.logs()
    assert why[how] in made.said(0).splitlines()[-1], made.logs()
    remount(small_disk, "rw")
    (small_disk / "filler").unlink(missing_ok=True)
    made.flags["chief_timeout_s"] = 300
    made.end(made.start_workers())
    check_same(small_disk, two_tuned[0] if flags else one_process)


def remount(disk, option):
    command = ["mount", "-o", f"remount,{option}", str(disk)]
    return subprocess.run(command, capture_output=True, timeout=300).returncode == 0


def spoil(disk, how, wait_until):
    """Fills a disk, or makes it read-only."""
    if how == "read-only":  # not while a file is open for writing
        wait_until(lambda: remount(disk, "ro"), poll_s=0.001)
        return
    with (disk / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(1 << 22))
        except OSError:
            return
