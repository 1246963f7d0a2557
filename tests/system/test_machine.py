"""A task uses what its scheduler gave it, not all that the machine has."""

import os

import pytest

from poets.system import machine
from poets.system.machine import memory_bytes, room_for_processes

CORES = len(os.sched_getaffinity(0))
GB = 2**30


def root_with(folder, files):
    """Writes control group files below a folder that stands in for "/"."""
    for name, text in files.items():
        path = folder / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return folder


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"cpu.max": "max 100000", "memory.max": "max"},
        {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
        {"memory/memory.limit_in_bytes": "9223372036854771712"},
        {"cpu.max": "not a number"},
    ],
)
def test_without_a_limit_every_core_has_a_process(tmp_path, files):
    assert room_for_processes(root_with(tmp_path, files)) == CORES


@pytest.mark.parametrize(
    ("files", "room"),
    [
        ({"cpu.max": "400000 100000"}, 4),
        ({"cpu.max": "150000 100000"}, 1),
        ({"cpu.max": "10000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"memory.max": str(2 * GB)}, 4),
        ({"memory.max": str(GB)}, 1),
        ({"memory/memory.limit_in_bytes": str(4 * GB)}, 14),
        ({"cpu.max": "800000 100000", "memory.max": str(2 * GB)}, 4),
    ],
)
def test_the_least_of_cores_share_and_memory_counts(tmp_path, monkeypatch, files, room):
    monkeypatch.setattr(machine, "_cores", lambda: 64)
    assert room_for_processes(root_with(tmp_path, files)) == room


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"memory.max": str(GB)}, GB),
        ({"memory/memory.limit_in_bytes": str(GB // 2)}, GB // 2),
        ({"memory.max": "max"}, None),
        ({"memory.max": "9223372036854771712"}, None),
    ],
)
def test_memory_is_the_groups_or_else_the_machines(tmp_path, files, limit):
    machines = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert memory_bytes(root_with(tmp_path, files)) == (limit or machines)
