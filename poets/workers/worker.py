"""A worker that is not the chief: computes its share of each plan, and waits.

    wait for the chief ──> a plan ──> compute ──> wait ──> ... ──> done | failed
                       └─> an activity that the job names, for example "fine-tuning"

A worker ignores the chief's file until it changes: it may be left from a job that has
ended. A worker that was killed and restarted knows by its own file whether the job that
is done is its own. This module needs neither TensorFlow nor the list of images nor the
backbone: the plan holds all that a worker needs.
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
"""The pause between two reads of the chief's file, in times what a read takes."""

LOG_EVERY_S = 30.0

DONE_GRACE_S = 60.0
"""How long a worker waits for another run of a job that it finds done or refused."""

Activity = Callable[[Callable[[], bool]], None]
"""Takes part in an activity of the chief, until the given function returns true."""


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
    """

    def __init__(
        self,
        cluster: Cluster,
        config: RetrainConfig,
        pool: Pool,
        activities: Mapping[str, Activity] | None = None,
        details: str = "",
    ) -> None:
        self._cluster, self._config, self._pool = cluster, config, pool
        self._name, self._activities = cluster.name, activities or {}
        self._folder = JobFolder.of(config, cluster.num_workers, details)
        self._file = WORKER.format(cluster.worker_index)
        self._process, self._beats = uuid.uuid4().hex[:8], 0
        self._lock = threading.Lock()
        self._division: Division | None = None
        self._attempt: object = None  # of the chief, seen working; None once it is done
        self._watch = Watch()
        self._chief: dict[str, Any] = {}
        self._logged_s, self._pause_s = 0.0, POLL_S

    def follow(self) -> None:
        """Works until the job is done.

        Raises:
          ChiefError: if the chief has failed, or was silent for too long.
          PoetsError: if this worker cannot go on.
        """
        finished = ended = None
        logger.info("%s: waiting for the chief in %s", self._name, self._folder.url)
        self._attempt = self._folder.read(self._file).get("attempt")
        self._read_chief()
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
            with contextlib.suppress(OSError):  # costs DONE_GRACE_S after a restart
                self._write()
        logger.info("%s: the job is done", self._name)

    def _write(self) -> None:
        """Writes this worker's file; raises StorageError if it cannot."""
        with self._lock:
            self._beats += 1
            record = {"process": self._process, "beat": self._beats}
            record |= {"attempt": self._attempt}
            if self._division:
                record |= self._division.record()
            self._folder.write(self._file, record)

    def _asked(self) -> tuple[Any, Any]:
        """Returns the plan and the activity that the chief asks for, or None."""
        chief = self._chief if self._watch.changes else {}  # else of an earlier job
        return chief.get("plan"), chief.get("activity")

    def _take_part(self, activity: str) -> bool:
        """Takes part in an activity; returns whether the chief still asks for it."""
        if activity in self._activities:
            logger.info("%s: takes part in %s", self._name, activity)
            self._activities[activity](
                lambda: self._ended() or self._asked()[1] != activity
            )
        return self._asked()[1] == activity

    def _work(self, plan_file: str, work_dir: str) -> bool:
        """Computes this worker's share of a plan, and late chunks of other workers.

        Returns:
          Whether the plan was there: a restarted chief removes it.

        Raises:
          PoetsError: if this worker cannot compute or store.
        """
        try:
            plan = WorkPlan.read(self._folder.url_of(plan_file))
            spec = plan.spec.with_models(
                lambda name: fetch_model(self._folder.url, name, work_dir)
            )
        except StorageError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            time.sleep(POLL_S)
            return False
        spec = dataclasses.replace(spec, image_dir=self._config.image_dir)
        self._division = division = Division(
            plan,
            self._cluster.worker_index,
            self._cluster.num_workers,
            list_parts=lambda: list_parts(spec.store_url),
            stopped=lambda: self._is_abandoned(plan_file),
        )
        try:
            unread = [
                f"{self._name}: left to the chief: {path}: {why}"
                for _ in division.rounds()
                for path, why in self._pool.work_off(spec, division)
            ]
        except PoetsError as error:  # once the chief went on, the model may be gone
            if not self._is_abandoned(plan_file):
                raise
            unread = [f"{self._name}: stopped in a plan that is over: {error}"]
        log_some(logger.warning, unread, "more images left to the chief")
        others = ""
        if count := division.taken_over:
            others = f", including {count} chunk{'s' * (count != 1)} of other workers"
        text = "%s: %d bottlenecks computed%s"
        logger.info(text, self._name, division.computed, others)
        return True

    def _is_abandoned(self, plan_file: str) -> bool:
        """Returns whether the chief has gone on without a plan."""
        self._read_chief()
        found = self._chief.get("plan"), self._chief.get("state")
        return found != (plan_file, "working")

    def _read_chief(self) -> float:
        """Reads the chief's file; returns for how many seconds it is unchanged."""
        began_s = time.monotonic()
        self._chief = self._folder.read(CHIEF) or self._chief
        if self._chief.get("state") == "working":
            self._attempt = self._chief.get("attempt")
        self._pause_s = max(POLL_S, POLL_SHARE * (time.monotonic() - began_s))
        return self._watch.see(self._chief)

    def _ended(self) -> bool:
        """Returns whether the job is done.

        Raises:
          ChiefError: if it failed, or the chief was silent for too long.
        """
        silent_s = self._read_chief()
        state, attempt = self._chief.get("state"), self._chief.get("attempt")
        follows, waited = self._watch.changes > 0, silent_s > DONE_GRACE_S
        if state == "done":
            if follows or (attempt is not None and attempt == self._attempt):
                return True
            self._log_earlier_end(waited)
            return waited
        if state == "failed":
            code = self._chief.get("exit_code")
            code = code if isinstance(code, int) and code > 0 else 1
            refused = code == ConfigError.exit_code  # the scheduler does not restart it
            late = silent_s > self._config.chief_timeout_s
            if follows or (waited and refused) or late:
                raise ChiefError(f"the chief failed: {self._chief.get('reason')}", code)
        self._check_silence(silent_s)
        return False

    def _log_earlier_end(self, waited: bool) -> None:
        if not self._logged_s:
            self._logged_s = time.monotonic()
            text = (
                "%s: a job with these flags was done before this worker came; waiting "
                "%.0f s for another run of it to begin"
            )
            logger.info(text, self._name, DONE_GRACE_S)
        if waited:
            logger.info("%s: no other run of it has begun", self._name)

    def _check_silence(self, silent_s: float) -> None:
        """Logs how long the chief has been silent; raises ChiefError if too long."""
        url, timeout_s = self._folder.url, self._config.chief_timeout_s
        if silent_s > timeout_s:
            raise ChiefError(
                f"the chief was not heard from for {silent_s:.0f} s in {url!r}: check "
                "that it runs with the same flags, and that --bottleneck_dir is one "
                "folder for all workers; --chief_timeout_s gives more time"
            )
        now_s = time.monotonic()
        if silent_s > LOG_EVERY_S and now_s - self._logged_s > LOG_EVERY_S:
            self._logged_s = now_s
            text = (
                "%s: waiting for the chief, not heard from for %.0f s in %s; giving up "
                "after %d s"
            )
            logger.warning(text, self._name, silent_s, url, timeout_s)
