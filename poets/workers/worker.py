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
from collections.abc import Callable, Mapping
from typing import Any

from poets.bottlenecks.pool import Pool
from poets.bottlenecks.store import list_parts
from poets.cluster import Cluster
from poets.config import RetrainConfig
from poets.errors import ConfigError, PoetsError, StorageError
from poets.progress import log_some
from poets.workers.division import Division
from poets.workers.folder import (
    CHIEF,
    Heartbeat,
    JobFolder,
    Watch,
    job_url,
    new_id,
    worker_file,
)
from poets.workers.plan import WorkPlan

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
        self._cluster = cluster
        self._config = config
        self._pool = pool
        self._activities = activities or {}
        self._done_grace_s = done_grace_s
        self._folder = JobFolder(job_url(config, cluster.num_workers, details))
        self._file = worker_file(cluster.worker_index)
        self._process, self._beats, self._lock = new_id(), 0, threading.Lock()
        self._division: Division | None = None
        self._attempt: object = None  # of the chief, seen working; None once it is done
        self._watch = Watch()
        self._chief: dict[str, Any] = {}
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
        name = self._cluster.name
        logger.info("%s: waiting for the chief in %s", name, self._folder.url)
        self._attempt = self._folder.read(self._file).get("attempt")
        self._see()
        self._write()
        heartbeat = Heartbeat(self._write, "worker's heartbeat")
        heartbeat.start()
        try:
            with tempfile.TemporaryDirectory(prefix="poets-") as work_dir:
                while not self._ended():
                    plan, activity = self._asked()
                    if activity and activity != ended:
                        ended = activity if self._take_part(activity) else None
                    elif plan and plan != finished:
                        finished = plan if self._work(plan, work_dir) else None
                    else:
                        time.sleep(self._pause_s)
            self._attempt = None
            with contextlib.suppress(OSError):  # costs DONE_GRACE_S if it comes back
                self._write()
        finally:
            heartbeat.stop()
        logger.info("%s: the job is done", name)

    def _write(self) -> None:
        """Writes this worker's file anew.

        Raises:
          StorageError: if it cannot be written.
        """
        with self._lock:
            self._beats += 1
            record = {
                "process": self._process,
                "beat": self._beats,
                "attempt": self._attempt,
            }
            if division := self._division:
                record |= {
                    "plan": division.plan.name,
                    "computed": division.computed,
                    "taken_over": division.taken_over,
                }
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
            model = self._folder.fetch_model(plan.spec.model_path, work_dir)
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
            *(self._cluster.worker_index, self._cluster.num_workers),
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
          ChiefError: if it failed.
        """
        silent_s = self._see()
        state = self._chief.get("state")
        if self._follows():
            if state == "done":
                return True
            if state == "failed":
                raise self._failure()
        elif state == "done":
            attempt = self._chief.get("attempt")
            if attempt is not None and attempt == self._attempt:
                return True
            if silent_s > self._done_grace_s:
                logger.info("%s: no other run of it has begun", self._cluster.name)
                return True
        elif state == "failed" and silent_s > self._done_grace_s:
            failure = self._failure()
            if failure.exit_code == ConfigError.exit_code:  # it is not started again
                raise failure
        self._wait(silent_s)
        return False

    def _failure(self) -> ChiefError:
        code = self._chief.get("exit_code")
        return ChiefError(
            f"the chief failed: {self._chief.get('reason')}",
            code if isinstance(code, int) and code > 0 else 1,
        )

    def _wait(self, silent_s: float) -> None:
        """Says whom this worker waits for, and for how long it will."""
        name, timeout_s = self._cluster.name, self._config.chief_timeout_s
        if self._chief.get("state") == "done":
            if not self._said_done:
                self._said_done = True
                logger.info(
                    "%s: a job with these flags was done before this worker came; "
                    "waiting %.0f s for another run of it to begin",
                    *(name, self._done_grace_s),
                )
            return
        if silent_s > timeout_s:
            if self._chief.get("state") == "failed":
                raise self._failure()
            raise ChiefError(
                f"the chief was not heard of for {silent_s:.0f} s in "
                f"{self._folder.url!r}: see whether it runs, with the same flags, and "
                "whether --bottleneck_dir is one folder for all workers "
                "(--chief_timeout_s gives more time)"
            )
        now_s = time.monotonic()
        if silent_s > SAY_EVERY_S and now_s - self._said_s > SAY_EVERY_S:
            self._said_s = now_s
            logger.warning(
                "%s: waiting for the chief, not heard of for %.0f s in %s; giving up "
                "after %d s",
                *(name, silent_s, self._folder.url, timeout_s),
            )
