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
from typing import Any, NoReturn

from poets.errors import ModelError
from poets.serve.server.errors import OverloadedError, PictureError
from poets.serve.server.protocol import packed_batch, taken_answers
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
        self._processes: list[Process] = []
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
        except BaseException as error:
            await first.stop()
            if isinstance(error, _DiedError):
                raise ModelError(f"the process that loads it ended: {error}") from error
            raise
        self._tasks = [
            asyncio.create_task(self._keep(process))
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
        if not self._waiting:
            loop.call_soon(self._hand_out)  # with what other requests ask for now
        jobs = [_Job(picture, loop.create_future()) for picture in pictures]
        self._waiting.extend(jobs)
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

    async def _keep(self, process: "Process") -> None:
        """Keeps one process at work, and replaces it when it dies."""
        while True:
            try:
                if not process.loaded:
                    await process.load(self._command)
                await self._employ(process)
            except (_DiedError, ModelError) as error:
                logger.warning("a process died: %s; starting another", error)
                if not process.loaded:
                    await asyncio.sleep(LOADS_AGAIN_S)
            finally:
                await process.stop()
            process = Process()

    async def _employ(self, process: "Process") -> None:
        """Gives work to a loaded process until it dies."""
        process.answered = self._hand_out
        self._processes.append(process)
        self._hand_out()
        try:
            await process.died()
        finally:
            self._processes.remove(process)
            self._put_back(process.batches)

    def _hand_out(self) -> None:
        """Sends what waits to processes that have room, first to those without work."""
        for held in range(AHEAD):
            for process in self._processes:
                if len(process.batches) == held and (batch := self._take()):
                    self._observe(len(batch))
                    process.send(batch)

    def _take(self) -> list[_Job]:
        """Returns the next batch; requests that ended are left out."""
        share = math.ceil(len(self._waiting) / self._count)
        batch: list[_Job] = []
        while self._waiting and len(batch) < min(share, MAX_BATCH):
            if self._waiting[0].alone and batch:
                break
            job = self._waiting.popleft()
            if job.done.done():
                continue
            batch.append(job)
            if job.alone:
                break
        return batch

    def _put_back(self, batches: Sequence[list[_Job]]) -> None:
        """Has the pictures of a process that died tried again.

        Those of the first batch, which it computed, are tried one by one.
        """
        for job in batches[0] if batches else ():
            if job.alone and not job.done.done():
                job.done.set_result(
                    PictureError("the process that decoded it died: refused")
                )
            job.alone = True
        again = (job for batch in reversed(batches) for job in reversed(batch))
        self._waiting.extendleft(job for job in again if not job.done.done())
        self._hand_out()


class _DiedError(Exception):
    """A process ended; the message is its signal or exit code."""


class Process(asyncio.SubprocessProtocol):
    """One process, see `poets.serve.server.process`.

    Attributes:
      loaded: whether it has a model.
      batches: what it was sent and has not answered, the oldest first.
      answered: called after its answers to a batch.
    """

    def __init__(self) -> None:
        self.loaded = False
        self.batches: deque[list[_Job]] = deque()
        self.answered: Callable[[], None] = lambda: None
        self._transport: Any = None
        self._received = bytearray()
        self._spoke, self._silent = asyncio.Event(), asyncio.Event()
        self._exited = asyncio.Event()

    async def start(self) -> None:
        """Starts it; it imports its modules."""
        starting = asyncio.ensure_future(
            asyncio.get_running_loop().subprocess_exec(
                lambda: self,
                *(sys.executable, "-m", PROCESS),
                stderr=None,
                env={**child_environment(), "OMP_NUM_THREADS": "1"},
                start_new_session=True,  # a terminal's Ctrl-C is the server's to answer
            )
        )
        try:
            await asyncio.shield(starting)
        finally:  # also if this is cancelled: `stop` has to know what was started
            self._transport, _ = await starting

    async def load(self, command: bytes) -> Description:
        """Has it load a model; starts it if that has not been done.

        Raises:
          ModelError: if the model does not load.
        """
        if self._transport is None:
            await self.start()
        self._transport.get_pipe_transport(0).write(command)
        await self._spoke.wait()
        if self._silent.is_set():
            await self.died()
        answer = json.loads(self._received)
        self._received.clear()
        if "failed" in answer:
            raise ModelError(answer["failed"])
        self.loaded = True
        return Description(**answer)

    def send(self, batch: list[_Job]) -> None:
        """Sends it a batch."""
        self.batches.append(batch)
        given = self._transport.get_pipe_transport(0)
        if not given.is_closing():  # else it died, as its output will show
            given.writelines(packed_batch([job.picture for job in batch]))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Delivers its answers; before, the line about its model."""
        self._received += data
        if not self.loaded:
            if data.endswith(b"\n"):
                self._spoke.set()
            return
        while answers := taken_answers(self._received):
            for job, answer in zip(self.batches.popleft(), answers, strict=True):
                if not job.done.done():  # else its request was cancelled
                    job.done.set_result(
                        PictureError(answer) if isinstance(answer, str) else answer
                    )
        self.answered()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Notes the end of its output, after the last answer."""
        if fd == 1:
            self._silent.set()
            self._spoke.set()

    def process_exited(self) -> None:
        """Notes its end."""
        self._exited.set()

    async def died(self) -> NoReturn:
        """Waits until it dies, and raises _DiedError."""
        await self._silent.wait()
        await self._exited.wait()
        status = self._transport.get_returncode()
        raise _DiedError(
            signal.Signals(-status).name if status < 0 else f"exit code {status}"
        )

    async def stop(self) -> None:
        """Ends it, if it runs."""
        if self._transport:
            with contextlib.suppress(ProcessLookupError):
                self._transport.kill()
            await self._exited.wait()
            self._transport.close()
