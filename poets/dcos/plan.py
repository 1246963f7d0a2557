"""Formats the deploy plan, which shows the state of each task as DC/OS does.

deploy (parallel strategy) (COMPLETE)
├─ gpuworker (parallel strategy) (COMPLETE)
├─ worker (parallel strategy) (COMPLETE)
│  └─ worker-0:[node] (COMPLETE)
└─ parameter-server (parallel strategy) (COMPLETE)

The states are those of the DC/OS SDK. A worker's goal is to finish, so it is STARTING
until it ends; a parameter server is COMPLETE as soon as it runs. A failed task is
PENDING until it is restarted. TensorBoard has a phase only if it is enabled.
"""

from collections.abc import Iterable, Mapping

from poets.dcos.tasks import PODS, TENSORBOARD, Task

PENDING, STARTING, COMPLETE, ERROR = "PENDING", "STARTING", "COMPLETE", "ERROR"
"""The states of a step, which is one task."""

IN_PROGRESS = "IN_PROGRESS"
"""A further state of phases and of the plan."""


def render_plan(statuses: Mapping[Task, str], errors: Iterable[str] = ()) -> str:
    """Returns the plan `deploy` as a tree of text, without a newline at its end."""
    errors = list(errors)
    whole = ERROR if errors else aggregate(statuses.values())
    lines = [f"deploy (parallel strategy) ({whole})"]
    shown = TENSORBOARD in {task.pod for task in statuses}
    pods = (*PODS, TENSORBOARD) if shown else PODS
    for pod in pods:
        steps = {task: status for task, status in statuses.items() if task.pod is pod}
        phase, below = ("└─ ", "   ") if pod is pods[-1] else ("├─ ", "│  ")
        status = aggregate(steps.values())
        lines.append(f"{phase}{pod.name} (parallel strategy) ({status})")
        for task in steps:
            branch = "└─ " if task is list(steps)[-1] else "├─ "
            lines.append(f"{below}{branch}{step_line(task, steps[task])}")
    if errors:
        lines += ["", "Errors:", *(f"- {error}" for error in errors)]
    return "\n".join(lines)


def step_line(task: Task, status: str) -> str:
    """Returns a step as shown in the tree: `worker-0:[node] (COMPLETE)`."""
    return f"{task.name}:[node] ({status})"


def aggregate(statuses: Iterable[str]) -> str:
    """Returns the status of a phase or plan, derived from its steps."""
    found = set(statuses)
    if ERROR in found:
        return ERROR
    if not found or found == {COMPLETE}:
        return COMPLETE
    return PENDING if found == {PENDING} else IN_PROGRESS
