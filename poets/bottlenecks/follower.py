"""A worker that is not the chief: it computes its share of each plan, and waits.

    wait for the chief ──> a plan ──> compute ──> wait ──> ... ──> done | failed
                       └─> an activity that the job knows by its name, as "heads 9c1fx0"

What the chief's file said when this worker came counts only once it changes: it may be
that of a job that has ended. But a worker that is started again, having been killed in
the job that is done now, knows so by the file that it left. Nothing here needs
TensorFlow, the list of images or the backbone; the plan names all that is needed.
"""

import contextlib
import dataclasses
import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from poets.bottlenecks.member import Member, fetch_model
from poets.bottlenecks.plan import Plan
from poets.bottlenecks.pool import Pool
from poets.bottlenecks.rendezvous import CHIEF, Board, Watch, job_url, worker_file
from poets.bottlenecks.shares import P, Patience, Share, Shared
from poets.bottlenecks.store import list_parts
from poets.cluster import Cluster
from poets.config import RetrainConfig
from poets.errors import ConfigError, PoetsError, StorageError
from poets.progress import log_some

logger = logging.getLogger(__name__)

POLL_S = 0.1
POLL_SHARE = 20
"""Between two looks at the chief's file pass so many times what a look takes."""

SAY_EVERY_S = 30.0

DONE_GRACE_S = 60.0
"""How long a worker that finds a job done, or asked for what cannot be, waits for
another run of it to begin."""


@dataclass(frozen=True)
class Call:
    """What the chief asks a worker for besides a plan of bottlenecks.

    Attributes:
      which: what stands after the activity's name.
      over: tells, or raises, that it is over.
      member: this worker.
      work_dir: a local folder that lives as long as this worker.
    """

    which: str
    over: Callable[[], bool]
    member: Member
    work_dir: str

    def sharing(
        self, plan: Shared[P], part_names: Callable[[], list[str]], patience: Patience
    ) -> contextlib.AbstractContextManager[Share[P]]:
        """Gives this worker's part in a plan, see `Member.sharing`."""
        return self.member.sharing(plan, part_names, self.over, patience)


Activity = Callable[[Call], None]
"""Takes part until the call is over, or nothing is left to do."""


