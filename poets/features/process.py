"""A process that computes bottlenecks: `python -m poets.features.process`.

    stdin   {"spec": {"image_dir": ..., "store_url": ..., ...}}
    stdout  {}                                                  it is loaded
    stdin   {"part": "part-0176...", "marks": false,
             "tasks": [["daisy/1.jpg", 2061, 17953..., [-1], null], ...]}
    stdin   {"tasks": ...}                              before the first is computed
    stdout  {"computed": 256}                           its part is being written
    stdout  {"rows": 256, "unread": [["daisy/2.jpg", "permission denied"]]}
            or {"failed": "cannot write ..."}           the process cannot go on
    ...     until stdin ends

A chunk becomes one part of the store. With the LiteRT engine, TensorFlow is not
imported. The process does not wait for storage while it has something to compute:

    take      lines ──> chunks, and has their images read ahead
    serve     chunks ──> rows; only this thread runs the engine
    write     rows ──> parts of the store; several at once where writing is slow
    answer    parts ──> replies, in order
"""

import contextlib
import dataclasses
import hashlib
import importlib
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TextIO

import cv2
import numpy as np
import pyarrow as pa

from poets.data.distortions import Distortions
from poets.data.image_files import ImageError
from poets.data.images import MAX_BYTES, decode, resize
from poets.data.packs import Pack
from poets.data.source import ImageReads, ImageSource
from poets.errors import PoetsError
from poets.features.engines import ADAPTERS, Normalization
from poets.features.network import LoadedNetwork, Network
from poets.features.store import CorruptPartError, Row
from poets.storage import is_local, open_storage, reason
from poets.storage.reading import raise_outage, require_readable
from poets.storage.tree import Place

PLAIN = -1
"""The number of the image itself among its copies."""

MAX_WRITES = 8
"""Parts written at once: HDFS may take half a second to close a file."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """What a process computes.

    Attributes:
      image_dir: the images' paths are relative to it.
      networks: one or more that take pictures of the same size; a picture is read and
        decoded once for all of them.
      distortions: how copies are made; None if there are only plain images.
      known_content: whether a store may hold images under other names.
      witness: path of an image that was readable before the work, "" if unknown.
      packs, label_folders: see `ImageSource`.
    """

    image_dir: str
    networks: tuple[Network, ...]
    distortions: Distortions | None
    known_content: bool
    witness: str = ""
    packs: tuple[Pack, ...] = ()
    label_folders: int = 0

    @property
    def store_url(self) -> str:
        """The store that is written last: its parts are in all other stores, too."""
        return self.networks[-1].store_url

    @property
    def source(self) -> ImageSource:
        """Reads the images."""
        return ImageSource(self.image_dir, self.packs, self.label_folders)

    def variant(self, copy: int) -> str:
        """Returns the variant of a copy in the store, "" for the image itself."""
        distortions = self.distortions
        return distortions.variant(copy) if distortions and copy != PLAIN else ""

    def with_models(self, model_of: Callable[[str], str]) -> "Spec":
        """Returns the spec with another `model_path` for each network."""
        networks = [
            dataclasses.replace(network, model_path=model_of(network.model_path))
            for network in self.networks
        ]
        return dataclasses.replace(self, networks=tuple(networks))

    def to_json(self) -> str:
        """Returns the spec as a line for `from_json`."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, line: str) -> "Spec":
        """Returns the spec in a line of JSON."""
        values = json.loads(line)
        if values["distortions"]:
            values["distortions"] = Distortions(**values["distortions"])
        for network in values["networks"]:
            if given := network["normalization"]:
                network["normalization"] = Normalization(**given)
        values["networks"] = tuple(Network(**each) for each in values["networks"])
        values["packs"] = tuple(Pack(*pack) for pack in values["packs"])
        return cls(**values)


class ImageTask(NamedTuple):
    """One image to read.

    Attributes:
      path: relative to `image_dir`.
      length: bytes, as listed.
      mtime_ns: as listed.
      copies: which distorted copies to compute; PLAIN is the image itself.
      expected: hex SHA-256 of it in the store, if it is only verified; else None.
      place: where it is in a pack; None for a file of its own.
    """

    path: str
    length: int
    mtime_ns: int
    copies: Sequence[int]
    expected: str | None
    place: Place | None = None


def task_of(fields: Sequence[Any]) -> ImageTask:
    """Returns the task in the fields of a JSON list or a table's row."""
    path, length, mtime_ns, copies, expected, place = fields
    where = Place(*place) if place else None
    return ImageTask(path, length, mtime_ns, copies, expected, where)


def too_long(length: int) -> ImageError | None:
    """Returns the error for a file that is too long to be read, or None."""
    if length <= MAX_BYTES:
        return None
    return ImageError(f"{length} bytes are more than {MAX_BYTES}: not read")


class Computed(NamedTuple):
    """The results of a chunk: rows of each network, and images not read."""

    rows: list[list[Row]]
    unread: list[tuple[str, str]]


