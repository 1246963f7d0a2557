"""Packs as tar files: labelled folders, and WebDataset.

    flower_photos/daisy/1.jpg        the folder is the label
    000017.jpg  000017.cls           WebDataset: another file of a key has the label

A `.tar.gz` has no index: each process reads it once from its start.
"""

import gzip
import io
import itertools
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from poets.data.image_files import ImageError, is_image_name
from poets.data.packs import (
    BLOCK_BYTES,
    COMPRESSION,
    OURS,
    Member,
    PackError,
    Picture,
    damage,
    span,
)
from poets.storage.tree import Place

MAX_HEADER = 2**20
"""Bytes of a long name or another extended header."""

LABEL_FILES = ("cls", "json", "txt")
"""Suffixes of WebDataset's files with a label, the surest first."""

MAX_LABEL = 4096
"""Bytes of such a file that are read."""


class Reader:
    """A tar, see `poets.data.packs.Reader`."""

    def __init__(self, file: pa.NativeFile, name: str) -> None:
        self.ours = False
        self._file, self._size = file, file.size()
        self._is_compressed = name.lower().endswith("gz")
        self._limit = self._size
        self._stream: Any = io.BufferedReader(file, BLOCK_BYTES)
        if self._is_compressed:
            self._limit = 16 * BLOCK_BYTES + COMPRESSION * self._size
            self._stream = gzip.GzipFile(fileobj=self._stream)

    def members(self) -> Iterator[Member]:
        """Yields the files; WebDataset's files with labels are not listed."""
        with damage():
            stream = _Headers(self._stream)
            with tarfile.open(fileobj=stream, mode="r:") as tar:  # type: ignore[call-overload]
                self.ours = OURS in tar.pax_headers
                infos = self._checked(tar)
                for _, sample in itertools.groupby(infos, lambda i: _key(i.name)[0]):
                    yield from self._sample(list(sample))

    def read(self, places: Sequence[Place]) -> Iterator[bytes | ImageError]:
        data = span(self._stream if self._is_compressed else self._file, places)
        for _, _, start, size in places:
            begin = start - places[0].start
            found = data[begin : begin + size]
            yield found if len(found) == size else ImageError("the pack ends before it")

    def _checked(self, tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
        """Yields the files; raises PackError for a bomb or if the end is missing."""
        for info in tar:
            if info.offset_data + info.size > self._limit:
                why = f", and the pack has {self._size:,}: it is cut short"
                if self._is_compressed:
                    why = ": a decompression bomb"
                end = info.offset_data + info.size
                raise PackError(f"{info.name!r} would end at byte {end:,}{why}")
            tar.members = []  # type: ignore[attr-defined]  # a million take 1 GB
            if not info.isdir():
                yield info
        self._stream.seek(tar.offset)
        if not self._stream.read(1):
            raise PackError("it has no end mark: it is cut short")

    def _sample(self, infos: Sequence[tarfile.TarInfo]) -> Iterator[Member]:
        """Yields the files of one key, with the label that one of them gives."""
        label, problem = None, ""
        pictures = infos
        if len(infos) > 1 and any(is_image_name(info.name) for info in infos):
            by_suffix = {_key(info.name)[1]: info for info in infos}
            found = [by_suffix[name] for name in LABEL_FILES if name in by_suffix]
            pictures = [info for info in infos if info not in found]
            for info in found:
                label, problem = self._label(info)
                if label:
                    break
        for info in pictures:
            what = "" if label else problem
            if not info.isfile():
                what = "a link, a device or another special file, not a picture"
            start, size = info.offset_data, info.size
            mtime_ns = _mtime_ns(info) if self.ours else 0
            block = start // BLOCK_BYTES
            yield Member(info.name, label, size, mtime_ns, block, start, size, what)

    def _label(self, info: tarfile.TarInfo) -> tuple[str | None, str]:
        """Returns the label in a file, or what is wrong with the file."""
        self._stream.seek(info.offset_data)
        data = self._stream.read(min(info.size, MAX_LABEL))
        try:
            text = data.decode().strip()
            if info.name.endswith(".json"):
                found = json.loads(text)
                text = next(
                    str(found[name])
                    for name in ("label", "cls", "class")
                    if found.get(name) is not None
                )
        except (ValueError, StopIteration, AttributeError):
            text = ""
        if not text or "\n" in text:
            return None, f"no label in {info.name!r}"
        return text, ""


class _Headers:
    """A tar's stream for `tarfile`, which reads headers of any claimed length."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell
        stream.seek(0)

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER:
            raise PackError(f"a header of {size:,} bytes")
        data: bytes = self._stream.read(size)
        return data


def write(
    sink: pa.NativeFile, pictures: Iterable[Picture], labels: Sequence[str]
) -> None:
    """Writes a tar, see `poets.data.packs.Writer`; paths have the labels."""
    with tarfile.open(
        fileobj=sink, mode="w", format=tarfile.PAX_FORMAT, pax_headers={OURS: "1"}
    ) as tar:
        for path, _, mtime_ns, data in pictures:
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(data), 0o644
            seconds, rest = divmod(mtime_ns, 1_000_000_000)
            info.mtime = seconds
            if rest:
                info.pax_headers = {"mtime": f"{seconds}.{rest:09d}"}
            tar.addfile(info, io.BytesIO(data))


def _mtime_ns(info: tarfile.TarInfo) -> int:
    """Returns the time of a file; as a float it would lose some 100 ns."""
    seconds, _, rest = info.pax_headers.get("mtime", str(info.mtime)).partition(".")
    return int(seconds) * 1_000_000_000 + int(rest.ljust(9, "0")[:9])


def _key(name: str) -> tuple[str, str]:
    """Returns WebDataset's key and suffix of a name: up to the first dot, and after."""
    folder, slash, base = name.rpartition("/")
    stem, _, suffix = base.partition(".")
    return f"{folder}{slash}{stem}", suffix.lower()
