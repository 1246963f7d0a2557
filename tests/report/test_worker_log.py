"""Logs of both generations of retrain.py and ours, written in the forms they have."""

import io
import math
import random

import pytest

from poets.report.worker_log import (
    MAX_LINE_BYTES,
    MAX_PROBLEMS,
    MAX_RUNS,
    MAX_TEXT,
    LoggedRun,
    LoggedStep,
    read_log,
)

GENERATION_A = """\
INFO:tensorflow:Looking for images in 'daisy'
[2018-04-17 12:30:01,100|tensorflow|INFO]: Looking for images in 'daisy'
INFO:tensorflow:Looking for images in 'roses'
[2018-04-17 12:30:01,200|tensorflow|INFO]: Looking for images in 'roses'
WARNING:tensorflow:WARNING: Folder has less than 20 images, which may cause issues.
[2018-04-17 12:30:01,210|tensorflow|WARNING]: WARNING: Folder has less than 20 images, \
which may cause issues.
2018-04-17 12:31:02.123456: W tensorflow/core/framework/allocator.cc:108] Allocation \
of 19267584 exceeds 10% of system memory.
INFO:tensorflow:Creating bottleneck at /b/daisy/1.jpg_mobilenet_0.50_224.txt
[2018-04-17 12:31:03,000|tensorflow|INFO]: Creating bottleneck at \
/b/daisy/1.jpg_mobilenet_0.50_224.txt
INFO:tensorflow:Creating bottleneck at /b/roses/2.jpg_mobilenet_0.50_224.txt
[2018-04-17 12:31:04,000|tensorflow|INFO]: Creating bottleneck at \
/b/roses/2.jpg_mobilenet_0.50_224.txt
INFO:tensorflow:100 bottleneck files created.
[2018-04-17 12:31:05,000|tensorflow|INFO]: 100 bottleneck files created.
INFO:tensorflow:2018-04-17 12:48:42.927011: Step 0: Train accuracy = 71.0%
[2018-04-17 12:48:42,927|tensorflow|INFO]: 2018-04-17 12:48:42.927011: Step 0: Train \
accuracy = 71.0%
INFO:tensorflow:2018-04-17 12:48:42.927311: Step 0: Cross entropy = 1.303204
[2018-04-17 12:48:42,927|tensorflow|INFO]: 2018-04-17 12:48:42.927311: Step 0: Cross \
entropy = 1.303204
INFO:tensorflow:2018-04-17 12:48:43.010011: Step 0: Validation accuracy = 57.0% (N=100)
[2018-04-17 12:48:43,010|tensorflow|INFO]: 2018-04-17 12:48:43.010011: Step 0: \
Validation accuracy = 57.0% (N=100)
INFO:tensorflow:Final test accuracy = 86.7% (N=383)
[2018-04-17 12:48:50,000|tensorflow|INFO]: Final test accuracy = 86.7% (N=383)
INFO:tensorflow:Froze 2 variables.
[2018-04-17 12:48:51,000|tensorflow|INFO]: Froze 2 variables.
"""

GENERATION_B = """\
Looking for images in 'daisy'
No files found
Looking for images in 'roses'
Creating bottleneck at /tmp/bottleneck/roses/1.jpg.txt
100 bottleneck files created.
2018-06-01 08:00:00: Step 0: Train accuracy = 40.0%
2018-06-01 08:00:00.000200: Step 0: Cross entropy = 1.500000
2018-06-01 08:00:00.100000: Step 0: Validation accuracy = 30.0% (N=100)
2018-06-01 08:00:01.000000: Step 10: Train accuracy = 90.0%
2018-06-01 08:00:01.000200: Step 10: Cross entropy = 0.500000
2018-06-01 08:00:01.100000: Step 10: Validation accuracy = 80.0% (N=100)
Final test accuracy = 91.2% (N=340)
"""


def read(log: str | bytes, **options):
    data = log.encode() if isinstance(log, str) else log
    return read_log(io.BytesIO(data), "log", **options)


