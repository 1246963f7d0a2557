"""Reads pictures by their place: files of a folder, or blocks of packs.

    source = ImageSource("hdfs://default/flowers", packs)
    for data in source.read(images): ...          bytes, or why there are none

    reads = source.reads()                        the same in two steps, for a pass
    reads.add(images)                             reads ahead
    reads.take()                                  the next one's bytes

All who read pictures of a data set do so here: the pass, the check of exports, the
report and `poets label`.
"""

import contextlib
import errno
import itertools
import posixpath
import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from poets.data.image_files import ImageError
from poets.data.packs import Pack, PackError, Reader, open_pack
from poets.errors import StorageError
from poets.storage import join, open_storage, reason
from poets.storage.reading import KEPT, Reads
from poets.storage.tree import Place

BLOCKS_AHEAD = 2
"""Blocks that are read and not yet begun."""

OPEN_PACKS = 4
"""Packs that are kept open."""

WINDOW = 512
"""Pictures that `read` adds at once, before it takes the earlier ones."""

CLOSING_S = 1.0
"""How long to wait for the end of the current read."""

Found = bytes | BaseException


class Listed(Protocol):
    """A picture in a list: an `Image`, or a task."""

    @property
    def path(self) -> str:
        """Below `image_dir`."""

    @property
    def length(self) -> int:
        """Bytes, 0 if unknown."""

    @property
    def place(self) -> Place | None:
        """In a pack; None for a file of its own."""


class ImageReads(Protocol):
    """Pictures that are taken in the order in which they were added.

    `add` and `take` may be called from two threads.
    """

    def add(self, images: Sequence[Listed]) -> None:
        """Has pictures read ahead."""

    def take(self) -> bytes:
        """Returns the content of the next picture.

        Raises:
          ImageError: if it is damaged in its pack.
          StorageError: if its pack cannot be read.
          OSError: if its own file cannot be read, as the storage reports it.
        """

    def close(self) -> None:
        """Ends the threads, each after its current read."""


@dataclass(frozen=True)
class ImageSource:
    """Where the pictures of a data set are.

    Attributes:
      image_dir: their folder, or the pack.
      packs: the packs that places name by their numbers; empty if each picture is a
        file.
      label_folders: how many folders at the start of each path come from a table of
        labels, and are not in `image_dir`.
    """

    image_dir: str
    packs: tuple[Pack, ...] = ()
    label_folders: int = 0

    def file(self, path: str) -> str:
        """Returns the path of a picture's file below `image_dir`."""
        return path.split("/", self.label_folders)[-1]

    def url(self, path: str) -> str:
        """Returns where a picture is; in a pack, its path below the packs."""
        return join(self.image_dir, self.file(path))

    def reads(self) -> ImageReads:
        """Returns a reader of many pictures."""
        return PackReads(self) if self.packs else FileReads(self)

    def read(self, images: Iterable[Listed]) -> Iterator[bytes | OSError | ImageError]:
        """Yields the content of each picture in order, or the error of reading it."""
        left = iter(images)
        reads = self.reads()
        window = list(itertools.islice(left, WINDOW))
        reads.add(window)
        try:
            while window:
                following = list(itertools.islice(left, WINDOW))
                reads.add(following)
                for _ in window:
                    try:
                        yield reads.take()
                    except (ImageError, OSError) as error:
                        yield error
                window = following
        finally:
            reads.close()


class FileReads:
    """Pictures that are files of their own, see `ImageReads`."""

    def __init__(self, source: ImageSource) -> None:
        filesystem, self._root = open_storage(source.image_dir)
        self._file = source.file
        self._reads = Reads(filesystem)
        self.take, self.close = self._reads.take, self._reads.close

    def add(self, images: Sequence[Listed]) -> None:
        for image in images:
            path = posixpath.join(self._root, self._file(image.path))
            self._reads.add(path, image.length)


class PackReads:
    """Pictures in packs, see `ImageReads`.

    Each block is read once for all pictures that are added together.
    """

    def __init__(self, source: ImageSource) -> None:
        self._source = source
        self._filesystem, self._root = open_storage(source.image_dir)
        self._order: deque[_Slot] = deque()
        self._wanted: queue.SimpleQueue[list[_Slot] | None] = queue.SimpleQueue()
        self._read: queue.Queue[tuple[list[_Slot], list[Found]]] = queue.Queue(
            BLOCKS_AHEAD
        )
        self._open: dict[int, tuple[pa.NativeFile, Reader]] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="packs", daemon=True)
        self._thread.start()

    def add(self, images: Sequence[Listed]) -> None:
        slots = [_Slot(image) for image in images]
        self._order += slots
        slots = sorted(slots, key=lambda slot: slot.place)
        for _, block in itertools.groupby(slots, lambda slot: slot.place[:2]):
            self._wanted.put(list(block))

    def take(self) -> bytes:
        slot = self._order.popleft()
        while slot.found is None:
            for other, found in zip(*self._read.get(), strict=True):
                other.found = found
        if isinstance(slot.found, bytes):
            return slot.found
        raise slot.found

    def close(self) -> None:
        self._closed = True
        self._wanted.put(None)
        with contextlib.suppress(queue.Empty):
            self._read.get_nowait()  # it may be waiting to put
        self._thread.join(CLOSING_S)

    def _work(self) -> None:
        while (slots := self._wanted.get()) and not self._closed:
            self._read.put((slots, self._read_block(slots)))
        for file, _ in self._open.values():
            file.close()

    def _read_block(self, slots: Sequence["_Slot"]) -> list["Found"]:
        """Returns what is read for each slot of one block."""
        found: list[Found] = []
        pack = self._source.packs[slots[0].place.pack]
        name = pack.path or self._source.image_dir
        try:
            reader = self._reader(slots[0].place.pack)
            places = [slot.place for slot in slots]
            for data in reader.read(places):
                if isinstance(data, ImageError):
                    data = ImageError(f"{name!r}: {data}")
                found.append(data)
        except PackError as error:
            why = f"{name!r}: block {slots[0].place.block} is damaged: {error}"
            found += [ImageError(why) for _ in slots[len(found) :]]
        except OSError as error:
            url = join(self._source.image_dir, pack.path) if pack.path else name
            text = f"cannot read {url!r}: {reason(error)}; {KEPT}"
            if isinstance(error, StorageError):
                text = str(error)
            found += [StorageError(text) for _ in slots[len(found) :]]
        except BaseException as error:  # a thread has nowhere to raise it
            found += [error for _ in slots[len(found) :]]
        return found

    def _reader(self, number: int) -> Reader:
        """Returns an open pack, one of the last few."""
        if number not in self._open:
            pack = self._source.packs[number]
            path = posixpath.join(self._root, pack.path) if pack.path else self._root
            file = self._filesystem.open_input_file(path)
            if file.size() != pack.length:
                raise OSError(
                    errno.ESTALE,
                    f"it had {pack.length:,} bytes when it was listed and has "
                    f"{file.size():,} now: another file took its place",
                    path,
                )
            while len(self._open) >= OPEN_PACKS:
                self._open.pop(next(iter(self._open)))[0].close()
            self._open[number] = file, open_pack(file, path)
        return self._open[number][1]


class _Slot:
    """A picture to be read; `found` is None until it is."""

    __slots__ = ("found", "place")

    def __init__(self, image: Listed) -> None:
        if image.place is None:
            raise ValueError(f"{image.path!r} is not in a pack")
        self.place = image.place
        self.found: Found | None = None
