"""The chief's part: it plans, computes like all others, and says how the job ends.

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
import uuid
from collections.abc import Callable, Iterator, Sequence

from poets.cluster import Cluster
from poets.config import RetrainConfig
from poets.errors import PoetsError
from poets.features.plan import MODEL, WorkPlan, offer_model
from poets.features.pool import Chunk, Pool
from poets.features.process import Spec
from poets.features.store import list_parts, remove_marks
from poets.storage import folder_of
from poets.storage.calls import deadline
from poets.workers.division import Division
from poets.workers.folder import CHIEF, JobFolder, heartbeat
from poets.workers.progress import Progress

logger = logging.getLogger(__name__)

LAST_WORD_S = 10.0
"""For writing how the job ended."""

OF_TASKS = ("chief", "worker-")
"""Files that outlive the job: a task that is started again reads them."""


class Chief:
    """The processes of all workers: `Workers` of several tasks.

    with Chief(cluster, config) as chief:
        ...                      # preflight
        chief.gather(processes)  # from here on the others have a chief
        chief.compute(spec, chunks, advance)

    `details` makes it another job than one of the same flags without them. The others
    learn how the body ends: done, or failed with the error. A body that is interrupted
    leaves them waiting for this chief to be started again.
    """

    def __init__(
        self, cluster: Cluster, config: RetrainConfig, details: str = ""
    ) -> None:
        self.cluster = cluster
        self.folder = JobFolder.of(config, cluster.num_workers, details)
        self._attempt = uuid.uuid4().hex[:8]
        self._earlier: str | None = None
        self._record: dict[str, object] = {
            "attempt": self._attempt,
            "state": "working",
            "plan": None,
            "activity": None,
        }
        self._plans = self._beats = 0
        self._superseded = False
        self._lock = threading.Lock()
        self._stack = contextlib.ExitStack()
        self._pool: Pool | None = None
        self._division: Division | None = None
        self._progress = Progress(
            self.folder, cluster.num_workers, folder_of(config.output_graph)
        )

    def __enter__(self) -> "Chief":
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: object
    ) -> None:
        self._stack.close()
        if error is not None and not isinstance(error, Exception):
            return
        with contextlib.suppress(PoetsError, OSError), deadline(LAST_WORD_S):
            if self._pool is None:  # it failed before it was the others' chief
                self._earlier = self.folder.read(CHIEF).get("attempt")
            if error is None:
                self._write(state="done", plan=None)
                self.folder.clear(OF_TASKS)
            else:
                self._write(
                    state="failed",
                    reason=str(error) or type(error).__name__,
                    exit_code=getattr(error, "exit_code", 1),
                )
            self._progress.remove()

    @property
    def alone(self) -> Pool:
        """The processes of this machine."""
        if self._pool is None:
            raise PoetsError("the workers have not been gathered")
        return self._pool

    @property
    def processes(self) -> int:
        """How many processes all workers have if they have as many as this one."""
        return self.alone.processes * self.cluster.num_workers

    def gather(self, processes: int) -> None:
        """Lets the others know that they have a chief, and starts its processes.

        Raises:
          StorageError: if the job's folder cannot be written.
        """
        self._earlier = self.folder.read(CHIEF).get("attempt")
        self._write()
        self.folder.clear((*OF_TASKS, MODEL))
        logger.info("the workers of this job meet in %s", self.folder.url)
        self._pool = self._stack.enter_context(Pool(processes))
        self._stack.enter_context(heartbeat(self._beat))

    @contextlib.contextmanager
    def joined_in(self, activity: str) -> Iterator[None]:
        """Has the other workers take part in something else than a plan.

        with chief.joined_in("fine-tuning"):
            ...                      # every worker does its part of it, by its name

        Raises:
          StorageError: if the job's folder cannot be written.
        """
        self._write(activity=activity)
        yield
        self._write(activity=None)

    def compute(
        self,
        spec: Spec,
        chunks: Sequence[Chunk],
        advance: Callable[[int], None],
        first_number: int = 0,
    ) -> list[tuple[str, str]]:
        """Has all chunks computed by all workers, see `Pool.compute`.

        Returns:
          (path, reason) of what the chief's own processes could not read. What others
          could not read is missing in the store.

        Raises:
          PoetsError: if a process does not start, or the store cannot be written or
            listed, or another chief has taken over.
        """
        plan = self._write_plan(spec, chunks, first_number or time.time_ns())
        division = Division(
            plan,
            self.cluster.worker_index,
            self.cluster.num_workers,
            list_parts=lambda: list_parts(spec.store_url),
            stopped=lambda: self._superseded,
            advance_all=advance,
        )
        self._division = division
        unread: list[tuple[str, str]] = []
        for _ in division.rounds():
            unread += self.alone.work_off(spec, division)
        self._division = None
        if self._superseded:
            raise PoetsError(
                "another chief of this job has taken over, which was started since; "
                "this one stops"
            )
        self._write(plan=None)
        remove_marks(spec.store_url, plan.name)
        return unread

    def _write_plan(
        self, spec: Spec, chunks: Sequence[Chunk], first_number: int
    ) -> WorkPlan:
        self._plans += 1
        name = f"{self._attempt}x{self._plans}"
        model = offer_model(self.folder.url, spec.model_path)
        offered = dataclasses.replace(spec, model_path=model)
        plan = WorkPlan.of(name, offered, first_number, chunks)
        file = f"plan-{name}.parquet"
        plan.write(self.folder.url_of(file))
        self._write(plan=file)
        return plan

    def _beat(self) -> None:
        self._write()
        if division := self._division:
            self._progress.report(division)

    def _write(self, **changes: object) -> None:
        """Writes the chief's file anew, unless a newer chief does."""
        with self._lock:
            found = self.folder.read(CHIEF).get("attempt")
            if found not in (None, self._attempt, self._earlier):
                self._superseded = True
            if self._superseded:
                return
            self._beats += 1
            self._record |= changes
            self.folder.write(CHIEF, self._record | {"beat": self._beats})
