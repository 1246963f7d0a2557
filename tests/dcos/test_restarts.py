"""When a task is started again: the rule alone, then real processes."""

import os
import signal
import sys

import pytest

from poets.dcos.plan import COMPLETE, ERROR, PENDING
from poets.dcos.processes import mark
from poets.dcos.restarts import Kill, Restarts, ending, parse_kills
from poets.dcos.run import run
from poets.dcos.supervise import PlanStep, Supervisor
from poets.dcos.tasks import (
    GPU_WORKER,
    PARAMETER_SERVER,
    TENSORBOARD,
    WORKER,
    Task,
)
from poets.errors import ConfigError, PoetsError
from tests.dcos.forks import forked_tasks  # noqa: F401, a fixture
from tests.dcos.local import job_zip, options_of, work_dir

TASKS = [
    Task(GPU_WORKER, 0),
    Task(WORKER, 0),
    Task(WORKER, 1),
    Task(PARAMETER_SERVER, 0),
    Task(TENSORBOARD, 0),
]

# Counts its starts in its sandbox; ends well at the start `TIMES`.
COUNTING = """
import os, signal, sys
with open("tf-volume/starts", "a") as file:
    file.write("x")
starts = os.path.getsize("tf-volume/starts")
print("start", starts, flush=True)
if starts <= TIMES:
    ENDING
sys.exit(0)
"""

# Waits for ever, unless it was started again.
WAITING = """
import sys, time
if "; restart" not in open("stdout").read():
    time.sleep(600)
sys.exit(0)
"""

# The parameter server kills itself when it is up for the first time. The worker ends
# when the second one serves at the same address.
LOSING = """
import os, signal, socket, time

def main(server, log_dir, context):
    definition = server.server_def
    if definition.job_name == "ps":
        name = f"{server.target.replace('/', '')}-{os.getpid()}"
        with open(os.path.join(log_dir, name), "w"):
            pass
        if len(os.listdir(log_dir)) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return
    deadline = time.monotonic() + 100
    while len(os.listdir(log_dir)) < 2:
        assert time.monotonic() < deadline, "the parameter server is not back"
        time.sleep(0.05)
    (ps,) = [job for job in definition.cluster.job if job.name == "ps"]
    host, port = ps.tasks[0].split(":")
    socket.create_connection((host, int(port)), timeout=10).close()
    print("it is back")
"""


def counting(times, ending):
    return COUNTING.replace("TIMES", str(times)).replace("ENDING", ending)


def starts_of(tmp_path, task="worker-0"):
    return len((tmp_path / "run" / task / "tf-volume" / "starts").read_text())


def test_failures_are_counted_in_a_row():
    restarts = Restarts(limit=2)
    assert [restarts.again(1, ran_s=1) for _ in range(3)] == [True, True, False]


def test_a_task_that_ran_for_long_starts_counting_again():
    restarts = Restarts(limit=1)
    assert restarts.again(1, ran_s=59)
    assert restarts.again(-9, ran_s=60)
    assert restarts.failures == 1
    assert not restarts.again(1, ran_s=59)


@pytest.mark.parametrize("ran_s", [0, 1e6])
def test_the_users_mistake_stays_one(ran_s):
    assert not Restarts(limit=3).again(2, ran_s)


def test_without_restarts_the_first_failure_is_the_last():
    assert not Restarts(limit=0).again(-signal.SIGKILL, ran_s=1e6)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "exited with code 1"),
        (-signal.SIGTERM, "was killed by SIGTERM"),
        (-signal.SIGKILL, "was killed by SIGKILL (out of memory?)"),
        (-(signal.SIGRTMIN + 1), f"was killed by signal {signal.SIGRTMIN + 1}"),
    ],
)
def test_an_exit_code_in_words(code, words):
    assert ending(code) == words


def test_kills_name_tasks_as_the_plan_or_the_cluster_does_and_come_in_order():
    texts = ["worker-1@30s", "ps-0@1.5s", "gpu_worker-0@2", "tensorboard-0@0s"]
    assert list(map(str, parse_kills(texts, TASKS))) == [
        "tensorboard-0@0s",
        "parameter-server-0@1.5s",
        "gpuworker-0@2s",
        "worker-1@30s",
    ]


def test_wrong_kills_are_refused_together():
    texts = ["worker-1", "worker-1@50%", "worker-2@1s", "evaluator@1s", "worker-0@1s"]
    with pytest.raises(ConfigError) as caught:
        parse_kills(texts, TASKS)
    assert str(caught.value) == (
        "wrong --kill: 4 problems\n"
        "  - 'worker-1' is not TASK@SECONDSs, such as worker-1@30s\n"
        "  - 'worker-1@50%' is not TASK@SECONDSs, such as worker-1@30s\n"
        "  - 'worker-2@1s' names no task (did you mean 'worker-1'?); the tasks are "
        "gpuworker-0, worker-0, worker-1, parameter-server-0, tensorboard-0\n"
        "  - 'evaluator@1s' names no task; the tasks are "
        "gpuworker-0, worker-0, worker-1, parameter-server-0, tensorboard-0"
    )


