"""Runs a command and measures its time and the memory of its processes.

Linux only, because it samples the memory from `/proc`.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.inputs import PROJECT

SAMPLE_S = 0.05
TIMEOUT_S = 900.0
TAIL_LINES = 15


class RunError(Exception):
    """A measured command failed; the message contains the end of its log."""


@dataclass(frozen=True)
class Run:
    """The time and memory of one command.

    Attributes:
      wall_s: wall-clock seconds.
      tree_rss_mb: largest sum of the resident sets of the process and all its
        descendants. Shared pages (libraries, forked memory) count several times.
      main_rss_mb: largest resident set of the process itself.
      main_own_mb: the same without files and shared memory.
      children_rss_mb: largest sum over the descendants only.
      stdout: its output.
    """

    wall_s: float
    tree_rss_mb: float
    main_rss_mb: float
    main_own_mb: float
    children_rss_mb: float
    stdout: str


def run_python(
    module: str,
    arguments: Sequence[str | Path],
    log: Path,
    timeout_s: float = TIMEOUT_S,
) -> Run:
    """Runs `python -m module arguments` from the project's folder.

    Args:
      module: the module to run.
      arguments: its arguments.
      log: the file for its stderr.
      timeout_s: the time limit in seconds.

    Raises:
      RunError: if it fails, or does not end within `timeout_s`.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    began_s = time.monotonic()
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    with _Sampler(process.pid) as sampler:
        try:
            stdout, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.communicate()
            raise RunError(
                f"{module} {arguments[0]} is not done after {timeout_s:g} s; see {log}"
            ) from error
        wall_s = time.monotonic() - began_s
    if process.returncode != 0:
        lines = log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        tail = "\n    ".join(lines)
        raise RunError(
            f"{module} {arguments[0]} ended with {process.returncode}; "
            f"the end of {log}:\n    {tail}"
        )
    return Run(
        wall_s,
        *(sampler.tree_mb, sampler.main_mb, sampler.own_mb, sampler.children_mb),
        stdout,
    )


class _Sampler:
    """Samples the largest resident sets of a process tree, as a context manager."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.tree_mb = self.main_mb = self.own_mb = self.children_mb = 0.0

    def __enter__(self) -> "_Sampler":
        self._sample_once()  # the thread may start after a short command has ended
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(SAMPLE_S):
            self._sample_once()

    def _sample_once(self) -> None:
        main, own = resident_mb(self._pid)
        children = sum(resident_mb(pid)[0] for pid in descendants(self._pid))
        self.main_mb = max(self.main_mb, main)
        self.own_mb = max(self.own_mb, own)
        self.children_mb = max(self.children_mb, children)
        self.tree_mb = max(self.tree_mb, main + children)


def descendants(pid: int) -> list[int]:
    """Returns the descendants of a process; empty if it is gone."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            children = Path(f"/proc/{pid}/task/{thread}/children").read_text()
            found += map(int, children.split())
    except OSError:  # it ended meanwhile
        pass
    return found + [below for child in found for below in descendants(child)]


def resident_mb(pid: int) -> tuple[float, float]:
    """Returns the resident set of one process, and its unshared part.

    Both are 0 if it is gone.
    """
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0.0, 0.0
    page_mb = os.sysconf("SC_PAGE_SIZE") / 2**20
    return int(pages[1]) * page_mb, (int(pages[1]) - int(pages[2])) * page_mb