def time_of(second: float) -> str:
    minutes, seconds = divmod(second, 60)
    return f"2026-01-31 12:{int(minutes):02}:{seconds:09.6f}"


def render(steps: list[LoggedStep], first_second: float = 0.0) -> list[str]:
    """Returns the messages that retrain.py logs for these steps."""
    messages = []
    for index, step in enumerate(steps):
        start = f"{time_of(first_second + index)}: Step {step.step}: "
        if step.train_accuracy is not None:
            percent = step.train_accuracy * 100
            messages.append(f"{start}Train accuracy = {percent:.1f}%")
        if step.cross_entropy is not None:
            messages.append(f"{start}Cross entropy = {step.cross_entropy:f}")
        if step.validation_accuracy is not None:
            percent, n = step.validation_accuracy * 100, step.validation_n
            messages.append(f"{start}Validation accuracy = {percent:.1f}% (N={n})")
    return messages


def plain(message: str) -> list[str]:
    return [message]


def doubled(message: str) -> list[str]:
    return [
        f"INFO:tensorflow:{message}",
        f"[2026-01-31 12:00:00,927|tensorflow|INFO]: {message}",
    ]


def ours(message: str) -> list[str]:
    return [f"[worker-0 stderr] {line}" for line in doubled(message)]


def of_a_local_run(message: str) -> list[str]:
    return [f"worker-0           | {line}" for line in doubled(message)]


def coloured(message: str) -> list[str]:
    return [f"\x1b[32mINFO\x1b[0m:tensorflow:{message}\x1b[0m"]


def from_a_pod(message: str) -> list[str]:
    return [f"2026-01-31T12:00:00.123456789Z {message}"]


FORMS = [plain, doubled, ours, of_a_local_run, coloured, from_a_pod]


def random_steps(count: int, seed: int) -> list[LoggedStep]:
    numbers = random.Random(seed)
    return [
        LoggedStep(
            step=10 * index,
            train_accuracy=numbers.randint(0, 1000) / 1000,
            cross_entropy=numbers.randint(0, 9_000_000) / 1_000_000,
            validation_accuracy=numbers.randint(0, 1000) / 1000,
            validation_n=numbers.randint(1, 5000),
        )
        for index in range(count)
    ]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_steps_are_read_as_they_were_logged(count, form, ending):
    steps = random_steps(count, seed=count)
    lines = [line for message in render(steps) for line in form(message)]
    log = read(ending.join(lines))
    assert [run.steps for run in log.runs] == [steps]
    assert log.lines == len(lines)
    assert log.repeats_folded == len(lines) - 3 * count


def test_generation_a_is_read_with_its_doubled_lines_folded():
    log = read(GENERATION_A)
    (run,) = log.runs
    assert run.steps == [LoggedStep(0, 0.71, 1.303204, 0.57, 100)]
    assert (run.test_accuracy, run.test_n) == (0.867, 383)
    assert (run.bottlenecks_created, run.bottlenecks) == (2, 100)
    assert run.started == "2018-04-17 12:48:42.927011"
    assert run.ended == "2018-04-17 12:48:43.010011"
    assert log.lines == GENERATION_A.count("\n")
    assert log.repeats_folded == (log.lines - 1) // 2  # all but the C++ line
    assert [(p.level, p.text, p.count, p.first_line) for p in log.problems] == [
        (
            "warning",
            "Folder has less than 20 images, which may cause issues.",
            1,
            5,
        ),
        (
            "warning",
            "tensorflow/core/framework/allocator.cc:108] Allocation of 19267584 "
            "exceeds 10% of system memory.",
            1,
            7,
        ),
    ]


def test_generation_b_is_read_from_its_prints():
    log = read(GENERATION_B)
    (run,) = log.runs
    assert [step.step for step in run.steps] == [0, 10]
    assert run.best == LoggedStep(10, 0.9, 0.5, 0.8, 100)
    assert (run.test_accuracy, run.test_n, run.bottlenecks) == (0.912, 340, 100)
    assert [(p.level, p.text) for p in log.problems] == [("warning", "No files found")]


