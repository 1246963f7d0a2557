"""Where the workers of one job meet: small files on the storage they share.

    bottleneck_dir/.jobs/3f9a0c51d2e84b76/      one folder for each set of flags
        chief.json        {"attempt": "9c1f", "state": "working", "plan": ...}
        worker-1.json     {"process": "77ab", "plan": ..., "computed": 3072, ...}
        plan-9c1f-0.parquet, model-ddb3e9765ec0.tflite

Each file has one writer, appears whole, and carries a beat that its writer counts up.
Whether a writer is alive is seen by its file changing, by the reader's own monotonic
clock: no time of one machine is ever compared with that of another.
"""

import contextlib
import hashlib
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pyarrow.fs

from poets.config import RetrainConfig
from poets.storage import exists, is_local, join, open_storage, read_url
from poets.storage.parts import sweep
from poets.storage.publish import write_atomically

logger = logging.getLogger(__name__)

JOBS = ".jobs"
CHIEF = "chief.json"
MODEL = "model-"
BEAT_S = 1.0
"""Between two writings of a file that says how far its writer is."""

KEPT = timedelta(days=1)
"""A chief writes every second: one that did not for so long is no more."""


def job_url(config: RetrainConfig, num_workers: int, details: str = "") -> str:
    """Returns the folder in which the workers of a job meet.

    Tasks with the same flags find each other, and no others.

    Args:
      config: the flags.
      num_workers: all of them, the chief included.
      details: what else makes it another job; "" for one of these flags alone.
    """
    text = json.dumps([config.of_the_job, num_workers, details], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return join(config.bottleneck_dir, JOBS, digest)


def worker_file(index: int) -> str:
    """Returns the name of a worker's file."""
    return f"worker-{index}.json"


class JobFolder:
    """The files of one job."""

    def __init__(self, url: str) -> None:
        self.url = url

    def url_of(self, name: str) -> str:
        """Returns the URL of a file."""
        return join(self.url, name)

    def write(self, name: str, record: Mapping[str, Any]) -> None:
        """Writes a file anew.

        Raises:
          StorageError: if it cannot be written.
        """
        write_atomically(self.url_of(name), json.dumps(record).encode())

    def read(self, name: str) -> dict[str, Any]:
        """Returns what a file says; {} if it is not there or cannot be read now."""
        with contextlib.suppress(OSError, ValueError):
            record = json.loads(read_url(self.url_of(name)))
            if isinstance(record, dict):
                return record
        return {}

    def add_model(self, path: str) -> str:
        """Puts a local model where all workers find it and returns its name there.

        Raises:
          StorageError: if it cannot be written.
        """
        with open(path, "rb") as file:
            data = file.read()
        digest = hashlib.sha256(data).hexdigest()[:12]
        name = f"{MODEL}{digest}{os.path.splitext(path)[1]}"
        if not exists(self.url_of(name)):
            write_atomically(self.url_of(name), data)
        return name

    def fetch_model(self, name: str, work_dir: str) -> str:
        """Returns the local path of a model that `add_model` named.

        Args:
          name: of the model.
          work_dir: where one that is not on this machine is copied to.

        Raises:
          StorageError: if it cannot be read.
        """
        filesystem, path = open_storage(self.url_of(name))
        if is_local(filesystem):
            return path
        staged = os.path.join(work_dir, os.path.basename(name))
        if not os.path.exists(staged):
            data = read_url(self.url_of(name))
            with open(staged, "wb") as file:
                file.write(data)
        return staged

    def clear(self, keep: Callable[[str], bool]) -> None:
        """Removes what earlier runs left, in this folder and beside it.

        Another job's folder goes when its chief has not written for a day, by the
        storage's own clock. What cannot be removed disturbs nobody.

        Args:
          keep: tells by a file's name whether it is still needed.
        """
        with contextlib.suppress(OSError):
            filesystem, path = open_storage(self.url)
            infos = filesystem.get_file_info(pyarrow.fs.FileSelector(path))
            now = max((i.mtime for i in infos if i.mtime is not None), default=None)
            if now is not None:
                sweep(filesystem, path, now, frozenset())
            for info in infos:
                name = info.base_name
                if not name.startswith(".") and not keep(name):
                    with contextlib.suppress(OSError):
                        filesystem.delete_file(info.path)
            folder = pyarrow.fs.FileSelector(path.rpartition("/")[0])
            for info in filesystem.get_file_info(folder):
                if info.path == path or now is None:
                    continue
                with contextlib.suppress(OSError):
                    below = filesystem.get_file_info(pyarrow.fs.FileSelector(info.path))
                    times = [i.mtime for i in below if i.mtime is not None]
                    if times and now - max(times) > KEPT:
                        filesystem.delete_dir(info.path)


class Watch:
    """How long ago a record changed, by this machine's monotonic clock."""

    def __init__(self) -> None:
        self._record: Mapping[str, Any] | None = None
        self._changed_s = time.monotonic()
        self.changes = 0
        """How often it changed since it was first seen."""

    def see(self, record: Mapping[str, Any]) -> float:
        """Takes note of what a record is now; returns for how long it has been so."""
        now_s = time.monotonic()
        if record != self._record:
            self.changes += self._record is not None
            self._record, self._changed_s = dict(record), now_s
        return now_s - self._changed_s


class Heartbeat:
    """Writes a record again and again until it is stopped.

    A beat that cannot be written is no reason to stop the work: who watches takes the
    writer for dead, which costs some work that is done twice.
    """

    def __init__(self, beat: Callable[[], None], name: str) -> None:
        self._beat = beat
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begins to beat."""
        self._thread.start()

    def stop(self) -> None:
        """Returns once no beat is under way, or after some seconds."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(10 * BEAT_S)

    def _run(self) -> None:
        told = False
        while not self._stopping.wait(BEAT_S):
            try:
                self._beat()
                told = False
            except OSError as error:
                if not told:
                    logger.warning("other workers cannot see this one: %s", error)
                told = True


def new_id() -> str:
    """Returns a name that no other process takes."""
    return uuid.uuid4().hex[:8]
