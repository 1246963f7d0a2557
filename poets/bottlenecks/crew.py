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
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

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
from poets.bottlenecks.shares import PATIENCE, P, Patience, Share, Shared
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

    `details` makes it another job than one of the same flags without them. How the
    body ends is what the others are told: done, or failed with the error. A
    body that is interrupted leaves them waiting for this chief to be started again.
    """

    def __init__(
        self, cluster: Cluster, config: RetrainConfig, details: str = ""
    ) -> None:
        self.cluster = cluster
        self.board = Board(job_url(config, cluster.num_workers, details))
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
        self._member = Member(self.board, cluster.worker_index, self._num_workers)
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
            if self._pool is None:  # it failed before it was the others' chief
                self._earlier = self.board.read(CHIEF).get("attempt")
            if error is None:
                self._post(state="done", plan=None)
                self.board.clear(self._is_of_a_task)
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
        self._earlier = self.board.read(CHIEF).get("attempt")
        self._post()
        self.board.clear(
            lambda name: self._is_of_a_task(name) or name.startswith("model-")
        )
        logger.info("the workers of this job meet in %s", self.board.url)
        self._pool = self._stack.enter_context(Pool(processes))
        self._stack.enter_context(self._member)
        self._heart.start()

    @contextlib.contextmanager
    def together(self, activity: str) -> Iterator[None]:
        """Asks the other workers to take part in something else than a plan.

        with crew.together("fine-tuning"):
            ...                      # every worker does its part of it, by its name

        Raises:
          StorageError: if the job's folder cannot be written.
        """
        self._post(activity=activity)
        yield
        self._post(activity=None)

    def new_plan(self) -> str:
        """Returns a name that no other plan has: letters and digits."""
        self._plans += 1
        return f"{self._attempt}x{self._plans}"

    @contextlib.contextmanager
    def sharing(
        self,
        plan: Shared[P],
        part_names: Callable[[], list[str]],
        announced: dict[str, str],
        advance: Callable[[int], None] = lambda count: None,
        patience: Patience = PATIENCE,
    ) -> Iterator[Share[P]]:
        """Gives the chief's part in a plan that all workers do.

        Args:
          plan: the chunks.
          part_names: lists the files that tell what is done.
          announced: what the chief's file says while the body runs.
          advance: is called with how many copies were done, by whomever.
          patience: with the other workers.

        Raises:
          PoetsError: if the chief's file cannot be written, or another chief has taken
            over.
        """
        self._counted, self._advance, self._said_s = 0, advance, time.monotonic()
        with self._member.sharing(
            plan, part_names, lambda: self._superseded, patience
        ) as share:
            self._post(**announced)
            yield share
            if self._superseded:
                raise PoetsError(
                    "another chief of this job has taken over, which was started "
                    "since; this one stops"
                )
        self._post(**dict.fromkeys(announced))

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
        model = offer_model(self.board, spec.model_path)
        name = self.new_plan()
        offered = dataclasses.replace(spec, model_path=model)
        first_number = first_number or time.time_ns()
        plan = Plan.of(name, offered, first_number, chunks)
        plan.write(self.board.url_of(_plan_file(name)))
        unread: list[tuple[str, str]] = []
        with self.sharing(
            plan,
            lambda: list_parts(spec.store_url),
            {"plan": _plan_file(name)},
            advance,
        ) as share:
            for _ in share.rounds():
                unread += self.alone.work_off(spec, share)
                self._tell(share)
            self._tell(share)
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

    def _tell(self, share: Share[Any]) -> None:
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
        logger.info("%s by worker: %s", share.plan.unit, status.in_words(workers))
        status.write(self._results_url, share, workers)

    def _post(self, **changes: object) -> None:
        """Writes the chief's file anew, unless a newer chief does."""
        with self._posting:
            found = self.board.read(CHIEF).get("attempt")
            if found not in (None, self._attempt, self._earlier):
                self._superseded = True
            if self._superseded:
                return
            self._beats += 1
            self._record |= changes
            self.board.post(CHIEF, self._record | {"beat": self._beats})


def _plan_file(name: str) -> str:
    return f"plan-{name}.parquet"
