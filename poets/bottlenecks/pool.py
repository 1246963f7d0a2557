"""Processes that compute chunks, one a core, and what to do when one dies.

Plain child processes with lines of JSON, not `multiprocessing`: its spawn imports the
host's main module again, and a DC/OS wrapper without a guard would run twice. A child
that dies takes at most its chunk with it; the chunk is halved until the image that
kills is alone, and that one is left out.
"""

import contextlib
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
from typing import Any

from poets.bottlenecks.process import Spec, Task
from poets.errors import PoetsError

logger = logging.getLogger(__name__)

PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])

Chunk = Sequence[Task]


class ProcessDiedError(Exception):
    """A process ended before it replied."""


class Child:
    """One process that computes chunks; it is loading when this returns."""

    def __init__(self) -> None:
        # The child finds every module where this process found it.
        path = os.pathsep.join([PACKAGE_PARENT, *filter(None, sys.path)])
        self._spec: Spec | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop
        self._process = subprocess.Popen(
            [sys.executable, "-m", "poets.bottlenecks.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            encoding="utf-8",
        )

    def prepare(self, spec: Spec) -> None:
        """Loads what a spec names, unless it is loaded.

        Raises:
          PoetsError: if it does not load.
        """
        if spec == self._spec:
            return
        try:
            self._ask({"spec": spec.to_json()})
        except ProcessDiedError as death:
            raise PoetsError(
                f"a process that computes bottlenecks does not start: {death}"
            ) from death
        self._spec = spec

    def compute(self, chunk: Chunk) -> list[tuple[str, str]]:
        """Has a chunk computed and returns (path, reason) of what was not read.

        Raises:
          ProcessDiedError: if the process ended instead.
        """
        reply = self._ask({"tasks": chunk})
        return [(path, why) for path, why in reply["unread"]]

    def stop(self) -> None:
        """Ends the process now; the part it is writing is lost, and no other."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):  # what was not sent cannot be flushed
                stream.close()  # type: ignore[union-attr]

    def _ask(self, request: dict[str, object]) -> dict[str, Any]:
        try:
            self._process.stdin.write(json.dumps(request) + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        except OSError as error:
            raise ProcessDiedError(self._death()) from error
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line.endswith("\n"):
            raise ProcessDiedError(self._death())
        reply = json.loads(line)
        if "failed" in reply:
            raise PoetsError(reply["failed"])
        return reply

    def _death(self) -> str:
        status = self._process.wait()
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").strip().splitlines()
        how = signal.Signals(-status).name if status < 0 else f"exit code {status}"
        return f"{how}{': ' if text else ''}{text[-1] if text else ''}"


class Pool:
    """Processes that load while the caller does other things, and then compute.

    with Pool(2) as pool:
        ...                                   # the processes import meanwhile
        unread = pool.run(spec, chunks, advance)
    """

    def __init__(self, processes: int) -> None:
        """Starts `processes` processes, 1 or more."""
        self.processes = processes
        self._children = [Child() for _ in range(processes)]

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *exception: object) -> None:
        for child in self._children:
            child.stop()

    def run(
        self, spec: Spec, chunks: Sequence[Chunk], advance: Callable[[int], None]
    ) -> list[tuple[str, str]]:
        """Has all chunks computed and returns (path, reason) of what was not read.

        Args:
          spec: what the processes compute.
          chunks: the work; each becomes one part of the store.
          advance: is called with the number of copies done, from any thread.

        Raises:
          PoetsError: if a process does not start, or the store cannot be written.
        """
        work: queue.SimpleQueue[Chunk] = queue.SimpleQueue()
        for chunk in chunks:
            work.put(chunk)
        unread: list[tuple[str, str]] = []
        failures: list[BaseException] = []
        stopping = threading.Event()

        def compute(slot: int, chunk: Chunk) -> None:
            try:
                unread.extend(self._children[slot].compute(chunk))
                advance(sum(len(task.copies) for task in chunk))
            except ProcessDiedError as death:
                if stopping.is_set():
                    return
                self._restart(slot, spec, death)
                if len(chunk) == 1:
                    why = f"the process that decoded it died: {death}"
                    unread.append((chunk[0].path, why))
                    return
                middle = len(chunk) // 2
                compute(slot, chunk[:middle])
                compute(slot, chunk[middle:])

        def work_off(slot: int) -> None:
            try:
                self._children[slot].prepare(spec)
                while not stopping.is_set():
                    compute(slot, work.get_nowait())
            except queue.Empty:
                return
            except BaseException as error:  # raised again in the caller's thread
                failures.append(error)
                stopping.set()

        threads = [
            threading.Thread(target=work_off, args=(slot,), daemon=True)
            for slot in range(min(self.processes, len(chunks)))
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        finally:
            stopping.set()
        if failures:
            raise failures[0]
        return unread

    def _restart(self, slot: int, spec: Spec, death: ProcessDiedError) -> None:
        logger.warning("a process died: %s; its part is tried again", death)
        self._children[slot].stop()
        self._children[slot] = Child()
        self._children[slot].prepare(spec)
