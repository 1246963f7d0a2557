"""Processes that compute chunks, one a core, and what to do when one dies.

Plain child processes with lines of JSON, not `multiprocessing`: its spawn imports the
host's main module again, and a DC/OS wrapper without a guard would run twice. A child
that dies takes at most its chunk with it; the chunk is halved until the image that
kills is alone, and that one is left out.
"""

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from poets.bottlenecks.process import Spec, Task
from poets.errors import PoetsError

logger = logging.getLogger(__name__)

PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])

Chunk = Sequence[Task]


class Died(Exception):
    """A process ended before it replied."""


class Child:
    """One process that computes chunks."""

    def __init__(self, spec: Spec) -> None:
        # The child finds every module where this process found it.
        path = os.pathsep.join([PACKAGE_PARENT, *filter(None, sys.path)])
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "poets.bottlenecks.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            encoding="utf-8",
        )
        try:
            self._send(spec.to_json())
            self._receive()
        except Died as death:
            self.stop()
            raise PoetsError(
                f"a process that computes bottlenecks does not start: {death}"
            ) from death

    def compute(self, chunk: Chunk) -> list[tuple[str, str]]:
        """Has a chunk computed and returns (path, reason) of what was not read.

        Raises:
          Died: if the process ended instead.
        """
        self._send(json.dumps(chunk))
        return [(path, why) for path, why in self._receive()["unread"]]

    def stop(self) -> None:
        """Ends the process now; the part it is writing is lost, and no other."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            try:
                stream.close()  # type: ignore[union-attr]
            except OSError:  # what was not sent cannot be flushed
                continue

    def _send(self, line: str) -> None:
        try:
            self._process.stdin.write(line + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        except OSError as error:
            raise Died(self._death()) from error

    def _receive(self) -> dict:
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line.endswith("\n"):
            raise Died(self._death())
        return json.loads(line)

    def _death(self) -> str:
        status = self._process.wait()
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").strip().splitlines()
        how = signal.Signals(-status).name if status < 0 else f"exit code {status}"
        return f"{how}{': ' if text else ''}{text[-1] if text else ''}"


def run_chunks(
    spec: Spec,
    chunks: Sequence[Chunk],
    processes: int,
    advance: Callable[[int], None],
) -> list[tuple[str, str]]:
    """Has all chunks computed and returns (path, reason) of what was not read.

    Args:
      spec: what the processes compute.
      chunks: the work; each becomes one part of the store.
      processes: how many work at once, 1 or more.
      advance: is called with the number of copies done, from any thread.

    Raises:
      PoetsError: if a process does not start, or the store cannot be written.
    """
    work: queue.SimpleQueue[Chunk] = queue.SimpleQueue()
    for chunk in chunks:
        work.put(chunk)
    unread: list[tuple[str, str]] = []
    failures: list[BaseException] = []
    children: set[Child] = set()
    stopping = threading.Event()

    def start() -> Child:
        child = Child(spec)
        children.add(child)
        return child

    def end(child: Child) -> None:
        children.discard(child)
        child.stop()

    def compute(child: Child, chunk: Chunk) -> Child:
        """Computes a chunk and returns a child that lives."""
        try:
            unread.extend(child.compute(chunk))
        except Died as death:
            end(child)
            if stopping.is_set():
                raise
            logger.warning("a process died: %s; its part is tried again", death)
            if len(chunk) == 1:
                unread.append((chunk[0].path, f"the process reading it died: {death}"))
                advance(len(chunk[0].copies))
                return start()
            middle = len(chunk) // 2
            return compute(compute(start(), chunk[:middle]), chunk[middle:])
        advance(sum(len(task.copies) for task in chunk))
        return child

    def work_off() -> None:
        try:
            child = start()
            try:
                while not stopping.is_set():
                    child = compute(child, work.get_nowait())
            except queue.Empty:
                end(child)
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            failures.append(error)
            stopping.set()

    threads = [
        threading.Thread(target=work_off, daemon=True)
        for _ in range(min(processes, len(chunks)))
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        stopping.set()
        for child in list(children):
            child.stop()
    if failures:
        raise failures[0]
    return unread
