"""Keeps a local copy of a growing folder of any storage, for TensorBoard.

    hdfs://…/training_summaries/train/events.out.tfevents.1  ──> /logs/train/events.…

Event files only grow, and TensorBoard keeps them open, so new bytes are appended to the
copy. A file that shrank is copied again. A file that is gone is removed here too, if
this follower made the copy. A folder that may not be listed, such as the `lost+found`
of a volume, is skipped with one warning.
"""

import contextlib
import logging
import posixpath
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pyarrow.fs

from poets.storage import open_storage, reason, storage_errors
from poets.storage.tree import Entry, walk

CHUNK_BYTES = 8 << 20

log = logging.getLogger(__name__)


class Follower:
    """Copies the files of one folder as they grow."""

    def __init__(self, source: str, target: str, names: str = "*"):
        """Opens the storage, but reads nothing yet.

        Args:
          source: a folder in any storage; it need not exist yet.
          target: a local folder, created if absent.
          names: pattern of the files to follow, such as `*tfevents*`.

        Raises:
          StorageError: if no storage is known for `source`.
        """
        self.source = source
        self.target = Path(target).resolve()
        self._filesystem, path = open_storage(source)
        self._path = path.rstrip("/") or path
        self._names = names
        self._made: set[Path] = set()
        self._passed_over: set[str] = set()

    def update(self) -> int:
        """Copies what was added since the last call; returns its size in bytes.

        Raises:
          StorageError: if the folder cannot be read or the copy cannot be written.
        """
        with storage_errors(f"follow {self.source!r}"):
            self.target.mkdir(parents=True, exist_ok=True)
            sizes = self._list()
            copied = sum(self._copy(name, size) for name, size in sizes.items())
            for gone in self._made - {self.target / name for name in sizes}:
                with contextlib.suppress(FileNotFoundError):
                    gone.unlink()
                self._made.discard(gone)
        return copied

    def _list(self) -> dict[str, int]:
        """Returns path below the folder -> size, without names that lead out of it."""
        sizes = {}
        for name, kind, size, *_ in self._walk():
            if kind is not pyarrow.fs.FileType.File:
                continue
            if not fnmatchcase(posixpath.basename(name), self._names):
                continue
            if not (self.target / name).resolve().is_relative_to(self.target):
                log.warning("left out %r: its name leads out of the folder", name)
                continue
            sizes[name] = size
        return sizes

    def _walk(self) -> Iterator[Entry]:
        with contextlib.suppress(FileNotFoundError):  # not there yet
            yield from walk(self._filesystem, self._path, forbidden=self._pass_over)

    def _pass_over(self, folder: str, error: OSError) -> None:
        if folder not in self._passed_over:
            self._passed_over.add(folder)
            log.warning("passed over the folder %r: %s", folder, reason(error))

    def _copy(self, name: str, size: int) -> int:
        copy = self.target / name
        have = copy.stat().st_size if copy.exists() else -1
        if have == size:
            return 0
        copy.parent.mkdir(parents=True, exist_ok=True)
        start = have if 0 <= have < size else 0
        self._made.add(copy)
        source = f"{self._path.rstrip('/')}/{name}"
        with self._filesystem.open_input_file(source) as opened:
            opened.seek(start)
            with copy.open("ab" if start else "wb") as file:
                while data := opened.read(CHUNK_BYTES):
                    file.write(data)
                return file.tell() - start
