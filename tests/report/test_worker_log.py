"""Logs of both generations of retrain.py and ours: their steps and runs."""

import math

import pytest

from poets.report.worker_log import LoggedRun, LoggedStep
from tests.report.logs import FORMS, random_steps, read, render

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


def test_the_interval_is_the_published_one():
    low, high = LoggedRun("", 1, test_accuracy=0.867, test_n=383).test_interval_95
    assert (round(low, 3), round(high, 3)) == (0.829, 0.897)


@pytest.mark.parametrize(
    ("accuracy", "n"), [(None, None), (0.5, 0), (math.nan, 10), (1.2, 10), (-1.0, 1)]
)
def test_without_images_or_accuracy_there_is_no_interval(accuracy, n):
    assert LoggedRun("", 1, test_accuracy=accuracy, test_n=n).test_interval_95 is None
