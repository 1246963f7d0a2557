"""The deploy plan's exact text."""

import pytest

from poets.dcos.plan import (
    COMPLETE,
    ERROR,
    IN_PROGRESS,
    PENDING,
    STARTING,
    render_plan,
)
from poets.dcos.tasks import GPU_WORKER, PARAMETER_SERVER, TENSORBOARD, WORKER, Task


def test_one_worker_reads_as_on_dcos():
    assert render_plan({Task(WORKER, 0): COMPLETE}) == (
        "deploy (parallel strategy) (COMPLETE)\n"
        "├─ gpuworker (parallel strategy) (COMPLETE)\n"
        "├─ worker (parallel strategy) (COMPLETE)\n"
        "│  └─ worker-0:[node] (COMPLETE)\n"
        "└─ parameter-server (parallel strategy) (COMPLETE)"
    )


def test_steps_below_the_last_phase_have_no_bar():
    statuses = {
        Task(WORKER, 0): COMPLETE,
        Task(WORKER, 1): PENDING,
        Task(GPU_WORKER, 0): COMPLETE,
        Task(PARAMETER_SERVER, 0): COMPLETE,
        Task(PARAMETER_SERVER, 1): COMPLETE,
    }
    assert render_plan(statuses) == (
        "deploy (parallel strategy) (IN_PROGRESS)\n"
        "├─ gpuworker (parallel strategy) (COMPLETE)\n"
        "│  └─ gpuworker-0:[node] (COMPLETE)\n"
        "├─ worker (parallel strategy) (IN_PROGRESS)\n"
        "│  ├─ worker-0:[node] (COMPLETE)\n"
        "│  └─ worker-1:[node] (PENDING)\n"
        "└─ parameter-server (parallel strategy) (COMPLETE)\n"
        "   ├─ parameter-server-0:[node] (COMPLETE)\n"
        "   └─ parameter-server-1:[node] (COMPLETE)"
    )


def test_tensorboard_is_the_last_phase_where_there_is_one():
    statuses = {
        Task(WORKER, 0): STARTING,
        Task(PARAMETER_SERVER, 0): COMPLETE,
        Task(TENSORBOARD, 0): COMPLETE,
    }
    assert render_plan(statuses) == (
        "deploy (parallel strategy) (IN_PROGRESS)\n"
        "├─ gpuworker (parallel strategy) (COMPLETE)\n"
        "├─ worker (parallel strategy) (IN_PROGRESS)\n"
        "│  └─ worker-0:[node] (STARTING)\n"
        "├─ parameter-server (parallel strategy) (COMPLETE)\n"
        "│  └─ parameter-server-0:[node] (COMPLETE)\n"
        "└─ tensorboard (parallel strategy) (COMPLETE)\n"
        "   └─ tensorboard-0:[node] (COMPLETE)"
    )


def test_errors_follow_after_a_blank_line_without_a_newline_at_the_end():
    text = render_plan({Task(WORKER, 0): ERROR}, ["worker-0 exited with code 1"])
    assert text.startswith("deploy (parallel strategy) (ERROR)\n")
    assert text.endswith(
        "└─ parameter-server (parallel strategy) (COMPLETE)\n"
        "\n"
        "Errors:\n"
        "- worker-0 exited with code 1"
    )


@pytest.mark.parametrize(
    ("steps", "phase"),
    [
        ([COMPLETE, COMPLETE], COMPLETE),
        ([PENDING, PENDING], PENDING),
        ([COMPLETE, PENDING], IN_PROGRESS),
        ([STARTING], IN_PROGRESS),
        ([STARTING, PENDING], IN_PROGRESS),
        ([COMPLETE, ERROR], ERROR),
    ],
)
def test_a_phase_is_as_far_as_its_steps(steps, phase):
    statuses = {Task(WORKER, index): status for index, status in enumerate(steps)}
    assert f"├─ worker (parallel strategy) ({phase})\n" in render_plan(statuses)
