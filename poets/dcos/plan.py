"""The deploy plan: how far each task of the service is, as DC/OS shows it.

deploy (parallel strategy) (COMPLETE)
├─ gpuworker (parallel strategy) (COMPLETE)
├─ worker (parallel strategy) (COMPLETE)
│  └─ worker-0:[node] (COMPLETE)
└─ parameter-server (parallel strategy) (COMPLETE)
"""

from collections.abc import Iterable, Mapping

from poets.dcos.tasks import PODS, Task

PENDING, COMPLETE, IN_PROGRESS, ERROR = "PENDING", "COMPLETE", "IN_PROGRESS", "ERROR"


def render_plan(statuses: Mapping[Task, str], errors: Iterable[str] = ()) -> str:
    """Returns the plan `deploy` as a tree of text, without a newline at its end.

    Args:
      statuses: task -> PENDING, COMPLETE, IN_PROGRESS or ERROR.
      errors: what to list below the tree.
    """
    errors = list(errors)
    whole = ERROR if errors else aggregate(statuses.values())
    lines = [f"deploy (parallel strategy) ({whole})"]
    for pod in PODS:
        steps = {task: status for task, status in statuses.items() if task.pod is pod}
        phase, below = ("└─ ", "   ") if pod is PODS[-1] else ("├─ ", "│  ")
        status = aggregate(steps.values())
        lines.append(f"{phase}{pod.name} (parallel strategy) ({status})")
        for task in steps:
            branch = "└─ " if task is list(steps)[-1] else "├─ "
            lines.append(f"{below}{branch}{task.name}:[node] ({steps[task]})")
    if errors:
        lines += ["", "Errors:", *(f"- {error}" for error in errors)]
    return "\n".join(lines)


def aggregate(statuses: Iterable[str]) -> str:
    """Returns the status of a phase or plan from those of its steps."""
    found = set(statuses)
    if ERROR in found:
        return ERROR
    if not found or found == {COMPLETE}:
        return COMPLETE
    return PENDING if found == {PENDING} else IN_PROGRESS
