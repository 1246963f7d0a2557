"""Scores pictures in processes, one per core; requests never block the event loop.

    score(pictures) ──> waiting ──> a process that has room ──> scores, or why not

A process takes its share of the pictures that wait, up to MAX_BATCH, and has the next
batch while it computes one. One that dies is replaced, and its pictures are tried
alone: the one that kills a process again is answered with an error.
"""

import asyncio
import contextlib
import json
import logging
import math
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from poets.errors import ModelError
from poets.serve.server.errors import OverloadedError, PictureError
from poets.serve.server.protocol import NUMBER, packed_batch, unpacked_answers
from poets.system.child import child_environment

logger = logging.getLogger(__name__)

Scores = Sequence[float]

PROCESS = "poets.serve.server.process"
"""The module of a process."""

MAX_BATCH = 16
"""Pictures sent to a process at once: small next to the time of a request."""

AHEAD = 2
"""Batches that a process holds: one is computed while the next is on its way."""

LOADS_AGAIN_S = 1.0
"""Between two attempts to replace a process that died."""

LINE_BYTES = 1 << 28
"""The longest first line of a process, which holds metrics.json."""


@dataclass
class _Job:
    picture: bytes
    done: "asyncio.Future[Scores | PictureError]"
    alone: bool = False


@dataclass
class Description:
    """A loaded model.

    Attributes:
      labels: in the order of the scores.
      metrics: metrics.json of its run; empty if there is none.
      takes_tensors: whether a picture may be a scaled tensor, see `protocol.TENSOR`.
    """

    labels: Sequence[str]
    metrics: dict[str, Any] = field(default_factory=dict)
    takes_tensors: bool = False


