"""The files through which the workers of one job find each other, in shared storage.

    bottleneck_dir/.jobs/3f9a0c51d2e84b76/      one folder for each set of flags
        chief.json        {"attempt": "9c1f", "state": "working", "plan": ...}
        worker-1.json     {"process": "77ab", "plan": ..., "computed": 3072, ...}
        plan-9c1f-0.parquet, model-ddb3e9765ec0.tflite

Each file has one writer, appears whole, and holds a beat that the writer counts up. A
writer is alive if its file changes within some time on the reader's monotonic clock:
times of two machines are never compared.
"""

import contextlib
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pyarrow.fs

from poets.config import RetrainConfig
from poets.storage import join, open_storage, read_url
from poets.storage.parts import sweep
from poets.storage.publish import write_atomically

logger = logging.getLogger(__name__)

JOBS = ".jobs"
CHIEF = "chief.json"
WORKER = "worker-{}.json"
BEAT_S = 1.0
"""Seconds between two heartbeats."""

KEPT = timedelta(days=1)
"""A chief that has not written for so long has ended."""


class JobFolder:
    """The files of one job."""

    def __init__(self, url: str) -> None:
        self.url = url

    @classmethod
    def of(
        cls, config: RetrainConfig, num_workers: int, details: str = ""
    ) -> "JobFolder":
        """Returns the folder of a job; only tasks with the same arguments share it.

        `details` separates jobs with the same flags; "" if the flags are enough.
        """
        text = json.dumps([config.of_the_job, num_workers, details], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return cls(join(config.bottleneck_dir, JOBS, digest))

    def url_of(self, name: str) -> str:
        """Returns the URL of a file."""
        return join(self.url, name)

    def write(self, name: str, record: Mapping[str, Any]) -> None:
        """Writes or replaces a file; raises StorageError if it cannot."""
        write_atomically(self.url_of(name), json.dumps(record).encode())

    def read(self, name: str) -> dict[str, Any]:
        """Returns the record in a file; {} if it is absent or cannot be read now."""
        with contextlib.suppress(OSError, ValueError):
            record = json.loads(read_url(self.url_of(name)))
            if isinstance(record, dict):
                return record
        return {}

    def clear(self, keep: tuple[str, ...]) -> None:
        """Removes files of earlier runs, and folders of jobs that ended a day ago.

        The storage's own clock decides. Names that begin with one of `keep` stay;
        others that cannot be removed are harmless.
        """
        with contextlib.suppress(OSError):
            filesystem, path = open_storage(self.url)
            infos = filesystem.get_file_info(pyarrow.fs.FileSelector(path))
            now = max((i.mtime for i in infos if i.mtime is not None), default=None)
            if now is not None:
                sweep(filesystem, path, now, frozenset())
            for info in infos:
                name = info.base_name
                with contextlib.suppress(OSError):
                    if not name.startswith((".", *keep)):
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
    """Measures how long a record has not changed, by this machine's monotonic clock.

    Attributes:
      changes: how often the record changed since it was first seen.
    """

    def __init__(self) -> None:
        self._record: Mapping[str, Any] | None = None
        self._changed_s, self.changes = time.monotonic(), 0

    def see(self, record: Mapping[str, Any]) -> float:
        """Stores the current record; returns for how many seconds it is unchanged."""
        now_s = time.monotonic()
        if record != self._record:
            self.changes += self._record is not None
            self._record, self._changed_s = dict(record), now_s
        return now_s - self._changed_s


@contextlib.contextmanager
def heartbeat(beat: Callable[[], None]) -> Iterator[None]:
    """Calls `beat`, which writes a file, every second while the body runs.

    A beat that cannot be written is only logged. The other workers then take this one
    for dead, and some chunks are computed twice.
    """
    stopping = threading.Event()

    def run() -> None:
        warned = False
        while not stopping.wait(BEAT_S):
            try:
                beat()
                warned = False
            except OSError as error:
                if not warned:
                    logger.warning("other workers cannot see this one: %s", error)
                warned = True

    thread = threading.Thread(target=run, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(10 * BEAT_S)  # the storage may not answer
