"""Processes that compute chunks, one per core, and are replaced when they die.

A child has the next chunk while it computes one, so that it can read ahead, and it goes
on while parts are written. When a child dies, at most these chunks are lost. They are
tried one by one; a chunk in which the child dies again is halved until the image that
kills it is found. That image is left out.
"""

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from poets.cluster import ALONE, Cluster
from poets.errors import PoetsError
from poets.features.chunks import Chunk
from poets.features.process import Spec
from poets.features.store import part_stem
from poets.system.child import Child, ChildDiedError

logger = logging.getLogger(__name__)


Advance = Callable[[int], None]
"""Called with the number of copies done, from any thread."""

Unread = list[tuple[str, str]]
"""Images not read: (path, reason)."""


class Part(NamedTuple):
    """A chunk and the name of its part.

    Attributes:
      stem: prefix of the part's name, see `store.part_stem`.
      tasks: the chunk.
      number: of the chunk in its plan.
      marks: whether a mark is written for a part without rows.
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
        """Counts `count` copies as done."""

    def done(self, part: Part) -> None:
        """Marks a whole part as done."""


class Workers(Protocol):
    """The processes that compute bottlenecks: this machine's, or those of all tasks."""

    @property
    def cluster(self) -> Cluster:
        """The tasks that share the work, and which of them this is."""

    @property
    def processes(self) -> int:
        """The number of processes in all tasks."""

    @property
    def alone(self) -> "Workers":
        """This machine's processes."""

    def joined_in(self, activity: str) -> contextlib.AbstractContextManager[None]:
        """Has the other tasks run a named activity while the body runs."""

    def compute(
        self, spec: Spec, chunks: Iterable[Chunk], advance: Advance, first_number: int
    ) -> Unread:
        """Has all chunks computed, see `Pool.compute`."""


MAX_QUEUED = 2
"""Chunks that a process holds: it computes one and reads ahead for the other."""


class Extractor(Child):
    """A process that computes chunks; it is still loading when this returns."""

    def __init__(self) -> None:
        super().__init__("poets.features.process", {"OMP_NUM_THREADS": "1"})
        self._spec: Spec | None = None

    def prepare(self, spec: Spec) -> None:
        """Loads a spec, unless it is loaded; raises PoetsError if it cannot."""
        if spec == self._spec:
            return
        try:
            self.send({"spec": spec.to_json()})
            self.reply()
        except ChildDiedError as death:
            raise PoetsError(
                f"a process that computes bottlenecks does not start: {death}"
            ) from death
        self._spec = spec

    def submit(self, part: Part) -> None:
        """Sends a chunk, also while others are computed; may raise ChildDiedError."""
        self.send({"part": part.stem, "marks": part.marks, "tasks": part.tasks})

    def reply(self) -> dict[str, Any]:
        """Waits for the next reply, see `poets.features.process`.

        Raises:
          ChildDiedError: if the process ended instead.
          PoetsError: if it cannot go on.
        """
        reply = self.receive()
        if "failed" in reply:
            raise PoetsError(reply["failed"])
        return reply


class Pool:
    """This machine's processes; they load while the caller does other things.

    with Pool(2) as pool:
        ...                                   # the processes import meanwhile
        unread = pool.compute(spec, chunks, advance, first_number)
    """

    cluster = ALONE
    """The only task."""

    def __init__(self, processes: int) -> None:
        """Starts `processes` processes, 1 or more."""
        self.processes = processes
        self._children = [Extractor() for _ in range(processes)]

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *exception: object) -> None:
        for child in self._children:
            child.stop()

    @property
    def alone(self) -> "Pool":
        """The processes of this machine."""
        return self

    def joined_in(self, activity: str) -> contextlib.AbstractContextManager[None]:
        """Does nothing: there are no other tasks."""
        return contextlib.nullcontext()

    def compute(
        self, spec: Spec, chunks: Iterable[Chunk], advance: Advance, first_number: int
    ) -> Unread:
        """Computes all chunks and returns the images not read.

        Args:
          spec: what the processes compute.
          chunks: the work; each becomes one part of the store.
          advance: called as copies are done.
          first_number: the number of the first part, see `Store.next_number`.

        Raises:
          PoetsError: if a process does not start, or the store cannot be written.
        """
        parts = (
            Part(part_stem(first_number + number), chunk, number)
            for number, chunk in enumerate(chunks)
        )
        return self.work_off(spec, Parts(parts, advance))

    def work_off(self, spec: Spec, work: Work) -> Unread:
        """Computes until no work is left; returns the images not read, as `compute`.

        Raises:
          PoetsError: if a process does not start, or the store cannot be written.
        """
        return _Pass(self._children, spec, work).run()


