"""`poets dcos` as typed: what it prints where, and its exit codes."""

import argparse
import json
import zipfile
from pathlib import Path

import pytest

from poets.cli import dcos
from poets.errors import ConfigError

DEMO = str(Path(__file__).parents[2] / "demo" / "poets.json")


def poets(*words):
    parser = argparse.ArgumentParser()
    dcos.add_arguments(parser)
    args = parser.parse_args(words)
    return args.func(args)


def test_good_options_are_one_line_and_exit_code_0(capsys):
    assert poets("validate", DEMO) == 0
    assert capsys.readouterr().out == f"{DEMO}: good: 1 task (worker-0)\n"


def test_warnings_are_printed_and_exit_code_0(tmp_path, capsys):
    options = json.loads(Path(DEMO).read_text())
    options["worker"]["cpu"] = 4.0
    (tmp_path / "o.json").write_text(json.dumps(options))
    assert poets("validate", str(tmp_path / "o.json")) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("warning: worker.cpu: unknown option")
    assert second.endswith("good, 1 to look at: 1 task (worker-0)")


def test_errors_are_all_printed_and_exit_code_2(capsys):
    words = ["--set", "worker.mem=100", "--set", "service.job_url=", "--arg", "stepz=1"]
    assert poets("validate", DEMO, *words) == 2
    out = capsys.readouterr().out
    assert out.count("error: ") == 3
    assert "unknown flag '--stepz'" in out


def test_run_refuses_what_validate_refuses_before_anything_starts(tmp_path):
    words = ["--set", "worker.mem=100", "--sandbox", str(tmp_path / "run")]
    with pytest.raises(
        ConfigError, match=r"cannot run '.*poets\.json': worker\.mem: i"
    ):
        poets("run", DEMO, *words)
    assert not (tmp_path / "run").exists()


def test_run_refuses_to_kill_what_it_does_not_start(tmp_path):
    words = ["--kill", "worker-1@3s", "--sandbox", str(tmp_path / "run")]
    with pytest.raises(
        ConfigError,
        match=r"wrong --kill: 'worker-1@3s' names no task \(did you mean "
        r"'worker-0'\?\); the tasks are worker-0$",
    ):
        poets("run", DEMO, "--set", "service.security.kerberos.enabled=false", *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("count", ["-1", "1.5", "many", ""])
def test_restarts_are_a_number(count, capsys):
    with pytest.raises(SystemExit, match="2"):
        poets("run", DEMO, f"--max_restarts={count}")
    assert f"{count!r} is not a whole number, 0 or more" in capsys.readouterr().err


def test_a_run_prints_the_plan_on_stdout_and_lines_on_stderr(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "job.zip", "w") as archive:
        job = "import sys\nprint('hello')\nprint('log', file=sys.stderr)\nsys.exit(0)"
        archive.writestr("job.py", job)
    words = [
        *("--set", f"service.job_url={tmp_path / 'job.zip'}"),
        *("--set", "service.job_name=job", "--set", "service.job_path="),
        *("--set", "service.shared_filesystem=", "--set", "worker.count=1"),
        *("--set", "service.security.kerberos.enabled=false"),
        *("--sandbox", str(tmp_path / "run")),
    ]
    assert poets("run", DEMO, *words) == 0
    said = capsys.readouterr()
    assert said.out == (
        "deploy (parallel strategy) (COMPLETE)\n"
        "├─ gpuworker (parallel strategy) (COMPLETE)\n"
        "├─ worker (parallel strategy) (COMPLETE)\n"
        "│  └─ worker-0:[node] (COMPLETE)\n"
        "└─ parameter-server (parallel strategy) (COMPLETE)\n"
    )
    assert sorted(said.err.splitlines()) == ["worker-0 > hello", "worker-0 | log"]
