"""`poets` and `python -m poets`: verbs, exit codes, one clear line for a mistake."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from poets import __version__
from poets.cli import VERBS, run

ROOT = Path(__file__).parents[2]


def poets(*words, cwd=ROOT, **more):
    """Runs the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "poets", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **more,
    )


def exit_code(*words):
    """Returns what the process would exit with."""
    try:
        return run(words)
    except SystemExit as exit:
        return exit.code


def test_version(capsys):
    assert exit_code("--version") == 0
    assert capsys.readouterr().out == f"poets {__version__}\n"


def test_help_names_every_verb(capsys):
    assert exit_code("--help") == 0
    out = capsys.readouterr().out
    for verb in VERBS:
        assert re.search(rf"^    {verb}\s", out, re.MULTILINE)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, capsys):
    assert exit_code(verb, "--help") == 0
    assert f"poets {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the following arguments are required: VERB"),
        (("retrian",), "invalid choice: 'retrian'"),
        (("retrain", "--bogus=1"), "unrecognized arguments: --bogus=1"),
        (("label", "--model=x"), "required: IMAGE"),
        (("label", "x.jpg"), "required: --model"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(words, message, capsys):
    assert exit_code(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


def test_a_mistake_is_one_line_and_no_traceback_in_a_real_process(tmp_path):
    done = poets("retrain", "--image_dir", "absent", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "poets retrain: Image directory 'absent' not found; give --image_dir a folder "
        "with one folder of images per label\n"
    )


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    log = tmp_path / "log"
    line = "2026-01-31 12:00:00.000000: Step {0}: Train accuracy = 50.0%\n"
    log.write_text("".join(line.format(step) for step in range(20_000)))
    command = (
        f"{sys.executable} -m poets logs {log} | head -n 1; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr == ""


def test_names_that_the_terminal_cannot_show_are_no_error(tmp_path):
    name = "nicht da \udcff ☃"
    done = subprocess.run(
        [sys.executable, "-m", "poets", "results", name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert b"Traceback" not in done.stderr
    assert done.stderr.startswith(b"poets results: ")


def test_no_folder_for_temporary_files_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/none"])
    options = tmp_path / "options.json"
    options.write_text('{"service": {"job_url": "/job.zip", "job_name": "job"}}')
    assert exit_code("dcos", "run", str(options)) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "poets dcos: No usable temporary directory found in ['/proc/none']; name one "
        "by TMPDIR"
    )
