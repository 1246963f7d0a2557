"""Lets one job at a time publish to a folder, and never over another's results.

    lock = PublishLock("hdfs://default/out")    when the job starts: reads the manifest
    ...
    with lock.held(parts, folders) as refresh:  the folder has our marker and no other;
        ...                                     the manifest is the one of the start

The marker is a file, `.poets-publishing.<id>`. Each publisher writes its own and then
lists the folder. Of two that do so at once, at least one sees the other's, deletes its
own and tries again. A marker that was not rewritten for a minute, by the storage's own
clock, was left by a killed job: the parts that it lists are removed. The lock needs
only writing, listing and deleting, so it works on every storage.
"""

import contextlib
import json
import posixpath
import random
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

import pyarrow.fs

from poets.errors import StorageError
from poets.storage import open_storage, read_bytes, storage_errors, write_bytes
from poets.storage.parts import sweep

MANIFEST = "metrics.json"
STALE_S = 60.0
"""An older marker was left by a killed job."""
WAIT_S = 150.0
"""How long a job waits until another's marker is gone."""

_MARKER = re.compile(r"\.poets-publishing\.[0-9a-f]{32}")


class AlreadyPublishedError(StorageError):
    """Another job published to the same folder meanwhile.

    Two jobs were given one folder, which is a configuration error: a scheduler that
    restarted this job would have it overwrite the other's results.
    """

    exit_code = 2


class PublishLock:
    """One job's lock for publishing to a folder.

    Args:
      folder_url: the folder of the manifest; nothing is written to it before `held`.

    Raises:
      StorageError: if the manifest cannot be read.
    """

    def __init__(self, folder_url: str) -> None:
        self._url = folder_url
        self._filesystem, self._folder = open_storage(folder_url)
        self._marker = self._path(f".poets-publishing.{uuid.uuid4().hex}")
        self._parts: list[str] = []
        self._marked_at = 0.0
        with self._errors():
            self._found = self._manifest()

    @contextlib.contextmanager
    def held(
        self, parts: Iterable[str], folder_urls: Iterable[str]
    ) -> Iterator[Callable[[], None]]:
        """Keeps all other jobs from publishing while its body runs.

        Args:
          parts: temporary names of what is not yet renamed; if this job is killed, the
            next one removes them.
          folder_urls: existing folders with these parts, and perhaps with those of
            killed jobs.

        Yields:
          A function to call before each rename: it renews the marker.

        Raises:
          StorageError: if another job has published since this lock was made, or does
            not finish publishing.
        """
        self._parts = list(parts)
        try:
            with self._errors():
                now, killed = self._wait()
                self._check_manifest()
                left = {part for marker in killed for part in self._parts_of(marker)}
                for folder_url in folder_urls:
                    sweep(*open_storage(folder_url), now, left)
                for marker in killed:
                    with contextlib.suppress(OSError):  # another user's, perhaps
                        self._filesystem.delete_file(marker)
            yield self._refresh
        finally:
            self._leave()

    def _wait(self) -> tuple[datetime, list[str]]:
        """Waits until no other job's marker is there.

        Returns:
          The time by the storage's clock, and the markers of killed jobs.

        Raises:
          StorageError: if another's is still there after WAIT_S.
        """
        deadline = time.monotonic() + WAIT_S
        pause_s = 0.1
        while True:
            self._mark()
            now, markers = self._markers()
            others = [i.path for i in markers if _age_s(i, now) <= STALE_S]
            if now and not others:
                return now, [info.path for info in markers]
            self._leave()  # two jobs that start at once would wait for each other
            if time.monotonic() > deadline:
                owner = self._owner(others[0]) if others else "removing our marker"
                raise StorageError(
                    f"cannot publish to {self._url!r}: another job has been publishing "
                    f"for {WAIT_S:g} s, {owner}; what was there is unchanged; run "
                    "again when it has ended"
                )
            time.sleep(random.uniform(pause_s / 2, pause_s))
            pause_s = min(2 * pause_s, 5.0)

    def _markers(self) -> tuple[datetime | None, list[pyarrow.fs.FileInfo]]:
        """Returns the time of our own marker, and the other markers."""
        infos = self._filesystem.get_file_info(pyarrow.fs.FileSelector(self._folder))
        markers = {i.path: i for i in infos if _MARKER.fullmatch(i.base_name)}
        mine = markers.pop(self._marker, None)
        return mine and mine.mtime, list(markers.values())

    def _leave(self) -> None:
        with contextlib.suppress(OSError):
            self._filesystem.delete_file(self._marker)

    def _mark(self) -> None:
        content = {
            "host": socket.gethostname(),
            "since": f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}",
            "parts": self._parts,
        }
        write_bytes(self._filesystem, self._marker, json.dumps(content).encode())
        self._marked_at = time.monotonic()

    def _refresh(self) -> None:
        age_s = time.monotonic() - self._marked_at
        if age_s > STALE_S:
            raise StorageError(
                f"cannot publish to {self._url!r}: this job was stopped for "
                f"{age_s:.0f} s, and another may have taken its place; run again"
            )
        if age_s > STALE_S / 4:
            with self._errors():
                self._mark()

    def _check_manifest(self) -> None:
        now = self._manifest()
        if now is None or now == self._found:
            return
        finished = _read(now).get("finished")
        at = f" at {finished}" if isinstance(finished, str) else ""
        raise AlreadyPublishedError(
            f"cannot publish to {self._url!r}: another job published there{at}, while "
            "this one ran; its results stay; run again, or name another folder"
        )

    def _manifest(self) -> bytes | None:
        try:
            return read_bytes(self._filesystem, self._path(MANIFEST))
        except FileNotFoundError:
            return None

    def _owner(self, marker: str) -> str:
        content = self._content(marker)
        return f"on host {content.get('host')!r} since {content.get('since')}"

    def _parts_of(self, marker: str) -> list[str]:
        parts = self._content(marker).get("parts")
        parts = parts if isinstance(parts, list) else []
        return [name for name in parts if isinstance(name, str)]

    def _content(self, marker: str) -> dict[str, object]:
        try:
            return _read(read_bytes(self._filesystem, marker))
        except OSError:  # deleted since it was listed
            return {}

    def _path(self, name: str) -> str:
        return posixpath.join(self._folder, name)

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return storage_errors(f"lock {self._url!r} for publishing")


def _age_s(info: pyarrow.fs.FileInfo, now: datetime | None) -> float:
    return (now - info.mtime) / timedelta(seconds=1) if now else 0.0


def _read(data: bytes) -> dict[str, object]:
    """Returns a JSON object; {} for other content, such as a file half written."""
    try:
        content = json.loads(data)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
