"""A worker that is not the chief: it computes its share of each plan, and waits.

    wait for the chief ──> a plan ──> compute ──> wait ──> ... ──> done | failed
                       └─> an activity that the job knows by its name, as "fine-tuning"

What the chief's file said when this worker came counts only once it changes: it may be
that of a job that has ended. But a worker that is started again, having been killed in
the job that is done now, knows so by the file that it left. Nothing here needs
TensorFlow, the list of images or the backbone; the plan names all that is needed.
"""

import contextlib
import dataclasses
import logging
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from poets.cluster import Cluster
from poets.config import RetrainConfig
from poets.errors import ConfigError, PoetsError, StorageError
from poets.features.plan import WorkPlan, fetch_model
from poets.features.pool import Pool
from poets.features.store import list_parts
from poets.system.progress import log_some
from poets.workers.division import Division
from poets.workers.folder import CHIEF, WORKER, JobFolder, Watch, heartbeat

logger = logging.getLogger(__name__)

POLL_S = 0.1
POLL_SHARE = 20
"""Between two looks at the chief's file pass so many times what a look takes."""

SAY_EVERY_S = 30.0

DONE_GRACE_S = 60.0
"""How long a worker that finds a job done, or refused, waits for another run of it."""

Activity = Callable[[Callable[[], bool]], None]
"""Takes part in what the chief asks for, until what it is given returns true."""


