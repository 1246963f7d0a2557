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
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from poets.bottlenecks.process import Spec, Task
from poets.bottlenecks.store import part_stem
from poets.cluster import ALONE
from poets.errors import PoetsError

logger = logging.getLogger(__name__)

PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])

Chunk = Sequence[Task]


class Part(NamedTuple):
    """A chunk and where it goes.

    Attributes:
      stem: what the name of the part begins with, see `store.part_stem`.
      tasks: the chunk.
      number: of the chunk in its plan.
      marks: whether the store tells of a part without a row, too.
    """

    stem: str
    tasks: Chunk
    number: int = 0
    marks: bool = False


class Work(Protocol):
    """Parts to compute. Its methods are called from any thread of a pool."""

    def take(self) -> Part | None:
        """Returns the next part, None if there is none now."""

    def advance(self, count: int) -> None:
        """Takes note of `count` copies done."""

    def done(self, part: Part) -> None:
        """Takes note of a part that is wholly done."""


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

    def send(self, part: Part) -> None:
        """Hands a chunk over; there may be others that are not yet done.

        Raises:
          ProcessDiedError: if the process has ended.
        """
        self._send({"part": part.stem, "marks": part.marks, "tasks": part.tasks})

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

    cluster = ALONE
    """The workers that these are the processes of."""

    def __init__(self, processes: int) -> None:
        """Starts `processes` processes, 1 or more."""
        self.processes = processes
        self._children = [Child() for _ in range(processes)]

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *exception: object) -> None:
        for child in self._children:
            child.stop()

    @property
    def alone(self) -> "Pool":
        """The processes of this machine."""
        return self

    def together(self, activity: str) -> contextlib.AbstractContextManager[None]:
        """Asks the other workers, of whom there are none, to take part in it."""
        return contextlib.nullcontext()

    def run(
        self,
        spec: Spec,
        chunks: Sequence[Chunk],
        advance: Callable[[int], None],
        first_number: int = 0,
    ) -> list[tuple[str, str]]:
        """Has all chunks computed and returns (path, reason) of what was not read.

        Args:
          spec: what the processes compute.
          chunks: the work; each becomes one part of the store.
          advance: is called with the number of copies done, from any thread.
          first_number: that of the first part, see `Store.next_number`.

        Raises:
          PoetsError: if a process does not start, or the store cannot be written.
        """
        return self.work_off(spec, _Chunks(chunks, advance, first_number))

    def work_off(self, spec: Spec, work: Work) -> list[tuple[str, str]]:
        """Computes until there is no work and returns what was not read, as `run`.

        Raises:
          PoetsError: if a process does not start, or the store cannot be written.
        """
        unread: list[tuple[str, str]] = []
        failures: list[BaseException] = []
        stopping = threading.Event()

        def compute(slot: int) -> None:
            """Works off chunks until there are none."""
            computing: deque[Part] = deque()
            writing: deque[Part] = deque()
            while not stopping.is_set():
                child = self._children[slot]
                try:
                    while len(computing) < IN_HAND and (part := work.take()):
                        child.prepare(spec)
                        computing.append(part)
                        child.send(part)
                    if not computing and not writing:
                        return
                    reply = child.receive()
                    if "computed" in reply:
                        writing.append(computing.popleft())
                    else:
                        advance(reply["unread"], writing[0].tasks)
                        work.done(writing.popleft())
                except ProcessDiedError as death:
                    if stopping.is_set():
                        return
                    self._restart(slot, spec, death)
                    for part in (*writing, *computing):
                        search(slot, part)
                        if not stopping.is_set():
                            work.done(part)
                    writing.clear()
                    computing.clear()

        def search(slot: int, part: Part) -> None:
            """Computes a chunk without the image that kills, if there is one."""
            if stopping.is_set():
                return
            try:
                self._children[slot].send(part)
                self._children[slot].receive()
                advance(self._children[slot].receive()["unread"], part.tasks)
            except ProcessDiedError as death:
                if stopping.is_set():
                    return
                self._restart(slot, spec, death)
                if len(part.tasks) == 1:
                    why = f"the process that decoded it died: {death}"
                    advance([(part.tasks[0].path, why)], ())
                    return
                middle = len(part.tasks) // 2
                search(slot, part._replace(tasks=part.tasks[:middle]))
                search(slot, part._replace(tasks=part.tasks[middle:]))

        def advance(found: Iterable[Sequence[str]], chunk: Chunk) -> None:
            unread.extend((path, why) for path, why in found)
            work.advance(sum(len(task.copies) for task in chunk))

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
            for slot in range(self.processes)
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


class _Chunks:
    """Chunks one after the other; see `Work`."""

    def __init__(
        self, chunks: Sequence[Chunk], advance: Callable[[int], None], first: int
    ) -> None:
        first = first or time.time_ns()
        self._parts: queue.SimpleQueue[Part] = queue.SimpleQueue()
        for number, chunk in enumerate(chunks):
            self._parts.put(Part(part_stem(first + number), chunk, number))
        self.advance = advance

    def take(self) -> Part | None:
        try:
            return self._parts.get_nowait()
        except queue.Empty:
            return None

    def done(self, part: Part) -> None:
        pass