class _Pass:
    """One pass of all processes over the work, with a thread for each process.

    A process that dies is replaced in the list `children`.
    """

    def __init__(self, children: list[Extractor], spec: Spec, work: Work) -> None:
        self._children, self._spec, self._work = children, spec, work
        self._unread: Unread = []
        self._failures: list[BaseException] = []
        self._stopping = threading.Event()

    def run(self) -> Unread:
        """Returns the images not read; raises the first error of a thread."""
        threads = [
            threading.Thread(target=self._serve, args=(slot,), daemon=True)
            for slot in range(len(self._children))
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        finally:
            self._stopping.set()
        if self._failures:
            for slot, child in enumerate(self._children):
                child.stop()
                self._children[slot] = Extractor()
            raise self._failures[0]
        return self._unread

    def _serve(self, slot: int) -> None:
        try:
            self._compute(slot)
        except BaseException as error:  # raised again in the caller's thread
            self._failures.append(error)
            self._stopping.set()
            for child in self._children:  # their results are lost anyway
                child.kill()

    def _compute(self, slot: int) -> None:
        """Has one process compute chunks until there are none."""
        computing: deque[Part] = deque()
        writing: deque[Part] = deque()
        while not self._stopping.is_set():
            child = self._children[slot]
            try:
                while len(computing) < MAX_QUEUED and (part := self._work.take()):
                    child.prepare(self._spec)
                    computing.append(part)
                    child.submit(part)
                if not computing and not writing:
                    return
                reply = child.reply()
                if "computed" in reply:
                    writing.append(computing.popleft())
                else:
                    self._advance(reply["unread"], writing[0].tasks)
                    self._work.done(writing.popleft())
            except ChildDiedError as death:
                self._restart(slot, death)
                for part in (*writing, *computing):
                    self._search(slot, part)
                    if not self._stopping.is_set():
                        self._work.done(part)
                writing.clear()
                computing.clear()

    def _search(self, slot: int, part: Part) -> None:
        """Computes a chunk without the image that kills the process, if any."""
        if self._stopping.is_set():
            return
        try:
            self._children[slot].submit(part)
            self._children[slot].reply()
            self._advance(self._children[slot].reply()["unread"], part.tasks)
        except ChildDiedError as death:
            self._restart(slot, death)
            if len(part.tasks) == 1:
                why = f"the process that decoded it died: {death}"
                self._advance([(part.tasks[0].path, why)], ())
                return
            middle = len(part.tasks) // 2
            self._search(slot, part._replace(tasks=part.tasks[:middle]))
            self._search(slot, part._replace(tasks=part.tasks[middle:]))

    def _advance(self, unread: Iterable[Sequence[str]], chunk: Chunk) -> None:
        self._unread.extend((path, why) for path, why in unread)
        self._work.advance(sum(len(task.copies) for task in chunk))

    def _restart(self, slot: int, death: ChildDiedError) -> None:
        """Replaces a process that died, unless all of them are being stopped."""
        if self._stopping.is_set():
            return
        logger.warning("a process died: %s; trying its part again", death)
        self._children[slot].stop()
        self._children[slot] = Extractor()
        self._children[slot].prepare(self._spec)


class Parts:
    """Parts, each made when it is taken; see `Work`."""

    def __init__(self, parts: Iterable[Part], advance: Advance) -> None:
        self._parts, self._lock = iter(parts), threading.Lock()
        self.advance = advance

    def take(self) -> Part | None:
        """Returns the next part, None at the end."""
        with self._lock:
            return next(self._parts, None)

    def done(self, part: Part) -> None:
        """Does nothing."""
