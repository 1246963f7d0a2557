"""Processes that compute chunks, one a core, and what to do when one dies.

Plain child processes with lines of JSON, not `multiprocessing`: its spawn imports the
host's main module again, and a DC/OS wrapper without a guard would run twice. A child
has its next chunk while it computes one, so that it can read ahead, and goes on while
parts are written. One that dies takes at most these chunks with it; they are tried one
by one, and that in which it dies again is halved until the image that kills is alone,
and that one is left out.
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
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from poets.bottlenecks.process import Spec, Task
from poets.errors import PoetsError

logger = logging.getLogger(__name__)

PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])

Chunk = Sequence[Task]

IN_HAND = 2
"""Chunks that a process has to compute: one is computed, one is read ahead."""


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
            self._send({"spec": spec.to_json()})
            self.receive()
        except ProcessDiedError as death:
            raise PoetsError(
                f"a process that computes bottlenecks does not start: {death}"
            ) from death
        self._spec = spec

    def send(self, chunk: Chunk) -> None:
        """Hands a chunk over; there may be others that are not yet done.

        Raises:
          ProcessDiedError: if the process has ended.
        """
        self._send({"tasks": chunk})

    def receive(self) -> dict[str, Any]:
        """Waits for the next reply, see `poets.bottlenecks.process`.

        Raises:
          ProcessDiedError: if the process ended instead.
          PoetsError: if it cannot go on.
        """
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line.endswith("\n"):
            raise ProcessDiedError(self._death())
        reply = json.loads(line)
        if "failed" in reply:
            raise PoetsError(reply["failed"])
        return reply

    def kill(self) -> None:
        """Ends the process now; the parts it is writing are lost, and no others."""
        self._process.kill()

    def stop(self) -> None:
        """Ends the process as `kill` does, and waits until it has ended."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):  # what was not sent cannot be flushed
                stream.close()  # type: ignore[union-attr]

    def _send(self, request: dict[str, object]) -> None:
        try:
            self._process.stdin.write(json.dumps(request) + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        except OSError as error:
            raise ProcessDiedError(self._death()) from error

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

        def compute(slot: int) -> None:
            """Works off chunks until there are none."""
            self._children[slot].prepare(spec)
            computing: deque[Chunk] = deque()
            writing: deque[Chunk] = deque()
            while not stopping.is_set():
                child = self._children[slot]
                try:
                    while len(computing) < IN_HAND and (chunk := _next(work)):
                        computing.append(chunk)
                        child.send(chunk)
                    if not computing and not writing:
                        return
                    reply = child.receive()
                    if "computed" in reply:
                        writing.append(computing.popleft())
                    else:
                        done(reply["unread"], writing.popleft())
                except ProcessDiedError as death:
                    if stopping.is_set():
                        return
                    self._restart(slot, spec, death)
                    for chunk in (*writing, *computing):
                        search(slot, chunk)
                    writing.clear()
                    computing.clear()

        def search(slot: int, chunk: Chunk) -> None:
            """Computes a chunk without the image that kills, if there is one."""
            if stopping.is_set():
                return
            try:
                self._children[slot].send(chunk)
                self._children[slot].receive()
                done(self._children[slot].receive()["unread"], chunk)
            except ProcessDiedError as death:
                if stopping.is_set():
                    return
                self._restart(slot, spec, death)
                if len(chunk) == 1:
                    why = f"the process that decoded it died: {death}"
                    done([(chunk[0].path, why)], ())
                    return
                middle = len(chunk) // 2
                search(slot, chunk[:middle])
                search(slot, chunk[middle:])

        def done(found: Iterable[Sequence[str]], chunk: Chunk) -> None:
            unread.extend((path, why) for path, why in found)
            advance(sum(len(task.copies) for task in chunk))

        def work_off(slot: int) -> None:
            try:
                compute(slot)
            except BaseException as error:  # raised again in the caller's thread
                failures.append(error)
                stopping.set()
                for child in self._children:  # what they do is of no use any more
                    child.kill()

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
            for slot, child in enumerate(self._children):
                child.stop()
                self._children[slot] = Child()
            raise failures[0]
        return unread

    def _restart(self, slot: int, spec: Spec, death: ProcessDiedError) -> None:
        logger.warning("a process died: %s; its part is tried again", death)
        self._children[slot].stop()
        self._children[slot] = Child()
        self._children[slot].prepare(spec)


def _next(work: "queue.SimpleQueue[Chunk]") -> Chunk | None:
    """Returns a chunk, or None if there is none left."""
    try:
        return work.get_nowait()
    except queue.Empty:
        return None
