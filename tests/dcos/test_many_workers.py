"""The job itself in many tasks: `poets dcos run` of an options file, from the zip.

Forked tasks with real TensorFlow servers, a folder as their shared file system.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from poets.cli import run as run_verb
from tests import retraining
from tests.dcos.forks import forked_tasks  # noqa: F401, a fixture
from tests.tasks import check_same

ROOT = Path(__file__).parents[2]
PLAN = """\
deploy (parallel strategy) (COMPLETE)
├─ gpuworker (parallel strategy) (COMPLETE)
│  └─ gpuworker-0:[node] (COMPLETE)
├─ worker (parallel strategy) (COMPLETE)
│  ├─ worker-0:[node] (COMPLETE)
│  └─ worker-1:[node] (COMPLETE)
└─ parameter-server (parallel strategy) (COMPLETE)
   └─ parameter-server-0:[node] (COMPLETE)
"""


@pytest.fixture(scope="module")
def job_zip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, str(ROOT / "build_zip.py"), "--output", str(folder)]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    (path,) = folder.glob("*.zip")
    return path


@pytest.fixture(scope="module")
def dcos_run(job_zip, drawn_images, tmp_path_factory):
    """Runs an options file; returns the exit code and the shared folder."""

    def start(*more, image_dir=drawn_images, shared=None, **counts):
        folder = tmp_path_factory.mktemp("service")
        shared = folder / "shared" if shared is None else shared
        flags = retraining.flags_for(
            Path("<<shared_filesystem>>"),
            image_dir,
            processes=1,
            flip_left_right=True,
        )
        options = {
            "service": {
                "job_url": str(job_zip),
                "job_path": job_zip.stem,
                "job_name": "poets",
                "job_context": json.dumps({"args": flags}),
                "shared_filesystem": str(shared),
            },
            **{section: {"count": count} for section, count in counts.items()},
        }
        path = folder / "options.json"
        path.write_text(json.dumps(options))
        command = ["dcos", "run", str(path), "--sandbox", str(folder / "sandbox")]
        return run_verb([*command, *more]), Path(shared)

    return start


@pytest.mark.usefixtures("forked_tasks")
def test_many_tasks_of_which_two_are_killed_leave_what_one_leaves(
    dcos_run, one_process, capsys, caplog
):
    caplog.set_level("INFO", "poets.dcos")
    kills = ["--kill", "worker-1@0.5s", "--kill", "worker-0@1s", "--max_restarts", "0"]
    code, shared = dcos_run(*kills, worker=2, parameter_server=1, gpu_worker=1)
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert shown.out == PLAN
    check_same(shared, one_process)
    for task in ("worker-0", "worker-1"):
        assert f"{task}:[node] (PENDING): was killed by --kill" in caplog.text
        assert f"{task}:[node] (STARTING): restart" in caplog.text
    for task in ("worker:1", "gpu_worker:0"):
        assert f"{task}: the job is done" in shown.err
    lines = [line for line in shown.err.splitlines() if "poets." in line]
    assert lines
    assert all(re.match(r"[a-z]+-.*\d +[|>] ", line) for line in lines)


@pytest.mark.usefixtures("forked_tasks")
def test_the_users_mistake_is_reported_by_every_task_and_by_the_plan(
    dcos_run, capsys, tmp_path
):
    code, _ = dcos_run(
        image_dir=tmp_path / "absent", worker=2, parameter_server=1, gpu_worker=0
    )
    shown = capsys.readouterr()
    assert code == 1
    assert shown.out.startswith("deploy (parallel strategy) (ERROR)\n")
    assert "├─ worker (parallel strategy) (ERROR)\n" in shown.out
    assert re.search(r"\n- worker-[01] exited with code 2, see /.*/stderr\n", shown.out)
    assert re.search(r"worker-0 .*\|task\|ERROR\]: Image directory .*absent", shown.err)
    assert "restart" not in shown.err


def test_several_workers_without_a_shared_filesystem_are_not_started(dcos_run, capsys):
    code, _ = dcos_run(worker=2, parameter_server=0, gpu_worker=0, shared="")
    shown = capsys.readouterr()
    assert code == 2
    assert "service.shared_filesystem: is empty, so --bottleneck_dir " in shown.err
    assert "2 workers" in shown.err
    assert shown.out == ""
