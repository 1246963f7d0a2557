"""The number of processes and the memory that this machine or container allows.

A scheduler gives a task a share of a machine, but `os.cpu_count()` still counts all of
its cores. A process for each would need more memory than the task has.
"""

import contextlib
import os
from pathlib import Path

CHIEF_BYTES = 1200 * 2**20
"""Memory of the first process, with TensorFlow and the features in it."""

PROCESS_BYTES = 200 * 2**20
"""Memory of a process that computes bottlenecks, with a small network in it."""


def room_for_processes(root: Path = Path("/")) -> int:
    """Returns how many processes may compute at once, at least 1.

    It is the minimum of the cores that this process may use, its control group's
    share of them, and what fits into the group's memory beside the first process.

    Args:
      root: root of the file system; tests pass another one.
    """
    groups = root / "sys/fs/cgroup"
    rooms = [float(_cores())]
    quota = _numbers(groups / "cpu.max")  # version 2: "400000 100000", "max 100000"
    if not quota:
        quota = [
            *_numbers(groups / "cpu/cpu.cfs_quota_us"),  # version 1: -1 for no limit
            *_numbers(groups / "cpu/cpu.cfs_period_us"),
        ]
    if len(quota) == 2 and min(quota) > 0:
        rooms.append(quota[0] / quota[1])
    if memory := _group_memory(groups):
        rooms.append((memory[0] - CHIEF_BYTES) / PROCESS_BYTES)
    return max(1, int(min(rooms)))


def memory_bytes(root: Path = Path("/")) -> int:
    """Returns the memory of this machine or container."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(min([pages, *_group_memory(root / "sys/fs/cgroup")]))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _group_memory(groups: Path) -> list[float]:
    """Returns the memory limit of the control group, if it has one."""
    return _numbers(groups / "memory.max") or _numbers(
        groups / "memory/memory.limit_in_bytes"
    )


def _numbers(path: Path) -> list[float]:
    """Returns the numbers in a file; none if it is absent or contains "max"."""
    with contextlib.suppress(OSError, ValueError):
        return [float(word) for word in path.read_text().split()]
    return []