def test_a_mark_stands_on_a_line_of_its_own(tmp_path):
    (tmp_path / "stdout").write_bytes(b"cut o")
    (tmp_path / "stderr").write_bytes(b"whole\n")
    mark(tmp_path, "again")
    mark(tmp_path, "again")
    assert (tmp_path / "stdout").read_text() == "cut o\n--- again ---\n--- again ---\n"
    assert (tmp_path / "stderr").read_text() == "whole\n--- again ---\n--- again ---\n"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("sys.exit(1)", "exited with code 1"),
        ("os.kill(os.getpid(), signal.SIGTERM)", "was killed by SIGTERM"),
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            "was killed by SIGKILL (out of memory?)",
        ),
    ],
)
def test_a_task_that_fails_comes_back_in_its_sandbox(
    tmp_path, lines, scheduler_log, how, words
):
    options = options_of(job_zip(tmp_path, {"job.py": counting(2, how)}))
    assert run(options, work_dir(tmp_path), lines).succeeded
    assert starts_of(tmp_path) == 3
    sandbox = tmp_path / "run/worker-0"
    marks = [f"--- worker-0 {words}; restart {nth} of 3 ---\n" for nth in (1, 2)]
    assert (sandbox / "stderr").read_text() == "".join(marks)
    assert (sandbox / "stdout").read_text() == (
        f"start 1\n{marks[0]}start 2\n{marks[1]}start 3\n"
    )
    assert scheduler_log.texts == [
        "worker-0:[node] (STARTING): started",
        f"worker-0:[node] (PENDING): {words}",
        "worker-0:[node] (STARTING): restart 1 of 3",
        f"worker-0:[node] (PENDING): {words}",
        "worker-0:[node] (STARTING): restart 2 of 3",
        "worker-0:[node] (COMPLETE): ended",
    ]


@pytest.mark.parametrize(
    ("how", "max_restarts", "starts", "error"),
    [
        ("sys.exit(1)", 3, 4, "exited with code 1 after 3 restarts"),
        ("sys.exit(3)", 1, 2, "exited with code 3 after 1 restart"),
        ("sys.exit(1)", 0, 1, "exited with code 1"),
        ("sys.exit(2)", 3, 1, "exited with code 2"),
        ("sys.exit(starts)", 3, 2, "exited with code 2 after 1 restart"),
    ],
)
def test_a_task_that_fails_too_often_ends_the_run(
    tmp_path, lines, scheduler_log, how, max_restarts, starts, error
):
    url = job_zip(tmp_path, {"job.py": counting(9, how)})
    outcome = run(options_of(url), work_dir(tmp_path), lines, max_restarts=max_restarts)
    assert not outcome.succeeded
    assert starts_of(tmp_path) == starts
    stderr = tmp_path / "run/worker-0/stderr"
    assert outcome.plan.endswith(f"Errors:\n- worker-0 {error}, see {stderr}")
    assert scheduler_log.texts[-1] == f"worker-0:[node] (ERROR): {error}"


def test_tasks_that_were_done_are_not_started_again(tmp_path, lines):
    job = counting(0, "pass").replace(
        "sys.exit(0)",
        "sys.exit(int(os.environ['POD_INSTANCE_INDEX'] == '1' and starts < 3))",
    )
    options = options_of(job_zip(tmp_path, {"job.py": job}), workers=2, gpu_workers=1)
    outcome = run(options, work_dir(tmp_path), lines)
    assert outcome.succeeded
    names = ("worker-0", "worker-1", "gpuworker-0")
    assert [starts_of(tmp_path, name) for name in names] == [1, 3, 1]
    assert "├─ gpuworker (parallel strategy) (COMPLETE)\n" in outcome.plan
    assert "│  └─ gpuworker-0:[node] (COMPLETE)\n" in outcome.plan


def test_a_keytab_is_there_after_a_restart_and_gone_after_the_run(tmp_path, lines):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "keytab").write_bytes(b"\5\2")
    how = "os.path.exists('kerberos.keytab') and sys.exit(1)"
    url = job_zip(tmp_path, {"job.py": counting(2, how)})
    options = options_of(url)
    options.given.update(
        {
            "service.security.kerberos.enabled": True,
            "service.security.kerberos.keytab_secret": "keytab",
        }
    )
    secrets = str(tmp_path / "secrets")
    assert run(options, work_dir(tmp_path), lines, secrets).succeeded
    assert starts_of(tmp_path) == 3
    assert not (tmp_path / "run/worker-0/kerberos.keytab").exists()


