"""Compares two workers with one, and measures the cost of a killed or slow worker.

Two cores are not twice as fast as one: they share memory, caches and clock. So the
limit is measured, too, with two independent one-worker jobs at the same time.

Each worker is a separate process, as a scheduler starts it; they share the feature
store. The bottleneck pass is measured by the chief's own clock, without the import of
TensorFlow and without training.
"""

import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.inputs import FULL, PROJECT, SMALL, Case, write_many
from benchmarks.measurements import Bench, job_flags
from benchmarks.processes import TIMEOUT_S, RunError
from benchmarks.table import Row

TIMES_ONE = 1.8
SHARE = {SMALL: 1.0, FULL: 0.3}
"""Share of the images used: large ones take several times as long."""

STEPS = 20
POLL_S = 0.01

SLOW = 0.2
"""The share of a core that the slow worker gets."""

TURN_S = 0.1
"""The period in which the slow worker runs for SLOW of the time, then is stopped."""

SLOW_GOAL = 0.95
"""Goal, as a share of the rate of 1 + SLOW workers."""


def workers(bench: Bench) -> Iterator[Row]:
    """Yields images per second with 1 and 2 workers, and with 1 of 2 killed or slow."""
    for case in SHARE:
        yield from _workers(bench, case)


def _workers(bench: Bench, case: Case) -> Iterator[Row]:
    name = bench.inputs(case).name
    one, two, killed, apart, slow = [], [], [], [], []
    for _ in range(bench.sizes.repeats):
        one.append(_pass(bench, case, 1))
        two.append(_pass(bench, case, 2))
        killed.append(_pass(bench, case, 2, kills=True))
        slow.append(_pass(bench, case, 2, slows=True))
        with ThreadPoolExecutor(2) as threads:
            apart += threads.map(lambda job: _pass(bench, case, 1, job), ("a", "b"))
    images = killed[0][1]
    one_s, two_s, killed_s, apart_s, slow_s = (
        statistics.median(seconds for seconds, _ in runs)
        for runs in (one, two, killed, apart, slow)
    )
    times = one_s / two_s
    yield Row(f"1 worker of 1 process, {name}", "images/s", images / one_s)
    yield Row(
        "  2 workers of 1 process each",
        "images/s",
        images / two_s,
        images / one_s,
        limit=2 * images / apart_s,
        goal=f"{TIMES_ONE:g} x one worker",
        reached=times >= TIMES_ONE,
    )
    yield Row("  1 of 2 killed half-way: the pass", "s", killed_s)
    # Two workers do half of the work, one does the other half.
    yield Row("  time lost by it", "s", killed_s - (one_s + two_s) / 2)
    ideal_s = one_s / (1 + SLOW)
    yield Row(
        f"  1 of 2 has {SLOW:g} of a core",
        "images/s",
        images / slow_s,
        limit=images / ideal_s,
        goal=f"{SLOW_GOAL:.0%} of {1 + SLOW:g} x one worker",
        reached=ideal_s >= SLOW_GOAL * slow_s,
    )


def _pass(
    bench: Bench,
    case: Case,
    count: int,
    job: str = "",
    kills: bool = False,
    slows: bool = False,
    number: int = 0,
) -> tuple[float, int]:
    """Returns the seconds of a cold bottleneck pass, and the number of images."""
    found = bench.inputs(case)
    number = number or round(bench.sizes.memory_images[-1] * SHARE[case])
    many = bench.work / f"images_{number}"
    image_dir = write_many(found.image_dir, number, many)
    place = bench.work / f"workers{job}"
    shutil.rmtree(place, ignore_errors=True)
    (place / "models").mkdir(parents=True)
    shutil.copy(found.archive, place / "models")
    started = [_start(case, place, image_dir, count, index) for index in range(count)]
    try:
        if kills:
            _kill_half_way(started[1], place / "bottlenecks")
            del started[1]
        if slows:
            threading.Thread(target=_slow_down, args=started[1:]).start()
        for process in started:
            if process.wait(TIMEOUT_S):
                raise RunError(f"a worker ended with {process.returncode}, see {place}")
    finally:
        for process in started:
            process.kill()
            process.wait()
    metrics = json.loads((place / "out" / "metrics.json").read_text())
    return metrics["duration_s"]["bottlenecks"], metrics["images"]["used"]


def _start(
    case: Case, place: Path, image_dir: Path, count: int, index: int
) -> "subprocess.Popen[bytes]":
    addresses = [f"127.0.0.1:{2222 + number}" for number in range(count)]
    task = {"type": "worker", "index": index}
    cluster = {"cluster": {"worker": addresses}, "task": task}
    with (place / f"log-{index}").open("wb") as log:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "poets", "retrain"),
                *job_flags(case, image_dir, place, STEPS),
                *("--saved_model_dir=", "--checkpoint_path=", "--processes=1"),
            ],
            cwd=PROJECT,
            env={**os.environ, "TF_CONFIG": json.dumps(cluster)},
            stdout=log,
            stderr=log,
            start_new_session=True,  # its own process group, for SIGSTOP
        )


def _slow_down(process: "subprocess.Popen[bytes]") -> None:
    """Lets a worker's process group run for SLOW of the time, until it ends."""
    while process.poll() is None:
        for number, share in ((signal.SIGSTOP, 1 - SLOW), (signal.SIGCONT, SLOW)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            time.sleep(share * TURN_S)


def _kill_half_way(process: "subprocess.Popen[bytes]", store: Path) -> None:
    """Kills a worker once half of the plan's chunks are done."""
    began_s = time.monotonic()
    while time.monotonic() - began_s < TIMEOUT_S:
        plans = list(store.glob(".jobs/*/plan-*.parquet"))
        parts = len(list(store.glob("*/part-*.parquet")))
        if plans and parts * 2 >= _chunks(plans[0]):
            process.kill()
            process.wait()
            return
        time.sleep(POLL_S)
    raise RunError(f"half of the work not done after {TIMEOUT_S:g} s, see {store}")


def _chunks(plan: Path) -> int:
    from poets.features.plan import WorkPlan

    return len(WorkPlan.read(str(plan)))
