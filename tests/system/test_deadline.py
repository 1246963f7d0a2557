"""Calls with a deadline: results and exceptions pass, time is bounded."""

import os
import subprocess
import sys
import threading

import pytest

from poets.system.deadline import run_with_deadline


def threads() -> int:
    return sum(thread.name == "deadline" for thread in threading.enumerate())


def test_a_result_passes_unchanged():
    result = object()
    assert run_with_deadline(lambda: result, 30) is result


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_any_exception_passes_unchanged(kind):
    error = kind("as raised")

    def fail():
        raise error

    with pytest.raises(kind) as caught:
        run_with_deadline(fail, 30)
    assert caught.value is error


@pytest.mark.parametrize("timeout_s", [0.05, 0, -1])
def test_a_call_that_does_not_return_is_left_behind(timeout_s):
    release = threading.Event()
    with pytest.raises(TimeoutError):
        run_with_deadline(release.wait, timeout_s)
    assert not release.is_set()
    assert run_with_deadline(lambda: "others go on", 30) == "others go on"
    release.set()


def test_threads_of_late_calls_serve_later_ones(wait_until):
    before = threads()
    over = []
    for _ in range(before + 20):  # one after the other: each finds one idle
        late = threading.Event()

        def call(late=late):
            late.wait(300)
            over.append(late)

        with pytest.raises(TimeoutError):
            run_with_deadline(call, 0)
        late.set()
        wait_until(lambda late=late: late in over)
    assert threads() <= before + 3


def test_endless_timeouts_are_no_overflow():
    assert run_with_deadline(lambda: 1, float("inf")) == 1


def test_one_thread_serves_calls_in_turn():
    names = {run_with_deadline(threading.get_ident, 30) for _ in range(100)}
    assert len(names) == 1


def test_calls_in_flight_have_a_thread_each():
    together = threading.Barrier(8, timeout=300)
    callers = [
        threading.Thread(target=run_with_deadline, args=(together.wait, 30))
        for _ in range(8)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(300)
    assert not together.broken


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_does_not_wait_for_threads_of_its_parent():
    code = (
        "import os\n"
        "from poets.system.deadline import run_with_deadline as run\n"
        "run(int, 30)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    os._exit(run(lambda: 7, 30))\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.stdout, done.stderr) == ("7\n", "")


def test_a_call_left_behind_does_not_keep_the_program():
    code = (
        "import threading\n"
        "from poets.system.deadline import run_with_deadline as run\n"
        "try:\n"
        "    run(threading.Event().wait, 0.01)\n"
        "except TimeoutError:\n"
        "    print('left')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300
    )
    assert (done.stdout, done.stderr, done.returncode) == ("left\n", "", 0)


def test_calls_one_after_another_share_a_thread():
    threads = {run_with_deadline(threading.get_ident, 30) for _ in range(200)}
    assert len(threads) < 5  # a call left behind by another test may return meanwhile
