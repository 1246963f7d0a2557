"""Warnings and errors in logs, odd bytes, and logs of any length in little memory."""

import io

import pytest

from poets.report.worker_log import (
    MAX_LINE_BYTES,
    MAX_PROBLEMS,
    MAX_RUNS,
    MAX_TEXT,
    LoggedStep,
    read_log,
)
from tests.report.logs import random_steps, read, render


def test_a_traceback_is_its_last_line():
    log = read(
        "ERROR:root:it went wrong\n"
        "[worker-0 stderr] Traceback (most recent call last):\n"
        '[worker-0 stderr]   File "retrain.py", line 7, in main\n'
        "INFO:tensorflow:another thread goes on\n"
        '[worker-0 stderr]     raise ValueError("ERROR:root:No files found")\n'
        "[worker-0 stderr] ValueError: images/daisy: No files found\n"
        "Traceback (most recent call last):\n"
        '  File "x.py", line 1, in <module>\n'
        "KeyboardInterrupt\n"
        "Traceback (most recent call last):\n"
    )
    assert [(p.level, p.text, p.first_line) for p in log.problems] == [
        ("error", "it went wrong", 1),
        ("error", "ValueError: images/daisy: No files found", 2),
        ("error", "KeyboardInterrupt", 7),
        ("error", "Traceback without its last line", 10),
    ]


@pytest.mark.parametrize(
    ("line", "level", "text"),
    [
        ("ERROR:tensorflow:bad thing", "error", "bad thing"),
        ("[2018-04-17 12:48:42,927|poets.job|ERROR]: bad thing", "error", "bad thing"),
        ("2026-01-31 12:00:00.1: E x.cc:1] bad thing", "error", "x.cc:1] bad thing"),
        ("E0417 12:48:42.9 140 x.py:1] bad thing", "error", "bad thing"),
        ("F0417 12:48:42.9 140 x.py:1] bad thing", "error", "bad thing"),
        ("2026-01-31 12:00:00,123 CRITICAL bad thing", "error", "bad thing"),
        ("/a/b.py:12: UserWarning: odd thing", "warning", "UserWarning: odd thing"),
        ("poets: error: bad thing", "error", "bad thing"),
        ("WARNING: odd thing", "warning", "odd thing"),
        ("Image directory 'x' not found.", "error", "Image directory 'x' not found."),
        (
            "ERROR:tensorflow:Only one valid folder of images found at x",
            "error",
            "Only one valid folder of images found at x",
        ),
    ],
)
def test_warnings_and_errors_are_found_in_every_form(line, level, text):
    (problem,) = read(f"before\n{line}\nafter\n").problems
    assert (problem.level, problem.text, problem.first_line) == (level, text, 2)


def test_an_information_is_no_problem():
    assert (
        read("INFO:tensorflow:no error here, no WARNING\nzero errors: 0\n").problems
        == []
    )


def test_problems_that_differ_in_numbers_are_counted_together():
    lines = [f"WARNING:root:slow step {k}: {k * 0.7:.2f} s" for k in range(5)]
    (problem,) = read("\n".join(lines)).problems
    assert (problem.count, problem.text) == (5, "slow step 0: 0.00 s")


def test_bytes_that_are_no_text_do_no_harm():
    log = read(
        b"\xff\xfe\x00broken\n"
        b"\x1b]0;title\x07WARNING:root:\x1b[1mbell\x07 \xc3\xa9\xff\n"
        b" 50%|###\r100%|######\rStep 0: Cross entropy = 1.0\n"
    )
    assert log.problems[0].text == "bell é\N{REPLACEMENT CHARACTER}"
    assert log.runs[0].steps == [LoggedStep(0, cross_entropy=1.0)]
    assert log.lines == 3


def test_a_number_too_long_to_be_one_is_passed_over():
    number = "9" * 5000
    log = read(
        f"Step {number}: Train accuracy = 1.0%\n{number} bottleneck files created.\n"
    )
    assert not any(run.steps or run.bottlenecks for run in log.runs)


@pytest.mark.parametrize("count", [7, 8, 9, 16, 17, 100, 1000])
def test_a_long_run_keeps_its_first_and_last_steps_evenly(count):
    steps = random_steps(count, seed=0)
    (run,) = read("\n".join(render(steps)), max_steps=8).runs
    assert len(run.steps) <= 9
    assert run.num_steps == count
    assert run.steps[:-1] == steps[:: run.stride][: len(run.steps) - 1]
    assert run.steps[-1] == steps[-1]
    best = max(step.validation_accuracy for step in steps)
    assert run.best.validation_accuracy == best
    assert read("\n".join(render(steps)), max_steps=None).runs[0].steps == steps


def test_memory_is_bounded_however_long_the_log():
    names = (f"{chr(97 + k % 26)}{chr(97 + k // 26)}" for k in range(MAX_PROBLEMS + 50))
    lines = [f"ERROR:root:{name}{'!' * 2 * MAX_TEXT}" for name in names]
    lines += [f"Step {k % 2}: Cross entropy = 1.0" for k in range(2 * MAX_RUNS + 20)]
    lines += [f"[{k} stderr] Traceback (most recent call last):" for k in range(500)]
    log = read("\n".join(lines))
    assert len(log.problems) == MAX_PROBLEMS
    assert log.problems_left_out == 50 + 500
    assert max(len(problem.text) for problem in log.problems) == MAX_TEXT
    assert (len(log.runs), log.runs_left_out) == (MAX_RUNS, 10)


def test_a_log_is_never_read_in_larger_pieces_than_a_line():
    class Watched(io.BytesIO):
        largest = 0

        def readline(self, size=-1):
            piece = super().readline(size)
            self.largest = max(self.largest, len(piece))
            return piece

    stream = Watched(b"x" * (5 * MAX_LINE_BYTES) + b"\nStep 0: Cross entropy = 1.0\n")
    log = read_log(stream, "log")
    assert stream.largest == MAX_LINE_BYTES
    assert log.lines == 2
    assert log.runs[0].first_line == 2