class Scorer:
    """The processes of one model.

    Attributes:
      description: of the model, after `start`.
    """

    description: Description

    def __init__(
        self,
        model: str,
        labels: str | None,
        processes: int,
        max_queue: int,
        observe_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        """Makes a scorer; `start` loads the model.

        Args:
          model: URL of the model.
          labels: URL of its labels file; None searches for it.
          processes: how many.
          max_queue: pictures that may wait.
          observe_batch: called with the size of each batch.
        """
        self._command = json.dumps({"model": model, "labels": labels}).encode() + b"\n"
        self._count, self._max_queue = processes, max_queue
        self._observe = observe_batch
        self._waiting: deque[_Job] = deque()
        self._more = asyncio.Event()
        self._in_flight = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, first: "Process | None" = None) -> None:
        """Loads the model in one process, then in the others in the background.

        Args:
          first: a process that has started, if there is one.

        Raises:
          ModelError: if it does not load, or does not answer on a grey picture.
        """
        first = first or Process()
        try:
            self.description = await first.load(self._command)
        except _DiedError as error:
            raise ModelError(f"the process that loads it ended: {error}") from error
        except BaseException:
            await first.stop()
            raise
        self._tasks = [
            asyncio.create_task(self._work(process))
            for process in (first, *(Process() for _ in range(self._count - 1)))
        ]

    async def score(self, pictures: Sequence[bytes]) -> list[Scores | PictureError]:
        """Returns the scores of each picture, or why it has none.

        Raises:
          OverloadedError: if too many pictures wait.
        """
        room = self._max_queue - len(self._waiting)
        if len(pictures) > room:
            raise OverloadedError(
                f"{len(pictures)} pictures, and room for {room} in a queue of "
                f"{self._max_queue}; ask again later, or for fewer at once"
            )
        loop = asyncio.get_running_loop()
        jobs = [_Job(picture, loop.create_future()) for picture in pictures]
        self._waiting.extend(jobs)
        self._more.set()
        self._in_flight += 1
        try:
            return [await job.done for job in jobs]
        finally:
            self._in_flight -= 1
            for job in jobs:
                job.done.cancel()  # those that a cancelled request no longer needs

    async def stop(self) -> None:
        """Waits for the answers in progress, then ends the processes."""
        while self._in_flight:
            await asyncio.sleep(0.02)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(self, process: "Process") -> None:
        """Keeps one process busy, and replaces it when it dies."""
        while True:
            try:
                if not process.loaded:
                    await process.load(self._command)
                await self._feed(process)
            except (_DiedError, ModelError) as error:
                logger.warning("a process died: %s; starting another", error)
                if not process.loaded:
                    await asyncio.sleep(LOADS_AGAIN_S)
            finally:
                await process.stop()
            process = Process()

    async def _feed(self, process: "Process") -> None:
        """Sends batches to a loaded process and delivers its answers, until it dies."""
        sent: deque[list[_Job]] = deque()
        room = asyncio.Semaphore(AHEAD)
        both = [
            asyncio.create_task(self._send(process, sent, room)),
            asyncio.create_task(self._receive(process, sent, room)),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in both:
                task.cancel()
            ended = await asyncio.gather(*both, return_exceptions=True)
            self._put_back(sent)
        for error in ended:
            if isinstance(error, _DiedError):
                raise error

    async def _send(
        self, process: "Process", sent: deque[list[_Job]], room: asyncio.Semaphore
    ) -> None:
        while True:
            await room.acquire()
            while not (batch := self._take()):
                self._more.clear()
                await self._more.wait()
                if sent:
                    await asyncio.sleep(0)  # idle processes take theirs first
            self._observe(len(batch))
            sent.append(batch)
            await process.send([job.picture for job in batch])

    async def _receive(
        self, process: "Process", sent: deque[list[_Job]], room: asyncio.Semaphore
    ) -> None:
        while True:
            answers = await process.receive()
            for job, answer in zip(sent.popleft(), answers, strict=True):
                if not job.done.done():  # else its request was cancelled
                    job.done.set_result(
                        PictureError(answer) if isinstance(answer, str) else answer
                    )
            room.release()

    def _take(self) -> list[_Job]:
        """Returns the next batch; requests that ended are left out."""
        share = math.ceil(len(self._waiting) / self._count)
        batch: list[_Job] = []
        while self._waiting and len(batch) < min(share, MAX_BATCH):
            if self._waiting[0].alone and batch:
                break
            job = self._waiting.popleft()
            if not job.done.done():
                batch.append(job)
            if job.alone:
                break
        return batch

    def _put_back(self, sent: Sequence[list[_Job]]) -> None:
        """Has the pictures of a process that died tried again.

        Those of the first batch, which it computed, are tried one by one.
        """
        for job in sent[0] if sent else ():
            if job.alone and not job.done.done():
                job.done.set_result(
                    PictureError("the process that decoded it died: refused")
                )
            job.alone = True
        again = (job for batch in reversed(sent) for job in reversed(batch))
        self._waiting.extendleft(job for job in again if not job.done.done())
        self._more.set()


class _DiedError(Exception):
    """A process ended; the message is its signal or exit code."""


class Process:
    """One process, see `poets.serve.server.process`.

    Attributes:
      loaded: whether it has a model.
    """

    def __init__(self) -> None:
        self.loaded = False
        self._input: Any = None
        self._output: Any = None
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts it; it imports its modules."""
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                *(sys.executable, "-m", PROCESS),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={**child_environment(), "OMP_NUM_THREADS": "1"},
                limit=LINE_BYTES,
                start_new_session=True,  # a terminal's Ctrl-C is the server's to answer
            )
        )
        try:
            await asyncio.shield(starting)
        finally:  # also if this is cancelled: `stop` has to know what was started
            self._process = await starting
        self._input, self._output = self._process.stdin, self._process.stdout

    async def load(self, command: bytes) -> Description:
        """Has it load a model; starts it if that has not been done.

        Raises:
          ModelError: if the model does not load.
        """
        if self._process is None:
            await self.start()
        self._input.write(command)
        line = await self._output.readline()
        if not line.endswith(b"\n"):
            raise _DiedError(await self._death())
        answer = json.loads(line)
        if "failed" in answer:
            raise ModelError(answer["failed"])
        self.loaded = True
        return Description(**answer)

    async def send(self, pictures: Sequence[bytes]) -> None:
        """Sends it a batch."""
        self._input.writelines(packed_batch(pictures))
        try:
            await self._input.drain()
        except OSError as error:
            raise _DiedError(await self._death()) from error

    async def receive(self) -> list[Scores | str]:
        """Returns its answers to the next batch: scores, or reasons."""
        try:
            size = await self._output.readexactly(NUMBER.size)
            answers = await self._output.readexactly(*NUMBER.unpack(size))
        except asyncio.IncompleteReadError as error:
            raise _DiedError(await self._death()) from error
        return unpacked_answers(answers)

    async def stop(self) -> None:
        """Ends it, if it runs."""
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _death(self) -> str:
        status = await self._process.wait()  # type: ignore[union-attr]
        return signal.Signals(-status).name if status < 0 else f"exit code {status}"