class ChiefError(PoetsError):
    """The chief has failed, or is gone."""

    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class Worker:
    """One worker's part of a job.

    Args:
      cluster: which worker.
      config: the flags, the same as the chief's.
      pool: the processes.
      activities: what the chief may ask for besides plans, by name.
      details: see `JobFolder.of`.
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
        self._cluster = cluster
        self._config = config
        self._pool = pool
        self._activities = activities or {}
        self._done_grace_s = done_grace_s
        self._folder = JobFolder.of(config, cluster.num_workers, details)
        self._file = WORKER.format(cluster.worker_index)
        self._process, self._beats = uuid.uuid4().hex[:8], 0
        self._lock = threading.Lock()
        self._division: Division | None = None
        self._attempt: object = None  # of the chief, seen working; None once it is done
        self._watch = Watch()
        self._chief: dict[str, Any] = {}
        self._said_s = 0.0
        self._pause_s = POLL_S

    def follow(self) -> None:
        """Works until the job is done.

        Raises:
          ChiefError: if the chief has failed, or was not heard of for too long.
          PoetsError: if this worker cannot go on.
        """
        finished = ended = None
        name = self._cluster.name
        logger.info("%s: waiting for the chief in %s", name, self._folder.url)
        self._attempt = self._folder.read(self._file).get("attempt")
        self._see()
        self._write()
        work_dir = tempfile.TemporaryDirectory(prefix="poets-")
        with heartbeat(self._write), work_dir:
            while not self._ended():
                plan, activity = self._asked()
                if activity and activity != ended:
                    ended = activity if self._take_part(activity) else None
                elif plan and plan != finished:
                    finished = plan if self._work(plan, work_dir.name) else None
                else:
                    time.sleep(self._pause_s)
            self._attempt = None
            with contextlib.suppress(OSError):  # costs DONE_GRACE_S if it comes back
                self._write()
        logger.info("%s: the job is done", name)

    def _write(self) -> None:
        """Writes this worker's file anew.

        Raises:
          StorageError: if it cannot be written.
        """
        with self._lock:
            self._beats += 1
            record = {"process": self._process, "beat": self._beats}
            record |= {"attempt": self._attempt}
            if self._division:
                record |= self._division.record()
            self._folder.write(self._file, record)

    def _follows(self) -> bool:
        return self._watch.changes > 0

    def _asked(self) -> tuple[Any, Any]:
        """Returns the plan and the activity that the chief asks for, or None."""
        if not self._follows():
            return None, None
        return self._chief.get("plan"), self._chief.get("activity")

    def _take_part(self, activity: str) -> bool:
        """Takes part; returns whether the chief still asks for it."""
        if activity in self._activities:
            logger.info("%s: takes part in %s", self._cluster.name, activity)
            self._activities[activity](
                lambda: self._ended() or self._asked()[1] != activity
            )
        return self._asked()[1] == activity

    def _work(self, plan_file: str, work_dir: str) -> bool:
        """Computes this worker's share of a plan, and what others are late with.

        Returns:
          Whether the plan was there: a chief that is started again removes it.

        Raises:
          PoetsError: if this worker cannot compute or store.
        """
        try:
            plan = WorkPlan.read(self._folder.url_of(plan_file))
            model = fetch_model(self._folder.url, plan.spec.model_path, work_dir)
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                time.sleep(POLL_S)
                return False
            raise
        spec = dataclasses.replace(
            plan.spec, image_dir=self._config.image_dir, model_path=model
        )
        self._division = division = Division(
            plan,
            self._cluster.worker_index,
            self._cluster.num_workers,
            list_parts=lambda: list_parts(spec.store_url),
            stopped=lambda: self._is_left(plan_file),
        )
        name = self._cluster.name
        unread = [
            f"{name}: left to the chief: {path}: {why}"
            for _ in division.rounds()
            for path, why in self._pool.work_off(spec, division)
        ]
        log_some(logger.warning, unread, "more images left to the chief")
        others = ""
        if count := division.taken_over:
            plural = "s" * (count != 1)
            others = f", {count} chunk{plural} of other workers among them"
        logger.info("%s: %d bottlenecks computed%s", name, division.computed, others)
        return True

    def _is_left(self, plan_file: str) -> bool:
        """Tells whether the chief has gone on without a plan."""
        self._see()
        chief = self._chief
        return chief.get("plan") != plan_file or chief.get("state") != "working"

    def _see(self) -> float:
        """Reads the chief's file; returns for how long it has not changed."""
        began_s = time.monotonic()
        self._chief = self._folder.read(CHIEF) or self._chief
        if self._chief.get("state") == "working":
            self._attempt = self._chief.get("attempt")
        self._pause_s = max(POLL_S, POLL_SHARE * (time.monotonic() - began_s))
        return self._watch.see(self._chief)

    def _ended(self) -> bool:
        """Tells whether the job is done.

        Raises:
          ChiefError: if it failed, or the chief was not heard of for too long.
        """
        silent_s = self._see()
        state, attempt = self._chief.get("state"), self._chief.get("attempt")
        waited = silent_s > self._done_grace_s
        if state == "done":
            if self._follows() or (attempt is not None and attempt == self._attempt):
                return True
            self._say_that_it_was_done(waited)
            return waited
        if state == "failed":
            failure = self._failure()
            refused = failure.exit_code == ConfigError.exit_code  # not started again
            late = silent_s > self._config.chief_timeout_s
            if self._follows() or (waited and refused) or late:
                raise failure
        self._wait(silent_s)
        return False

    def _failure(self) -> ChiefError:
        code = self._chief.get("exit_code")
        return ChiefError(
            f"the chief failed: {self._chief.get('reason')}",
            code if isinstance(code, int) and code > 0 else 1,
        )

    def _say_that_it_was_done(self, waited: bool) -> None:
        name = self._cluster.name
        if not self._said_s:
            self._said_s = time.monotonic()
            logger.info(
                "%s: a job with these flags was done before this worker came; waiting "
                "%.0f s for another run of it to begin",
                name,
                self._done_grace_s,
            )
        if waited:
            logger.info("%s: no other run of it has begun", name)

    def _wait(self, silent_s: float) -> None:
        """Says whom this worker waits for, and for how long it will."""
        url, timeout_s = self._folder.url, self._config.chief_timeout_s
        if silent_s > timeout_s:
            raise ChiefError(
                f"the chief was not heard of for {silent_s:.0f} s in {url!r}: see "
                "whether it runs, with the same flags, and whether --bottleneck_dir is "
                "one folder for all workers (--chief_timeout_s gives more time)"
            )
        now_s = time.monotonic()
        if silent_s > SAY_EVERY_S and now_s - self._said_s > SAY_EVERY_S:
            self._said_s = now_s
            logger.warning(
                "%s: waiting for the chief, not heard of for %.0f s in %s; giving up "
                "after %d s",
                self._cluster.name,
                silent_s,
                url,
                timeout_s,
            )
