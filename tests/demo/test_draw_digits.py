"""The drawn digits, and the walk-through from them to the action."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from digits import draw
from PIL import Image

ROOT = Path(__file__).parents[2]


def drawn(out, *arguments):
    """Draws a few digits; returns path -> digest."""
    assert draw.main([str(out), "--per_label=2", *arguments]) == 0
    return {
        str(file.relative_to(out)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(out.rglob("*.png"))
    }


def test_runs_as_a_plain_program(tmp_path):
    out = tmp_path / "new" / "digits"
    command = [sys.executable, ROOT / "demo/digits/draw.py", out, "--per_label=1"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == f"drew 10 digits: {out}\n"
    assert [each.name for each in sorted(out.iterdir())] == list("0123456789")
    with Image.open(out / "7" / "7_0001.png") as picture:
        assert (picture.mode, picture.size) == ("L", (64, 64))


def test_the_seed_decides_every_pixel(tmp_path):
    first = drawn(tmp_path / "first", "--seed=7")
    assert drawn(tmp_path / "again", "--seed=7") == first
    other = drawn(tmp_path / "other", "--seed=8")
    assert not set(first.values()) & set(other.values())
    assert len(set(first.values())) == len(first) == 20


@pytest.mark.parametrize("digit", range(10))
def test_a_digit_is_light_on_dark_and_inside(digit):
    for seed in range(20):
        picture = draw.draw(digit, np.random.default_rng([seed, digit])).astype(float)
        border = np.concatenate(
            [picture[0], picture[-1], picture[:, 0], picture[:, -1]]
        )
        assert np.percentile(picture, 99) > np.median(border) + 40


def test_a_folder_with_files_is_left_alone(tmp_path, capsys):
    (tmp_path / "photo.jpg").write_text("dear")
    with pytest.raises(SystemExit) as ended:
        draw.main([str(tmp_path), "--per_label=1"])
    assert ended.value.code == 1
    assert "Directory not empty; name a new one" not in capsys.readouterr().out
    assert [each.name for each in tmp_path.iterdir()] == ["photo.jpg"]


@pytest.mark.soak  # a whole run with every export
def test_the_walk_through_ends_with_answers_of_the_action(tmp_path, require):
    require("curl", shutil.which("curl"))
    drawn(tmp_path / "digits", "--per_label=24")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    variables = {"PATH": path, "FLASK_PROXY_PORT": port, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [ROOT / "demo/digits/demo.sh", tmp_path],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    replies = [
        json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")
    ]
    assert [reply["code"] for reply in replies] == [200, 200]
    assert all(reply["label"] == str(reply["res"]) for reply in replies)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["accuracy"]["train"]["accuracy"] > 0.9
