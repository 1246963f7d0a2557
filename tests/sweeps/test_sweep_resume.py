"""What is finished is kept, through a kill too, and only if nothing has changed."""

import json
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest

from poets.cli import run as cli
from poets.sweeps import training
from poets.sweeps.report import best_of
from tests import retraining
from tests.retraining import flags_for, snapshot
from tests.sweeps.swept import OUTPUTS, values_of


@pytest.fixture
def out(swept, tmp_path):
    """A copy of a finished sweep, with which `sweep` goes on."""
    return shutil.copytree(swept.out, tmp_path / "out")


@pytest.fixture
def trained(monkeypatch):
    """How many heads have been trained together, each time that some were."""
    counts = []
    train_many = training.train_many
    monkeypatch.setattr(
        training,
        "train_many",
        lambda *given: counts.append(len(given[-1])) or train_many(*given),
    )
    return counts


def test_what_is_finished_is_not_trained_again(sweep, swept, out, trained):
    _, results, lines = sweep(*swept.grid, **swept.flags)
    assert results == swept.results
    assert "4 combinations are finished already" in lines
    assert trained == [1]  # the best one's head, which is not kept
    after, before = snapshot(out), snapshot(swept.out)
    for name in ("best/retrained_graph.pb", "sweep.csv"):
        assert after[name] == before[name]


def test_what_is_new_or_has_no_readable_result_is_trained(sweep, swept, out, trained):
    name = next(iter(swept.results))
    (out / "runs" / f"{name}.json").write_text('{"key": 3}')
    grid = ("learning_rate=0.001,0.1,0.2", "seed=1,2")
    _, results, lines = sweep(*grid, exports=False, **swept.flags)
    assert "3 combinations are finished already" in lines
    assert any(
        "is not a result of a sweep: training it again" in line for line in lines
    )
    assert trained[0] == 3
    again = replace(results[name], seconds=swept.results[name].seconds)
    assert again == swept.results[name]
    assert (results | {name: again}).items() >= swept.results.items()


@pytest.mark.usefixtures("out")
@pytest.mark.parametrize("change", ["flags", "images"])
def test_what_is_of_other_flags_or_images_is_trained_again(
    finish, swept, image_dir, trained, change
):
    flags = {"train_batch_size": 7} if change == "flags" else {}
    added = image_dir / "daisy" / "added.jpg"
    if change == "images":
        added.write_bytes(retraining.jpeg(np.random.default_rng(77), 1))
    try:
        results = finish(*swept.grid, **{**swept.flags, **flags})
    finally:
        added.unlink(missing_ok=True)
    assert results.keys() == swept.results.keys()
    assert trained == [4]
    for name, result in results.items():
        assert result.key != swept.results[name].key


def test_a_sweep_that_is_killed_goes_on_where_it_stopped(
    sweep, nursery, image_dir, store, tmp_path, wait_until, capsys, caplog
):
    steps = ",".join(str(40 + n) for n in range(4))  # each a chunk of its own
    grid = [f"how_many_training_steps={steps}"]
    flags = flags_for(tmp_path, image_dir, bottleneck_dir=str(store))
    for name in (*OUTPUTS, "how_many_training_steps"):
        del flags[name]
    killed = tmp_path / "killed"
    words = ["sweep", f"--output_dir={killed}"]
    words += [f"--{name}={value}" for name, value in flags.items()]
    words += [f"--grid={text}" for text in grid]
    with open(tmp_path / "log", "wb") as log:
        code = "import sys; from poets.cli import run; sys.exit(run(sys.argv[1:]))"
        task = nursery.start(code, os.environ, log, words)
    runs = killed / "runs"

    def one_is_finished():
        assert task.poll() is None, task.log.read_text()
        return list(runs.glob("image-*.json"))

    try:
        wait_until(one_is_finished)
    finally:
        task.send_signal(signal.SIGKILL)
        task.wait()
    kept = {path: path.stat().st_mtime_ns for path in runs.glob("image-*.json")}
    assert 1 <= len(kept) < 4
    assert not (killed / "best" / "retrained_graph.pb").exists()
    caplog.clear()
    assert cli(words) == 0
    assert f"{len(kept)} combinations are finished already" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    lines = capsys.readouterr().out.splitlines()
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
