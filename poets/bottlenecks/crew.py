"""The chief's side of several workers: it plans, works like all others, and tells.

    plan ──> every worker computes its share ──> all chunks are in the store
     ▲                                                      │
     └── distorted copies <── split <── matrix <────────────┘ ──> ... done, or failed

A chief that is started again makes a new plan of what the store lacks, and the others
leave the old one. No worker is waited for: what nobody else does, the chief does.
"""

import contextlib
import dataclasses
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from poets.bottlenecks import status
from poets.bottlenecks.member import Member, offer_model
from poets.bottlenecks.plan import Plan
from poets.bottlenecks.pool import Chunk, Pool
from poets.bottlenecks.process import Spec
from poets.bottlenecks.rendezvous import (
    CHIEF,
    Board,
    Heart,
    job_url,
    new_id,
    worker_file,
)
from poets.bottlenecks.shares import LOOK_S, Share
from poets.bottlenecks.store import list_parts, remove_marks
from poets.cluster import Cluster
from poets.config import RetrainConfig
from poets.errors import PoetsError
from poets.progress import LINE_EVERY_S
from poets.storage import folder_of
from poets.storage.calls import deadline

logger = logging.getLogger(__name__)

LAST_WORD_S = 10.0
"""For telling the others how the job ended."""


class Crew:
    """The processes of all workers, as the chief has them.

    with Crew(cluster, config) as crew:
        ...                      # preflight
        crew.gather(processes)   # from here on the others have a chief
        crew.run(spec, chunks, advance)

    How the body ends is what the others are told: done, or failed with the error. A
    body that is interrupted leaves them waiting for this chief to be started again.
    """

    def __init__(self, cluster: Cluster, config: RetrainConfig) -> None:
        self.cluster = cluster
        self._board = Board(job_url(config, cluster.num_workers))
        self._num_workers = cluster.num_workers
        self._results_url = folder_of(config.output_graph)
        self._attempt = new_id()
        self._earlier: str | None = None
        self._record: dict[str, object] = {
            "attempt": self._attempt,
            "state": "working",
            "plan": None,
            "activity": None,
        }
        self._plans = self._beats = 0
        self._superseded = False
        self._posting = threading.Lock()
        self._member = Member(self._board, cluster.worker_index)
        self._heart = Heart(self._beat, "chief's beat")
        self._stack = contextlib.ExitStack()
        self._pool: Pool | None = None
        self._counted = 0
        self._advance: Callable[[int], None] = lambda count: None
        self._said_s = -1e9

    def __enter__(self) -> "Crew":
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: object
    ) -> None:
        with self._stack:  # ends the processes
            self._heart.stop()
        if error is not None and not isinstance(error, Exception):
            return
        with contextlib.suppress(PoetsError, OSError), deadline(LAST_WORD_S):
            if error is None:
                self._post(state="done", plan=None)
                self._board.clear(self._is_of_a_task)
            else:
                self._post(
                    state="failed",
                    reason=str(error) or type(error).__name__,
                    exit_code=getattr(error, "exit_code", 1),
                )
            status.remove(self._results_url)

    @property
    def alone(self) -> Pool:
        """The processes of this machine."""
        if self._pool is None:
            raise PoetsError("the crew is not gathered")
        return self._pool

    @property
    def processes(self) -> int:
        """How many processes all workers have if they have as many as this one."""
        return self.alone.processes * self._num_workers

    def gather(self, processes: int) -> None:
        """Tells the others that they have a chief, and starts this one's processes.

        Raises:
          StorageError: if the job's folder cannot be written.
        """
        earlier = self._board.read(CHIEF)
        self._earlier = earlier.get("attempt")
        self._post()
        self._board.clear(
            lambda name: self._is_of_a_task(name) or name.startswith("model-")
        )
        logger.info("the workers of this job meet in %s", self._board.url)
        self._pool = self._stack.enter_context(Pool(processes))
        self._stack.enter_context(self._member)
        self._heart.start()

    @contextlib.contextmanager
    def together(self, activity: str) -> Iterator[None]:
        """Asks the other workers to take part in something else than a plan.

        with crew.together("fine_tuning"):
            ...                      # every worker does its part of it, by its name

        Raises:
          StorageError: if the job's folder cannot be written.
        """
        self._post(activity=activity)
        yield
        self._post(activity=None)

    def run(
        self,
        spec: Spec,
        chunks: Sequence[Chunk],
        advance: Callable[[int], None],
        first_number: int = 0,
    ) -> list[tuple[str, str]]:
        """Has all chunks computed by all workers, see `Pool.run`.

        Returns:
          (path, reason) of what the chief's own processes could not read. What others
          could not read is simply not in the store.

        Raises:
          PoetsError: if a process does not start, or the store cannot be written or
            listed, or another chief has taken over.
        """
        model = offer_model(self._board, spec.model_path)
        name = f"{self._attempt}x{self._plans}"
        self._plans += 1
        offered = dataclasses.replace(spec, model_path=model)
        first_number = first_number or time.time_ns()
        plan = Plan.of(name, offered, first_number, chunks)
        plan.write(self._board.url_of(_plan_file(name)))
        share = Share(
            plan,
            *(self._member.index, self._num_workers, self._board),
            part_names=lambda: list_parts(spec.store_url),
            post=self._member.post,
            stopped=lambda: self._superseded,
        )
        self._counted, self._advance, self._said_s = 0, advance, time.monotonic()
        self._member.share = share
        self._post(plan=_plan_file(name))
        unread: list[tuple[str, str]] = []
        while not share.over:
            unread += self.alone.work_off(spec, share)
            share.look()
            self._tell(share)
            if not share.over:
                time.sleep(random.uniform(0.5, 1.5) * LOOK_S)
        if self._superseded:
            raise PoetsError(
                "another chief of this job has taken over, which was started since; "
                "this one stops"
            )
        self._member.share = None
        self._post(plan=None)
        self._end(plan, spec.store_url)
        return unread

    def _is_of_a_task(self, name: str) -> bool:
        """Tells whether a file is the chief's or a worker's, which outlive the job."""
        return name in (CHIEF, *map(worker_file, range(self._num_workers)))

    def _end(self, plan: Plan, store_url: str) -> None:
        """Counts what was computed twice, and removes what is of no use any more."""
        parts = Counter(plan.done(list_parts(store_url)))
        twice = sum((n - 1) * plan.copies[number] for number, n in parts.items())
        if twice:
            logger.info("%d bottlenecks were computed by two workers", twice)
        remove_marks(store_url, plan.name)

    def _beat(self) -> None:
        self._post()
        if share := self._member.share:
            self._tell(share)

    def _tell(self, share: Share) -> None:
        """Tells how far all workers are: the caller, the log, the results folder."""
        with self._posting:
            done = share.done_copies
            self._advance(done - self._counted)
            self._counted = done
            now_s = time.monotonic()
            if now_s - self._said_s < LINE_EVERY_S or share.over:
                return
            self._said_s = now_s
        workers = status.workers_of(share, self._member.index)
        logger.info("bottlenecks by worker: %s", status.in_words(workers))
        status.write(self._results_url, done, sum(share.plan.copies), workers)

    def _post(self, **changes: object) -> None:
        """Writes the chief's file anew, unless a newer chief does."""
        with self._posting:
            found = self._board.read(CHIEF).get("attempt")
            if found not in (None, self._attempt, self._earlier):
                self._superseded = True
            if self._superseded:
                return
            self._beats += 1
            self._record |= changes
            self._board.post(CHIEF, self._record | {"beat": self._beats})


def _plan_file(name: str) -> str:
    return f"plan-{name}.parquet"