class Worker:
    """Computes the tasks of one spec."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._networks = [
            LoadedNetwork(each, spec.known_content) for each in spec.networks
        ]
        self._size_px = self._networks[0].engine.image_size_px
        self._reads = spec.source.reads()
        self._witness = spec.witness  # later the last image that could be read
        here = is_local(open_storage(spec.store_url)[0])
        self._writers = ThreadPoolExecutor(1 if here else MAX_WRITES)

    def expect(self, tasks: Iterable[ImageTask]) -> None:
        """Has images read ahead; they are computed next, in this order."""
        self._add(tasks, self._reads)

    def compute(self, tasks: Sequence[ImageTask]) -> Computed:
        """Returns the rows of tasks that were expected.

        Raises:
          StorageError: if the storage of the images fails, not just one image.
        """
        reads = self._reads
        while True:
            try:
                return self._compute(tasks, reads)
            except CorruptPartError:  # a bottleneck to be reused is gone
                reads = self._spec.source.reads()
                self._add(tasks, reads)

    def write(self, chunk: Computed, part: str, marks: bool) -> "Future[Computed]":
        """Writes a part in the background; the future gives `chunk` or StorageError.

        If `marks`, a mark is written for a part without rows.
        """

        def write() -> Computed:
            for network, rows in zip(self._networks, chunk.rows, strict=True):
                if rows:
                    network.store.write_part(rows, part)
                elif marks:
                    network.store.write_mark(part)
            return chunk

        return self._writers.submit(write)

    def close(self) -> None:
        """Stops the threads that read and write."""
        self._reads.close()
        self._writers.shutdown()

    def _add(self, tasks: Iterable[ImageTask], reads: ImageReads) -> None:
        reads.add([task for task in tasks if not too_long(task.length)])

    def _compute(self, tasks: Sequence[ImageTask], reads: ImageReads) -> Computed:
        networks = self._networks
        for network in networks:
            network.begin()
        unread: list[tuple[str, str]] = []
        for task in tasks:
            try:
                if why := too_long(task.length):
                    raise why
                data = reads.take()
            except ImageError as error:
                row = self._row(task, PLAIN, bytes(32))._replace(error=str(error))
                for network in networks:
                    network.rows.append(row)
                continue
            except OSError as error:
                raise_outage(error, self._spec.source.url(task.path))
                unread.append((task.path, reason(error)))
                continue
            self._witness = task.path
            digest = hashlib.sha256(data).digest()
            if digest.hex() == task.expected:
                continue
            pixels = None
            for copy in task.copies:
                row = self._row(task, copy, digest)
                lacking = [network for network in networks if not network.reuses(row)]
                if not lacking:
                    continue
                try:
                    pixels = decode(data) if pixels is None else pixels
                except ImageError as error:
                    for network in lacking:
                        network.rows.append(row._replace(error=str(error)))
                    break
                picture = self._picture(pixels, digest, copy)
                for network in lacking:
                    network.compute(row, picture)
        rows = [network.finish() for network in networks]
        if unread:
            witness = self._spec.source.file(self._witness)
            require_readable(self._spec.image_dir, witness)
        return Computed(rows, unread)

    def _picture(self, pixels: np.ndarray, digest: bytes, copy: int) -> np.ndarray:
        if self._spec.distortions and copy != PLAIN:
            return self._spec.distortions.distort(pixels, self._size_px, digest, copy)
        return resize(pixels, self._size_px)

    def _row(self, task: ImageTask, copy: int, digest: bytes) -> Row:
        variant = self._spec.variant(copy)
        return Row(task.path, variant, task.length, task.mtime_ns, digest, None, None)


class Server:
    """Answers specs and chunks."""

    def __init__(self, replies: TextIO) -> None:
        self._replies = replies
        self._replying = threading.Lock()
        self._requests: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._parts: queue.Queue[Future[Computed] | None] = queue.Queue(MAX_WRITES)
        self._worker: Worker | None = None

    def serve(self, lines: Iterable[str]) -> None:
        """Answers until `lines` end."""
        threading.Thread(target=self._take, args=(lines,), daemon=True).start()
        answering = threading.Thread(target=self._answer, daemon=True)
        answering.start()
        while request := self._requests.get():
            try:
                if "spec" in request:
                    if self._worker:
                        self._worker.close()
                    self._worker = Worker(Spec.from_json(request["spec"]))
                    self._reply({})
                elif self._worker:
                    chunk = self._worker.compute(request["tasks"])
                    self._reply({"computed": len(chunk.rows[0])})
                    part = self._worker.write(chunk, request["part"], request["marks"])
                    self._parts.put(part)
            except PoetsError as error:
                self._reply({"failed": str(error)})
        self._parts.put(None)
        answering.join()

    def _take(self, lines: Iterable[str]) -> None:
        for line in lines:
            request = json.loads(line)
            if "tasks" in request and self._worker:
                request["tasks"] = [task_of(fields) for fields in request["tasks"]]
                self._worker.expect(request["tasks"])
            self._requests.put(request)
        self._requests.put(None)

    def _answer(self) -> None:
        while part := self._parts.get():
            try:
                chunk = part.result()
                self._reply({"rows": len(chunk.rows[0]), "unread": chunk.unread})
            except PoetsError as error:
                self._reply({"failed": str(error)})

    def _reply(self, reply: dict[str, object]) -> None:
        with self._replying:
            print(json.dumps(reply), file=self._replies, flush=True)


def _end(args: threading.ExceptHookArgs) -> None:
    """Ends the process when a thread fails; the chief sees the reason on stderr."""
    if not issubclass(args.exc_type, BrokenPipeError):  # the chief is gone
        threading.__excepthook__(args)
    os._exit(1)


def main() -> None:
    """Serves on stdin and stdout; output of libraries goes to stderr."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the chief ends us; parts stay whole
    cv2.setNumThreads(1)
    pa.set_cpu_count(1)
    with contextlib.suppress(ImportError):  # reported when a spec asks for it
        importlib.import_module(ADAPTERS["litert"])  # while the chief does other things
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as replies:
        os.dup2(2, 1)
        threading.excepthook = _end
        with contextlib.suppress(BrokenPipeError):  # the chief is gone
            Server(replies).serve(sys.stdin)


if __name__ == "__main__":
    main()