def test_our_progress_lines_count_bottlenecks():
    line = "poets.progress: bottlenecks: 1200 of 4310 images, 900 a second, 3 s to go"
    assert read(line).runs[0].bottlenecks == 1200


@pytest.mark.parametrize("text", ["", "\n\n", "nothing to see\nDone\n"])
def test_a_log_without_a_run_has_none(text):
    log = read(text)
    assert log.runs == []
    assert log.problems == []
    assert log.lines == text.count("\n")


def test_numbers_that_are_none_are_read_as_such():
    run = read(
        "Step 5: Train accuracy = nan%\n"
        "Step 5: Cross entropy = inf\n"
        "Step 5: Validation accuracy = nan% (N=0)\n"
        "Final test accuracy = nan% (N=0)\n"
    ).runs[0]
    (step,) = run.steps
    assert math.isnan(step.train_accuracy)
    assert step.cross_entropy == math.inf
    assert math.isnan(step.validation_accuracy)
    assert run.best is None
    assert run.test_interval_95 is None


@pytest.mark.parametrize("form", FORMS)
def test_a_step_that_goes_back_starts_a_new_run(form):
    first, second = random_steps(4, seed=1), random_steps(2, seed=2)
    messages = render(first) + render(second, first_second=100)
    log = read("\n".join(line for message in messages for line in form(message)))
    assert [run.steps for run in log.runs] == [first, second]


def test_runs_of_a_single_step_are_distinguished():
    steps = random_steps(1, seed=1)
    messages = [
        *render(steps),
        "Final test accuracy = 50.0% (N=10)",
        *render(steps, first_second=100),
    ]
    log = read("\n".join(messages))
    assert [run.steps for run in log.runs] == [steps, steps]
    assert [run.test_n for run in log.runs] == [10, None]


def test_an_older_log_after_a_newer_one_is_another_run():
    newer, older = random_steps(3, seed=1), random_steps(3, seed=2)
    log = read("\n".join(render(newer, first_second=100) + render(older)))
    assert [run.steps for run in log.runs] == [newer, older]


def test_a_whole_log_written_twice_is_one_run():
    messages = render(random_steps(5, seed=1))
    assert len(read("\n".join(messages + messages)).runs) == 1


def test_a_run_that_looks_for_images_again_was_started_again():
    log = read(
        "Looking for images in 'daisy'\nLooking for images in 'roses'\n"
        "100 bottleneck files created.\n"
        "Looking for images in 'daisy'\nLooking for images in 'roses'\n"
        "200 bottleneck files created.\n"
    )
    assert [(run.first_line, run.bottlenecks) for run in log.runs] == [
        (1, 100),
        (4, 200),
    ]


@pytest.mark.parametrize("prefix", ["[worker-{} stderr] ", "worker-{}  | "])
def test_tasks_in_one_log_have_their_own_runs(prefix):
    steps = {"worker-0": random_steps(3, seed=1), "worker-1": random_steps(3, seed=2)}
    pairs = zip(render(steps["worker-0"]), render(steps["worker-1"]), strict=True)
    lines = [prefix.format(k) + pair[k] for pair in pairs for k in (0, 1)]
    log = read("\n".join(lines))
    assert {run.task: run.steps for run in log.runs} == steps


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


def test_the_interval_is_the_published_one():
    low, high = LoggedRun("", 1, test_accuracy=0.867, test_n=383).test_interval_95
    assert (round(low, 3), round(high, 3)) == (0.829, 0.897)


@pytest.mark.parametrize(
    ("accuracy", "n"), [(None, None), (0.5, 0), (math.nan, 10), (1.2, 10), (-1.0, 1)]
)
def test_without_images_or_accuracy_there_is_no_interval(accuracy, n):
    assert LoggedRun("", 1, test_accuracy=accuracy, test_n=n).test_interval_95 is None
