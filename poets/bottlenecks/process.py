"""One process that computes bottlenecks: `python -m poets.bottlenecks.process`.

    stdin   {"spec": {"image_dir": ..., "store_url": ..., ...}}
    stdout  {}                                                  it is loaded
    stdin   {"tasks": [["daisy/1.jpg", 2061, 17953..., [-1], null], ...]}
    stdout  {"rows": 256, "unread": [["daisy/2.jpg", "permission denied"]]}
            or {"failed": "cannot write ..."}
    ...     until stdin ends

A chunk becomes one part of the store, so a killed process loses one chunk. No
TensorFlow is imported where LiteRT serves.
"""

import contextlib
import dataclasses
import hashlib
import importlib
import json
import os
import posixpath
import signal
import sys
from collections.abc import Sequence
from typing import NamedTuple, TextIO

import cv2
import numpy as np
import pyarrow as pa

from poets.bottlenecks.engines import ADAPTERS, Engine, load_engine
from poets.bottlenecks.store import CorruptPartError, Index, Place, Row, Store
from poets.distortions import Distortions
from poets.errors import PoetsError
from poets.images import MAX_BYTES, ImageError, decode, resize
from poets.storage import open_storage, read_bytes, reason

PLAIN = -1
"""The number of the image itself among its copies."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """What a process computes.

    Attributes:
      image_dir: the images' paths are relative to it.
      store_url: the store's folder.
      engine: a name in `poets.bottlenecks.engines.ADAPTERS`.
      model_path: the engine's model, a local file.
      distortions: what copies are made with; None if there are only plain images.
      known_content: whether the store may hold images under other names.
    """

    image_dir: str
    store_url: str
    engine: str
    model_path: str
    distortions: Distortions | None
    known_content: bool

    def to_json(self) -> str:
        """Returns the line that `from_json` reads."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, line: str) -> "Spec":
        """Returns the spec in a line of JSON."""
        values = json.loads(line)
        if values["distortions"]:
            values["distortions"] = Distortions(**values["distortions"])
        return cls(**values)


class Task(NamedTuple):
    """One image to read.

    Attributes:
      path: relative to `image_dir`.
      length: bytes, as listed.
      mtime_ns: as listed.
      copies: which distorted copies to compute; PLAIN is the image itself.
      expected: hex SHA-256 that the store has for it, when it is only verified.
    """

    path: str
    length: int
    mtime_ns: int
    copies: Sequence[int]
    expected: str | None


class Worker:
    """Computes chunks of tasks."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._engine: Engine = load_engine(spec.engine, spec.model_path)
        self._store = Store(spec.store_url, self._engine.output_size)
        self._filesystem, self._root = open_storage(spec.image_dir)
        self._index = self._store.read_index() if spec.known_content else Index({}, {})

    def compute(self, tasks: Sequence[Task]) -> dict[str, object]:
        """Writes one part for the tasks and returns the reply."""
        try:
            return self._compute(tasks)
        except CorruptPartError:  # what was to be reused is gone: the index without it
            self._index = self._store.read_index()
            return self.compute(tasks)

    def _compute(self, tasks: Sequence[Task]) -> dict[str, object]:
        rows: list[Row] = []
        known: list[tuple[int, Place]] = []
        waiting: list[tuple[int, np.ndarray]] = []
        unread: list[tuple[str, str]] = []
        for task in tasks:
            try:
                data = self._read(task)
            except ImageError as error:
                rows.append(self._row(task, PLAIN, bytes(32), str(error)))
                continue
            except OSError as error:
                unread.append((task.path, reason(error)))
                continue
            digest = hashlib.sha256(data).digest()
            if digest.hex() == task.expected:
                continue
            pixels = None
            for copy in task.copies:
                place = self._index.by_content.get((digest, self._variant(copy)))
                if place:
                    known.append((len(rows), place))
                    rows.append(self._row(task, copy, digest))
                    continue
                try:
                    pixels = decode(data) if pixels is None else pixels
                except ImageError as error:
                    rows.append(self._row(task, copy, digest, str(error)))
                    break
                waiting.append((len(rows), self._picture(pixels, digest, copy)))
                rows.append(self._row(task, copy, digest))
                if len(waiting) == self._engine.batch_size:
                    self._run(rows, waiting)
        self._run(rows, waiting)
        for (index, _), bottleneck in zip(
            known,
            self._store.read_bottlenecks([place for _, place in known]),
            strict=True,
        ):
            rows[index] = rows[index]._replace(bottleneck=bottleneck)
        if rows:
            self._store.write_part(rows)
        return {"rows": len(rows), "unread": unread}

    def _read(self, task: Task) -> bytes:
        if task.length > MAX_BYTES:
            raise ImageError(f"{task.length} bytes are more than {MAX_BYTES}: not read")
        return read_bytes(self._filesystem, posixpath.join(self._root, task.path))

    def _variant(self, copy: int) -> str:
        distortions = self._spec.distortions
        return distortions.variant(copy) if distortions and copy != PLAIN else ""

    def _picture(self, pixels: np.ndarray, digest: bytes, copy: int) -> np.ndarray:
        size_px = self._engine.image_size_px
        if self._spec.distortions and copy != PLAIN:
            return self._spec.distortions.distort(pixels, size_px, digest, copy)
        return resize(pixels, size_px)

    def _row(
        self, task: Task, copy: int, digest: bytes, error: str | None = None
    ) -> Row:
        variant = self._variant(copy)
        return Row(task.path, variant, task.length, task.mtime_ns, digest, error, None)

    def _run(self, rows: list[Row], waiting: list[tuple[int, np.ndarray]]) -> None:
        """Fills in the bottlenecks of the pictures that wait, and empties the list."""
        if not waiting:
            return
        outputs = self._engine.run([picture for _, picture in waiting])
        for (index, _), bottleneck in zip(waiting, outputs, strict=True):
            rows[index] = rows[index]._replace(bottleneck=bottleneck)
        waiting.clear()


def serve(requests: TextIO, replies: TextIO) -> None:
    """Answers specs and chunks until `requests` ends."""
    worker = None
    for line in requests:
        request = json.loads(line)
        reply: dict[str, object] = {}
        try:
            if "spec" in request:
                worker = Worker(Spec.from_json(request["spec"]))
            elif worker:
                reply = worker.compute([Task(*fields) for fields in request["tasks"]])
        except PoetsError as error:
            reply = {"failed": str(error)}
        print(json.dumps(reply), file=replies, flush=True)


def main() -> None:
    """Serves on stdin and stdout; what libraries print goes to stderr."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the chief ends us, a part is whole
    cv2.setNumThreads(1)
    pa.set_cpu_count(1)
    with contextlib.suppress(ImportError):  # told when a spec asks for it
        importlib.import_module(ADAPTERS["litert"])  # while the chief does other things
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as replies:
        os.dup2(2, 1)
        try:
            serve(sys.stdin, replies)
        except BrokenPipeError:
            os._exit(1)  # the chief is gone; the part that it asked for is written


if __name__ == "__main__":
    main()
