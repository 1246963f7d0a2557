"""`poets retrain` as typed: exit codes, streams, Ctrl-C."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from poets.cli import run
from tests.retraining import (
    children_of,
    flags_for,
    is_running,
    jpeg,
    without_exports,
    write_images,
)

ROOT = Path(__file__).parents[2]


def words_for(folder, image_dir, **more):
    flags = flags_for(folder, image_dir, **more)
    return ["retrain", *(f"--{name}={value}" for name, value in flags.items())]


def start(words):
    return subprocess.Popen(
        [sys.executable, "-m", "poets", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_whole_run_in_a_process_of_its_own(tmp_path):
    """Log lines go to stderr, in the package's form, without TensorFlow's chatter."""
    image_dir = write_images(tmp_path / "images")
    words = words_for(tmp_path / "out", image_dir, how_many_training_steps=11)
    with start([*words, "--flip_left_right=false"]) as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out == ""
    lines = err.splitlines()
    assert [line for line in lines if not line.startswith("[20")] == []
    assert lines[-1].endswith(
        "|poets.retraining|INFO]: Save final result to : "
        f"{tmp_path}/out/retrained_graph.pb"
    )
    assert (tmp_path / "out" / "metrics.json").is_file()


def test_logging_verbosity_silences(tmp_path, capsys, caplog):
    image_dir = write_images(tmp_path / "images")
    try:
        words = words_for(tmp_path / "out", image_dir, logging_verbosity="ERROR")
        with without_exports():
            assert run(words) == 0
        assert [r for r in caplog.records if r.name == "poets.head.training"] == []
    finally:
        run(["retrain", "--image_dir=absent", "--logging_verbosity=INFO"])


def test_all_wrong_flags_are_reported_at_once(capsys):
    words = ["--learning_rate=x", "--architecture=inception_v4", "--seed=-3"]
    assert run(["retrain", *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("poets retrain: wrong flags: 4 problems\n")
    assert "(did you mean 'inception_v3'?)" in err
    assert "Traceback" not in err


def test_ctrl_c_says_how_to_go_on_and_leaves_no_process(tmp_path, wait_until, nursery):
    image_dir = write_images(tmp_path / "images")
    rng = np.random.default_rng(0)
    for label in ("daisy", "tulips"):
        data = jpeg(rng, 1)
        for number in range(300):
            (image_dir / label / f"x{number}.jpg").write_bytes(data + b"%d" % number)
    flags = {"flip_left_right": True, "augmentations": 50, "processes": 0}
    words = words_for(tmp_path / "out", image_dir, **flags)
    parts = tmp_path / "out" / "bottlenecks"
    with open(tmp_path / "log", "wb") as log:
        code = "import sys; from poets.cli import run; sys.exit(run(sys.argv[1:]))"
        task = nursery.start(code, os.environ, log, words)
    wait_until(
        lambda: list(parts.rglob("part-*.parquet")) or task.poll() is not None,
        timeout_s=300,
    )
    children = children_of(task.pid)
    for pid in (*children, task.pid):  # a terminal signals the whole group
        os.kill(pid, signal.SIGINT)
    assert task.wait() == 130, task.log.read_text()
    err = task.log.read_text()
    assert (
        err.splitlines()[-1] == "poets retrain: interrupted; run it again to continue"
    )
    assert "Traceback" not in err
    assert len(children) == os.cpu_count() + 1  # with what forked them
    wait_until(lambda: not any(map(is_running, children)))
    assert not (tmp_path / "out" / "retrained_graph.pb").exists()


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_shows_flags_with_their_defaults(flag, capsys):
    with pytest.raises(SystemExit) as caught:
        run(["retrain", flag])
    assert caught.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "--how_many_training_steps X training steps (default: 4000)" in out
    assert "beyond the original:" in out