class ChiefError(PoetsError):
    """The chief has failed, or is gone."""

    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class Follower:
    """One worker's part of a job.

    Args:
      cluster: which worker.
      config: the flags, the same as the chief's.
      pool: the processes.
      activities: what the chief may ask for besides plans, by name.
      details: see `job_url`.
      done_grace_s: see DONE_GRACE_S.
    """

    def __init__(
        self,
        cluster: Cluster,
        config: RetrainConfig,
        pool: Pool,
        activities: Mapping[str, Activity] | None = None,
        details: str = "",
        done_grace_s: float = DONE_GRACE_S,
    ) -> None:
        self._name = cluster.name
        self._timeout_s = config.chief_timeout_s
        self._done_grace_s = done_grace_s
        self._image_dir = config.image_dir
        self._pool = pool
        self._activities = activities or {}
        self._board = Board(job_url(config, cluster.num_workers, details))
        self._member = Member(self._board, cluster.worker_index, cluster.num_workers)
        self._watch = Watch()
        self._record: dict[str, Any] = {}
        self._said_s = time.monotonic()
        self._said_done = False
        self._pause_s = POLL_S

    def follow(self) -> None:
        """Works until the job is done.

        Raises:
          ChiefError: if the chief has failed, or was not heard of for too long.
          PoetsError: if this worker cannot go on.
        """
        finished = ended = None
        logger.info("%s: waiting for the chief in %s", self._name, self._board.url)
        left = self._board.read(worker_file(self._member.index))
        self._member.attempt = left.get("attempt")
        self._see()
        with self._member, tempfile.TemporaryDirectory(prefix="poets-") as work_dir:
            while not self._ended():
                plan, activity = self._asked()
                if activity and activity != ended:
                    ended = activity if self._take_part(activity, work_dir) else None
                elif plan and plan != finished:
                    finished = plan if self._work(plan, work_dir) else None
                else:
                    time.sleep(self._pause_s)
            self._member.attempt = None
            with contextlib.suppress(OSError):  # costs DONE_GRACE_S if it comes back
                self._member.post()
        logger.info("%s: the job is done", self._name)

    def _follows(self) -> bool:
        return self._watch.changes > 0

    def _asked(self) -> tuple[Any, Any]:
        """Returns the plan and the activity that the chief asks for, or None."""
        if not self._follows():
            return None, None
        return self._record.get("plan"), self._record.get("activity")

    def _take_part(self, activity: str, work_dir: str) -> bool:
        """Takes part; returns whether the chief still asks for it."""

        def over() -> bool:
            return self._ended() or self._asked()[1] != activity

        name, _, which = activity.partition(" ")
        if name in self._activities:
            logger.info("%s: takes part in %s", self._name, name)
            self._activities[name](Call(which, over, self._member, work_dir))
        return self._asked()[1] == activity

    def _see(self) -> float:
        """Reads the chief's file; returns for how long it has not changed."""
        began_s = time.monotonic()
        self._record = self._board.read(CHIEF) or self._record
        if self._record.get("state") == "working":
            self._member.attempt = self._record.get("attempt")
        self._pause_s = max(POLL_S, POLL_SHARE * (time.monotonic() - began_s))
        return self._watch.see(self._record)

    def _ended(self) -> bool:
        """Tells whether the job is done.

        Raises:
          ChiefError: if it failed.
        """
        silent_s = self._see()
        state = self._record.get("state")
        if self._follows():
            if state == "done":
                return True
            if state == "failed":
                raise self._failure()
        elif state == "done":
            attempt = self._record.get("attempt")
            if attempt is not None and attempt == self._member.attempt:
                return True
            if silent_s > self._done_grace_s:
                logger.info("%s: no other run of it has begun", self._name)
                return True
        elif state == "failed" and silent_s > self._done_grace_s:
            failure = self._failure()
            if failure.exit_code == ConfigError.exit_code:  # it is not started again
                raise failure
        self._wait(silent_s)
        return False

    def _failure(self) -> ChiefError:
        code = self._record.get("exit_code")
        return ChiefError(
            f"the chief failed: {self._record.get('reason')}",
            code if isinstance(code, int) and code > 0 else 1,
        )

    def _wait(self, silent_s: float) -> None:
        """Says whom this worker waits for, and for how long it will."""
        if self._record.get("state") == "done":
            if not self._said_done:
                self._said_done = True
                logger.info(
                    "%s: a job with these flags was done before this worker came; "
                    "waiting %.0f s for another run of it to begin",
                    *(self._name, self._done_grace_s),
                )
            return
        if silent_s > self._timeout_s:
            if self._record.get("state") == "failed":
                raise self._failure()
            raise ChiefError(
                f"the chief was not heard of for {silent_s:.0f} s in "
                f"{self._board.url!r}: see whether it runs, with the same flags, and "
                "whether --bottleneck_dir is one folder for all workers "
                "(--chief_timeout_s gives more time)"
            )
        now_s = time.monotonic()
        if silent_s > SAY_EVERY_S and now_s - self._said_s > SAY_EVERY_S:
            self._said_s = now_s
            logger.warning(
                "%s: waiting for the chief, not heard of for %.0f s in %s; giving up "
                "after %d s",
                *(self._name, silent_s, self._board.url, self._timeout_s),
            )

    def _work(self, plan_file: str, work_dir: str) -> bool:
        """Computes this worker's share of a plan, and what others leave of it.

        Returns:
          Whether the plan was there: a chief that is started again removes it.

        Raises:
          PoetsError: if this worker cannot compute or store.
        """
        try:
            plan = Plan.read(self._board.url_of(plan_file))
            model = fetch_model(self._board, plan.spec.model_path, work_dir)
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                time.sleep(POLL_S)
                return False
            raise
        spec = dataclasses.replace(
            plan.spec, image_dir=self._image_dir, model_path=model
        )
        with self._member.sharing(
            plan, lambda: list_parts(spec.store_url), lambda: self._left(plan_file)
        ) as share:
            unread = [
                f"{self._name}: left to the chief: {path}: {why}"
                for _ in share.rounds()
                for path, why in self._pool.work_off(spec, share)
            ]
        log_some(logger.warning, unread, "more images left to the chief")
        others = ""
        if share.taken_over:
            plural = "s" * (share.taken_over != 1)
            others = f", {share.taken_over} chunk{plural} of other workers among them"
        logger.info("%s: %d bottlenecks computed%s", self._name, share.computed, others)
        return True

    def _left(self, plan_file: str) -> bool:
        """Tells whether the chief has gone on without this plan."""
        self._see()
        record = self._record
        return record.get("plan") != plan_file or record.get("state") != "working"
