"""The chief: plans the work, computes its share, reports how the job ends.

    plan ──> every worker computes its share ──> all chunks are in the store
     ▲                                                      │
     └── distorted copies <── split <── matrix <────────────┘ ──> ... done, or failed

A restarted chief plans what the store still lacks, and the workers drop the old plan.
The chief waits for no worker: it computes every chunk that no worker has computed.
"""

import contextlib
import functools
import logging
import threading
import uuid
from collections.abc import Iterable, Iterator

from poets.cluster import Cluster
from poets.config import RetrainConfig
from poets.errors import PoetsError
from poets.features.chunks import Chunk
from poets.features.plan import MODEL, WorkPlan, offer_model
from poets.features.pool import Advance, Pool, Unread
from poets.features.process import Spec
from poets.features.store import list_parts, remove_marks
from poets.storage import folder_of
from poets.storage.calls import deadline
from poets.workers.division import Division
from poets.workers.folder import CHIEF, JobFolder, heartbeat
from poets.workers.progress import Progress

logger = logging.getLogger(__name__)

FINAL_WRITE_S = 10.0
"""Time limit for writing how the job ended."""

TASK_FILES = ("chief", "worker-")
"""Files that outlive the job: a restarted task reads them."""


class Chief:
    """The processes of all workers: `Workers` of several tasks.

    with Chief(cluster, config) as chief:
        ...                      # preflight
        chief.gather(processes)  # from here on the workers have a chief
        chief.compute(spec, chunks, advance, first_number)

    `details` separates this job from others with the same flags. The end of the body
    reports to the workers: done, or failed with the error. After an interrupt they wait
    for this chief to be restarted.
    """

    def __init__(
        self, cluster: Cluster, config: RetrainConfig, details: str = ""
    ) -> None:
        self.cluster = cluster
        self.folder = JobFolder.of(config, cluster.num_workers, details)
        self._attempt = uuid.uuid4().hex[:8]
        self._earlier: str | None = None
        self._record: dict[str, object] = {"attempt": self._attempt, "state": "working"}
        self._record |= {"plan": None, "activity": None}
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
        with contextlib.suppress(PoetsError, OSError), deadline(FINAL_WRITE_S):
            if self._pool is None:  # failed before `gather`
                self._earlier = self.folder.read(CHIEF).get("attempt")
            if error is None:
                self._write(state="done", plan=None)
                self.folder.clear(TASK_FILES)
            else:
                reason = str(error) or type(error).__name__
                code = getattr(error, "exit_code", 1)
                self._write(state="failed", reason=reason, exit_code=code)
            self._progress.remove()

    @property
    def alone(self) -> Pool:
        """The processes of this machine."""
        if self._pool is None:
            raise PoetsError("the workers have not been gathered")
        return self._pool

    @property
    def processes(self) -> int:
        """The processes of all workers, assuming that each has as many as this one."""
        return self.alone.processes * self.cluster.num_workers

    def gather(self, processes: int) -> None:
        """Announces this chief to the workers, and starts its own processes.

        Raises StorageError if the job's folder cannot be written.
        """
        self._earlier = self.folder.read(CHIEF).get("attempt")
        self._write()
        self.folder.clear((*TASK_FILES, MODEL))
        logger.info("the workers of this job meet in %s", self.folder.url)
        self._pool = self._stack.enter_context(Pool(processes))
        self._stack.enter_context(heartbeat(self._beat))

    @contextlib.contextmanager
    def joined_in(self, activity: str) -> Iterator[None]:
        """Has the other workers run a named activity while the body runs.

        Raises StorageError if the job's folder cannot be written.
        """
        self._write(activity=activity)
        yield
        self._write(activity=None)

    def compute(
        self, spec: Spec, chunks: Iterable[Chunk], advance: Advance, first_number: int
    ) -> Unread:
        """Has all workers compute the chunks, see `Pool.compute`.

        Returns:
          (path, reason) of images that the chief's own processes could not read. Those
          that other workers could not read are missing in the store.

        Raises:
          PoetsError: if a process does not start, if the store cannot be written or
            listed, or if another chief has taken over.
        """
        plan = self._write_plan(spec, chunks, first_number)
        self._division = division = Division(
            plan,
            self.cluster.worker_index,
            self.cluster.num_workers,
            list_parts=lambda: list_parts(spec.store_url),
            stopped=lambda: self._superseded,
            advance_all=advance,
        )
        unread: Unread = []
        for _ in division.rounds():
            unread += self.alone.work_off(spec, division)
        self._division = None
        if self._superseded:
            raise PoetsError(
                "another chief of this job has taken over, which was started since; "
                "this one stops"
            )
        self._write(plan=None)
        for network in spec.networks:
            remove_marks(network.store_url, plan.name)
        return unread

    def _write_plan(
        self, spec: Spec, chunks: Iterable[Chunk], first_number: int
    ) -> WorkPlan:
        self._plans += 1
        name = f"{self._attempt}x{self._plans}"
        spec = spec.with_models(functools.partial(offer_model, self.folder.url))
        plan = WorkPlan.of(name, spec, first_number, chunks)
        file = f"plan-{name}.parquet"
        plan.write(self.folder.url_of(file))
        self._write(plan=file)
        return plan

    def _beat(self) -> None:
        self._write()
        if division := self._division:
            self._progress.report(division)

    def _write(self, **changes: object) -> None:
        """Writes the chief's file, unless a newer chief has written it."""
        with self._lock:
            found = self.folder.read(CHIEF).get("attempt")
            self._superseded |= found not in (None, self._attempt, self._earlier)
            if self._superseded:
                return
            self._beats += 1
            self._record |= changes
            self.folder.write(CHIEF, self._record | {"beat": self._beats})
