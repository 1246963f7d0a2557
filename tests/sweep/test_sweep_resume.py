"""What is finished is kept, through a kill too, and only if nothing has changed."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from poets.sweep import training
from poets.sweep.report import best_of
from tests import retraining
from tests.command import ROOT
from tests.retraining import flags_for, snapshot
from tests.sweep.swept import OUTPUTS, values_of


def test_what_is_finished_is_not_trained_again(sweep, monkeypatch, tmp_path):
    grid = ("learning_rate=0.01,0.1", "seed=1,2")
    _, first, _ = sweep(*grid)
    before = snapshot(tmp_path / "out")
    trained = []
    train_many = training.train_many
    monkeypatch.setattr(
        training,
        "train_many",
        lambda *given: trained.append(len(given[-1])) or train_many(*given),
    )
    planned, second, lines = sweep(*grid)
    assert second == first
    assert "4 combinations are finished already" in lines
    assert trained == [1]  # the best one's head, which is not kept
    after = snapshot(tmp_path / "out")
    for name in ("best/retrained_graph.pb", "sweep.csv"):
        assert after[name] == before[name]
    trained.clear()
    _, third, _ = sweep("learning_rate=0.01,0.1,0.2", "seed=1,2")
    assert trained[0] == 2
    assert third.items() >= first.items()


@pytest.mark.parametrize("change", ["flags", "images", "file"])
def test_what_is_of_other_flags_or_images_is_trained_again(
    sweep, image_dir, tmp_path, change
):
    _, first, _ = sweep("learning_rate=0.01,0.1")
    flags = {"train_batch_size": 7} if change == "flags" else {}
    added = image_dir / "daisy" / "added.jpg"
    name = next(iter(first))
    if change == "images":
        added.write_bytes(retraining.jpeg(np.random.default_rng(77), 1))
    if change == "file":
        (tmp_path / "out" / "runs" / f"{name}.json").write_text('{"key": 3}')
    try:
        _, second, lines = sweep("learning_rate=0.01,0.1", **flags)
    finally:
        added.unlink(missing_ok=True)
    done = [line for line in lines if line.endswith("are finished already")]
    assert done == (["1 combinations are finished already"] * (change == "file"))
    same = change == "file"
    assert (second[name].key == first[name].key) is same
    if same:
        assert any("is no result of a sweep: it is made again" in it for it in lines)


def test_a_sweep_that_is_killed_goes_on_where_it_stopped(
    sweep, image_dir, store, tmp_path, wait_until
):
    steps = ",".join(str(400 + n) for n in range(12))  # each a chunk of its own
    grid = [f"how_many_training_steps={steps}"]
    flags = flags_for(tmp_path, image_dir, bottleneck_dir=str(store))
    for name in (*OUTPUTS, "how_many_training_steps"):
        del flags[name]
    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "poets", "sweep", f"--output_dir={killed}"]
    command += [f"--{name}={value}" for name, value in flags.items()]
    command += [f"--grid={text}" for text in grid]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    runs = killed / "runs"

    def some_are_finished():
        assert process.poll() is None
        return runs.exists() and len(list(runs.glob("image-*.json"))) >= 3

    try:
        wait_until(some_are_finished, timeout_s=300)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(300)
    kept = {path: path.stat().st_mtime_ns for path in runs.glob("image-*.json")}
    assert 3 <= len(kept) < 12
    assert not (killed / "best" / "retrained_graph.pb").exists()
    again = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True
    )
    assert f"{len(kept)} combinations are finished already" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    lines = again.stdout.splitlines()
    assert lines[0].split()[:2] == ["how_many_training_steps", "validation"]
    assert lines[1].startswith("*")
    planned, whole, _ = sweep(*grid, how_many_training_steps=None)
    best = best_of(planned, whole)
    assert f"* {best.name}: {killed}/best/retrained_graph.pb" in lines
    for name, result in whole.items():
        told = json.loads((runs / f"{name}.json").read_text())
        expected = json.loads(json.dumps(result.to_json()))
        assert told | {"seconds": 0} == expected | {"seconds": 0}
        summaries = killed / "training_summaries" / name
        ours = tmp_path / "out" / "training_summaries" / name
        assert values_of(summaries) == values_of(ours)
    graph = "best/retrained_graph.pb"
    assert (killed / graph).read_bytes() == (tmp_path / "out" / graph).read_bytes()
