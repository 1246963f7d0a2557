"""The local scheduler: real processes, and real TensorFlow servers where they matter.

A job that ends or waits while it is imported never reaches TensorFlow, which keeps
the tests of starting and stopping fast; tasks that reach it are forked.
"""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from poets.dcos.processes import TaskProcess
from poets.dcos.run import open_work_dir, reserved_ports, run
from poets.errors import ConfigError
from tests.dcos.forks import forked_tasks  # noqa: F401, a fixture
from tests.dcos.local import (
    DEADLINE_S,
    alive,
    job_zip,
    options_of,
    require_gone,
    work_dir,
)

ROOT = Path(__file__).parents[2]

# Starts a child, prints both process ids, then waits for ever.
WAITING = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("pids", os.getpid(), child.pid)
child.wait()
"""

SPEAKING = """
import json, logging, os, sys

def main(server, log_dir, context):
    definition = server.server_def
    if definition.job_name == "ps":
        server.join()
    name = f"{definition.job_name}-{definition.task_index}"
    with open(os.path.join(log_dir, name), "w") as sink:
        json.dump({
            "context": context,
            "target": server.target,
            "jobs": [job.name for job in definition.cluster.job],
            "gpus": definition.default_session_config.device_count["GPU"],
            "module": __file__,
            "cwd": os.getcwd(),
            "shadowed": [path for path in sys.path if path.endswith("dcos")],
        }, sink)
    print("out of", name)
    logging.getLogger("tensorflow").info("log of %s", name)
"""

FAILING = """
import time

class WrongFlags(Exception):
    exit_code = 2

def main(server, log_dir, context):
    if server.server_def.task_index == context["failing"]:
        raise WrongFlags("wrong flags: --image_dir is required")
    time.sleep(600)
