"""`poets logs` as its users run it."""

import argparse
import io
import json
import os
import subprocess
import sys

import pytest

from poets.cli import logs
from poets.errors import ConfigError, StorageError

pytest_plugins = ["tests.far"]

STEPS = "".join(
    f"INFO:tensorflow:2018-04-17 12:48:{second:02}.5: Step {10 * second}: {text}\n"
    for second in range(30)
    for text in (
        f"Train accuracy = {40 + second}.0%",
        f"Cross entropy = {1.5 - second / 30:f}",
        f"Validation accuracy = {35 + second if second != 7 else 99}.0% (N=100)",
    )
)
LOG = (
    "WARNING:tensorflow:odd thing\n"
    + STEPS
    + "INFO:tensorflow:Final test accuracy = 86.7% (N=383)\n"
    + "ERROR:tensorflow:bad thing\n"
)


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    logs.add_arguments(parser)
    args = parser.parse_args(list(map(str, arguments)))
    return args.func(args)


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "stderr"
    path.write_text(LOG)
    return path


@pytest.fixture(autouse=True)
def _terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")


def test_a_log_is_reviewed(log, capsys):
    assert run(log) == 0
    out = capsys.readouterr().out
    lines = out.split("\n")
    assert lines[0] == f"{log}: 93 lines"
    assert "evaluations: 30, step 0 to 290 in 29.0 s" in lines
    assert "       0    40.0%    1.500000       35.0%     100" in lines
    assert "      70    47.0%    1.266667       99.0%     100  best" in lines
    assert "     290    69.0%    0.533333       64.0%     100" in lines
    assert any(line.endswith(" of 30; --all shows every step") for line in lines)
    assert max(len(line) for line in lines if "┤" in line or "─" in line) == 60
    assert "final test accuracy 86.7% (N=383), 95 % interval 82.9% to 89.7%" in lines
    assert lines[-3:-1] == [
        "  error    line 93       bad thing",
        "  warning  line 1        odd thing",
    ]


def test_all_shows_every_step(log, capsys):
    assert run(log, "--all") == 0
    rows = [
        line for line in capsys.readouterr().out.split("\n") if line.endswith(" 100")
    ]
    assert len(rows) >= 29


def test_json_has_the_data(log, capsys, tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("Step 0: Cross entropy = nan\n")
    assert run(log, broken, "--json") == 0
    first, second = json.loads(capsys.readouterr().out)["logs"]
    assert first["name"] == str(log)
    (found,) = first["runs"]
    assert found["steps"][1] == {
        "step": 10,
        "train_accuracy": 0.41,
        "cross_entropy": 1.466667,
        "validation_accuracy": 0.36,
        "validation_n": 100,
    }
    assert len(found["steps"]) == 30
    assert found["best"]["step"] == 70
    assert found["test_interval_95"] == pytest.approx([0.829, 0.897], abs=5e-4)
    assert [problem["text"] for problem in first["problems"]] == [
        "odd thing",
        "bad thing",
    ]
    assert second["runs"][0]["steps"][0]["cross_entropy"] is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ": empty\n"),
        ("Done\n", ": 1 lines\nno training steps in it\n\nno warnings or errors\n"),
    ],
)
def test_a_log_without_steps_is_reported(tmp_path, capsys, text, said):
    (tmp_path / "log").write_text(text)
    assert run(tmp_path / "log") == 0
    assert capsys.readouterr().out == f"{tmp_path}/log{said}"


def test_a_run_that_was_killed_is_reported(tmp_path, capsys):
    (tmp_path / "log").write_text(STEPS)
    assert run(tmp_path / "log") == 0
    out = capsys.readouterr().out
    assert "no final test accuracy: the run did not reach its end" in out


def test_the_standard_input_is_read_in_a_pipe():
    program = "import argparse, sys; from poets.cli import logs\n" + (
        "parser = argparse.ArgumentParser()\n"
        "logs.add_arguments(parser)\n"
        "args = parser.parse_args(['-'])\n"
        "sys.exit(args.func(args))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=LOG.encode(),
        capture_output=True,
        timeout=300,
        env=os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": "60"},
    )
    assert done.returncode == 0, done.stderr.decode()
    text = done.stdout.decode("ascii")
    assert text.startswith("standard input: 93 lines\n")
    assert "* validation  . train" in text


def test_missing_logs_are_reported_together(log, tmp_path):
    with pytest.raises(StorageError) as caught:
        run(log, tmp_path / "nope", tmp_path)
    assert str(caught.value) == (
        "cannot read the logs: 2 problems\n"
        f"  - '{tmp_path}/nope' does not exist; give log files, or - for stdin\n"
        f"  - '{tmp_path}' is a folder; give the files in it"
    )


def test_a_log_is_read_from_storage(log, capsys):
    assert run(log.as_uri()) == 0
    assert capsys.readouterr().out.startswith(f"file://{log}: 93 lines\n")
    with pytest.raises(
        StorageError, match=r"cannot read the logs: 'file:///.*/nope' does not"
    ):
        run(log.as_uri() + "/nope")


def test_a_log_is_read_from_a_storage_far_away(log, far, capsys):
    url = far.url(log)
    assert run(url) == 0
    assert capsys.readouterr().out.startswith(f"{url}: 93 lines\n")
    far.fail({"status": "ConnectionError"})
    with pytest.raises(StorageError, match=r"cannot access 'far://.*: nobody answers"):
        run(url)


def test_a_long_log_shows_how_far_it_is_read(log, far, monkeypatch, caplog):
    monkeypatch.setattr("poets.cli.logs.TRACKED_BYTES", 1)
    monkeypatch.setattr("poets.cli.logs.PIECE_BYTES", 100)
    monkeypatch.setattr("poets.system.progress.LINE_EVERY_S", 0)
    with caplog.at_level("INFO"):
        assert run(far.url(log)) == 0
    assert f"reading {far.url(log)}: " in caplog.text


def test_a_plot_is_written_whole(log, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    plot = tmp_path / "plots" / "run.PNG"
    assert run(log, log, "--plot", plot) == 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.endswith(f"plot: {plot}\n")
    assert os.listdir(plot.parent) == ["run.PNG"]


def test_a_plot_that_cannot_be_is_found_before_the_work(log, tmp_path, capsys):
    with pytest.raises(ConfigError, match=r"a plot is a PNG; name it FILE.png"):
        run(log, "--plot", tmp_path / "run.svg")
    pytest.importorskip("matplotlib")
    with pytest.raises(StorageError, match="cannot write"):
        run(log, "--plot", log / "run.png")
    assert capsys.readouterr().out == ""


def test_a_long_log_shows_its_progress(log, monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(logs, "TRACKED_BYTES", 1)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert run(log) == 0
    assert "evaluations: 30" in capsys.readouterr().out
    assert f"reading {log}" in terminal.getvalue()