def test_a_kill_is_survived_and_not_counted_as_a_failure(
    tmp_path, lines, scheduler_log
):
    options = options_of(job_zip(tmp_path, {"job.py": WAITING}), workers=2)
    kills = [Kill(Task(WORKER, 1), 0.0), Kill(Task(WORKER, 0), 0.1)]
    outcome = run(options, work_dir(tmp_path), lines, max_restarts=0, kills=kills)
    assert outcome.succeeded
    of_worker_1 = [text for text in scheduler_log.texts if "worker-1" in text]
    assert of_worker_1 == [
        "worker-1:[node] (STARTING): started",
        "--kill worker-1@0s: killing it",
        "worker-1:[node] (PENDING): was killed by --kill",
        "worker-1:[node] (STARTING): restart",
        "worker-1:[node] (COMPLETE): ended",
    ]
    stdout = (tmp_path / "run/worker-1/stdout").read_text()
    assert stdout == "--- worker-1 was killed by --kill; restart ---\n"


def test_a_kill_that_comes_too_late_is_reported(tmp_path, lines, scheduler_log):
    job = "import sys, time; sys.exit(0)"
    options = options_of(job_zip(tmp_path, {"job.py": job}))
    kills = [Kill(Task(WORKER, 0), 600.0)]
    assert run(options, work_dir(tmp_path), lines, kills=kills).succeeded
    assert scheduler_log.texts[-1] == "--kill worker-0@600s: the run ended before that"


def python(task, program, sandbox, max_restarts=0):
    sandbox.mkdir()
    command = [sys.executable, "-c", program]
    return PlanStep(task, command, os.environ, sandbox, Restarts(max_restarts))


def waiting_for(path):
    return f"import os, time\nwhile not os.path.exists({str(path)!r}): time.sleep(0.01)"


def test_a_kill_of_a_task_that_has_ended_changes_nothing(
    tmp_path, lines, scheduler_log
):
    def hook(text):
        if text.endswith("the task had already ended"):
            (tmp_path / "missed").touch()

    scheduler_log.hook = hook
    steps = [
        python(Task(WORKER, 0), "", tmp_path / "a"),
        python(Task(WORKER, 1), waiting_for(tmp_path / "missed"), tmp_path / "b"),
    ]
    kills = [Kill(Task(WORKER, 0), float(after_s)) for after_s in range(1, 60)]
    Supervisor(steps, lines, kills).run()
    assert {step.status for step in steps} == {COMPLETE}


def test_tensorboard_may_fail_and_the_others_go_on(tmp_path, lines, scheduler_log):
    def hook(text):
        if text.startswith("tensorboard-0:[node] (ERROR)"):
            (tmp_path / "failed").touch()

    scheduler_log.hook = hook
    fails = "import sys; sys.exit(1)"
    worker = python(Task(WORKER, 0), waiting_for(tmp_path / "failed"), tmp_path / "a")
    tensorboard = python(Task(TENSORBOARD, 0), fails, tmp_path / "b", max_restarts=1)
    Supervisor([worker, tensorboard], lines).run()
    assert (worker.status, worker.error) == (COMPLETE, "")
    assert tensorboard.status == ERROR
    assert tensorboard.error == "exited with code 1 after 1 restart"


def test_a_task_that_cannot_be_started_stops_those_that_were(
    tmp_path, lines, scheduler_log
):
    waiting = python(Task(WORKER, 0), "import time; time.sleep(600)", tmp_path / "a")
    program, sandbox = ["/no/such/program"], tmp_path / "a"
    missing = PlanStep(Task(WORKER, 1), program, {}, sandbox, Restarts())
    with pytest.raises(PoetsError, match="cannot start worker-1: No such file or d"):
        Supervisor([waiting, missing], lines).run()
    assert scheduler_log.texts[-1] == "worker-0:[node] (PENDING): stopped"
    assert {waiting.status, missing.status} == {PENDING}


@pytest.mark.usefixtures("forked_tasks")
def test_a_parameter_server_that_is_killed_serves_again(tmp_path, lines, scheduler_log):
    shared = tmp_path / "shared"
    shared.mkdir()
    url = job_zip(tmp_path, {"job.py": LOSING})
    options = options_of(url, ps=1, shared_filesystem=str(shared))
    outcome = run(options, work_dir(tmp_path), lines, grace_s=10)
    assert outcome.succeeded, lines
    first, second = (name.rpartition("-")[0] for name in os.listdir(shared))
    assert first == second  # its address
    assert ("worker-0", "stdout", "it is back") in lines
    assert [text for text in scheduler_log.texts if "parameter-server" in text] == [
        "parameter-server-0:[node] (COMPLETE): started",
        "parameter-server-0:[node] (PENDING): was killed by SIGKILL (out of memory?)",
        "parameter-server-0:[node] (COMPLETE): restart 1 of 3",
        "parameter-server-0:[node] (COMPLETE): stopped",
    ]