"""


@pytest.mark.usefixtures("forked_tasks")
def test_a_whole_cluster_runs_and_ends_with_its_workers(tmp_path, lines):
    context = {
        "args": {"--note": 'it\'s "é" 花 \r\n {{shared_filesystem}} <<x>> \\ $HOME'},
        "list": [1, 2.5, None, True],
    }
    shared = tmp_path / "shared"
    shared.mkdir()
    options = options_of(
        job_zip(tmp_path, {"repo-master/job.py": SPEAKING}),
        workers=2,
        ps=1,
        job_path="repo-master",
        job_context=json.dumps(context).replace("/", "\\/"),
        shared_filesystem=str(shared),
    )
    outcome = run(options, work_dir(tmp_path), lines, grace_s=10)
    assert outcome.succeeded, lines
    assert outcome.plan.endswith("   └─ parameter-server-0:[node] (COMPLETE)")
    assert sorted(os.listdir(shared)) == ["worker-0", "worker-1"]
    said = [json.loads((shared / name).read_text()) for name in os.listdir(shared)]
    for index, one in enumerate(sorted(said, key=lambda one: one["cwd"])):
        sandbox = tmp_path / f"run/worker-{index}"
        assert one["context"] == context
        assert one["jobs"] == ["ps", "worker"]
        assert one["gpus"] == 0
        assert one["cwd"] == str(sandbox)
        assert one["module"] == str(sandbox / "repo-master/job.py")
        assert one["shadowed"] == []
        assert (sandbox / "stdout").read_text() == f"out of worker-{index}\n"
    assert len({one["target"] for one in said}) == 2
    assert ("worker-1", "stdout", "out of worker-1") in lines


def test_a_task_imports_tensorflow_itself_and_shows_what_is_logged_there(
    tmp_path, lines
):
    shared = tmp_path / "shared"
    shared.mkdir()
    options = options_of(
        job_zip(tmp_path, {"job.py": SPEAKING}), shared_filesystem=str(shared)
    )
    assert run(options, work_dir(tmp_path), lines).succeeded, lines
    stderr = [text for _, stream, text in lines if stream == "stderr"]
    assert "|task|INFO]: worker-0-node is grpc://" in stderr[0]
    assert stderr[-1].endswith("|tensorflow|INFO]: log of worker-0")
    kept = (tmp_path / "run/worker-0/stderr").read_text()
    assert kept == "".join(f"{text}\n" for text in stderr)


@pytest.mark.usefixtures("forked_tasks")
def test_a_failing_worker_ends_the_run_with_its_reason(tmp_path, lines):
    options = options_of(
        job_zip(tmp_path, {"job.py": FAILING}),
        workers=2,
        job_context='{"failing": 1}',
    )
    outcome = run(options, work_dir(tmp_path), lines)
    assert not outcome.succeeded
    assert "├─ worker-0:[node] (PENDING)\n" in outcome.plan
    assert "└─ worker-1:[node] (ERROR)\n" in outcome.plan
    stderr = tmp_path / "run/worker-1/stderr"
    assert outcome.plan.endswith(
        f"Errors:\n- worker-1 exited with code 2, see {stderr}"
    )
    assert stderr.read_text().endswith(
        "|task|ERROR]: wrong flags: --image_dir is required\n"
    )
    assert "Traceback" not in stderr.read_text()


@pytest.mark.parametrize(
    ("files", "job_path", "job_name", "module"),
    [
        ({"p-1/poets/__init__.py": ""}, "p-1", "poets", "poets/__init__.py"),
        ({"p-1/poets/poets.py": ""}, "p-1/poets", "poets", "poets/poets.py"),
        ({"a.py": "", "b/c.py": "", "b/__init__.py": ""}, "", "b.c", "b/c.py"),
    ],
)
def test_the_job_and_no_other_module_is_imported(
    tmp_path, lines, files, job_path, job_name, module
):
    tell = "import sys; print(__file__); sys.exit(0)\n"
    files = {name: tell if name.endswith(module) else "" for name in files}
    url = job_zip(tmp_path, files)
    options = options_of(url, job_path=job_path, job_name=job_name)
    assert run(options, work_dir(tmp_path), lines).succeeded
    ((_, _, found),) = [line for line in lines if line[1] == "stdout"]
    inside = "" if not job_path else "p-1/"
    assert found == str(tmp_path / "run/worker-0" / inside / module)


@pytest.mark.parametrize(
    ("job_path", "job_name", "message"),
    [
        ("p-2", "job", "job_path 'p-2' is not a folder of the sandbox, which has 'p"),
        ("p-1", "poets", "service.job_name 'poets' is not a module in "),
        ("p-1", "job", "has no function main(server, log_dir, context)"),
    ],
)
def test_a_job_that_is_not_there_is_named_with_what_is(
    tmp_path, lines, job_path, job_name, message
):
    url = job_zip(tmp_path, {"p-1/job.py": "x = 1"})
    options = options_of(url, job_path=job_path, job_name=job_name)
    assert not run(options, work_dir(tmp_path), lines).succeeded
    (text,) = [text for _, stream, text in lines if stream == "stderr"]
    assert message in text


def test_an_unforeseen_error_shows_its_traceback(tmp_path, lines):
    options = options_of(job_zip(tmp_path, {"job.py": "1 / 0"}))
    outcome = run(options, work_dir(tmp_path), lines)
    assert "worker-0 exited with code 1" in outcome.plan
    texts = [text for _, _, text in lines]
    assert "Traceback (most recent call last):" in texts
    assert texts[-1] == "ZeroDivisionError: division by zero"


def test_a_task_killed_from_outside_is_an_error(tmp_path, lines):
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    options = options_of(job_zip(tmp_path, {"job.py": kill}))
    outcome = run(options, work_dir(tmp_path), lines)
    assert (
        "worker-0 was killed by SIGKILL (out of memory?) after 3 restarts, see"
        in outcome.plan
    )


def test_no_child_of_a_task_outlives_the_run(tmp_path, lines):
    ending = WAITING.replace("child.wait()", "sys.exit(0)")
    options = options_of(job_zip(tmp_path, {"job.py": ending}))
    assert run(options, work_dir(tmp_path), lines).succeeded
    (text,) = [text for _, _, text in lines if text.startswith("pids")]
    require_gone([int(pid) for pid in text.split()[1:]])


def test_a_child_that_left_its_group_does_not_hold_up_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr("poets.dcos.processes.LAST_LINES_S", 0.1)
    output = queue.SimpleQueue()
    leaving = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', "
        "'import time; time.sleep(600)'], start_new_session=True);"
        "print(child.pid, flush=True)"
    )
    process = TaskProcess(
        [sys.executable, "-c", leaving],
        os.environ,
        tmp_path,
        lambda stream, text: output.put(int(text)),
    )
    child = output.get(timeout=DEADLINE_S)
    try:
        assert process.wait() == 0
        assert alive(child)
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_task_outlives_a_scheduler_that_is_stopped(tmp_path, number):
    options = {
        "service": {
            "job_url": job_zip(tmp_path, {"job.py": WAITING}),
            "job_name": "job",
        },
        "worker": {"count": 2},
        "parameter_server": {"count": 0},
    }
    (tmp_path / "options.json").write_text(json.dumps(options))
    command = [sys.executable, "-m", "poets", "dcos", "run", "options.json"]
    with subprocess.Popen(
        [*command, "--sandbox", "run"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as scheduler:
        pids = []
        while len(pids) < 4:
            line = scheduler.stderr.readline()
            assert line, "the scheduler ended early"
            if " pids " in line:
                pids += [int(pid) for pid in line.split()[-2:]]
        assert all(alive(pid) for pid in pids)
        scheduler.send_signal(number)
        _, said = scheduler.communicate(timeout=DEADLINE_S)
    expected = -number if number == signal.SIGKILL else 130
    assert scheduler.returncode == expected, said
    require_gone(pids)


def test_a_task_that_ignores_sigterm_is_killed(tmp_path):
    ready = queue.SimpleQueue()
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('ready', flush=True); time.sleep(600)"
    )
    process = TaskProcess(
        [sys.executable, "-c", stubborn],
        os.environ,
        tmp_path,
        lambda stream, text: ready.put(text),
    )
    assert ready.get(timeout=DEADLINE_S) == "ready"
    process.stop(grace_s=0.1)
    assert process.wait() == -signal.SIGKILL


def test_output_is_kept_as_it_is_and_shown_as_text(tmp_path):
    shown = queue.SimpleQueue()
    program = (
        "import sys; sys.stdout.buffer.write(b'one\\r\\n\\xff two\\n' + b'x' * 70000)"
    )
    process = TaskProcess(
        [sys.executable, "-c", program],
        os.environ,
        tmp_path,
        lambda stream, text: shown.put(text),
    )
    assert process.wait() == 0
    found = [shown.get(timeout=DEADLINE_S) for _ in range(4)]
    assert found[:2] == ["one", "\ufffd two"]
    assert "".join(found[2:]) == "x" * 70000
    kept = (tmp_path / "stdout").read_bytes()
    assert kept == b"one\r\n\xff two\n" + b"x" * 70000


def test_a_used_folder_is_not_used_again(tmp_path):
    (tmp_path / "kept").write_text("kept")
    with pytest.raises(ConfigError, match="it holds 'kept', and each run gets new"):
        open_work_dir(str(tmp_path))
    with pytest.raises(ConfigError, match="cannot use --sandbox .*Not a directory"):
        open_work_dir(str(tmp_path / "kept" / "run"))


def test_ports_are_all_different():
    with reserved_ports([0] * 20) as ports:
        assert len(set(ports)) == 20


def test_a_port_that_is_taken_is_refused_by_name():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigError, match=f"cannot use the port {port} of this m"),
            reserved_ports([0, port]),
        ):
            pass


def test_an_evil_job_starts_nothing(tmp_path, lines):
    options = options_of(job_zip(tmp_path, {"../evil.py": "x = 1"}))
    with pytest.raises(ConfigError, match=r"'\.\./evil\.py' would leave the sandbox"):
        run(options, work_dir(tmp_path), lines)
    assert not (tmp_path / "run/evil.py").exists()
    assert lines == []
