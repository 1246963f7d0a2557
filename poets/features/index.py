"""The index of a feature store: all columns but the bottlenecks, by row number.

    part-1   0 1 2 3     the rows of all parts, in the order in which these were read:
    part-2   4 5 6       of two rows for one image, the one of the newer part counts

A row takes 110 bytes, on disk if there are many (`data.columns`), where Python's
objects would take a thousand. The index of a million images is read repeatedly, by the
chief and by processes that look for pictures stored under another name.
"""

import functools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from poets.data.columns import BLOCK, Column, Texts
from poets.data.image_columns import Images

NONE = -1
"""Replaces the number of a row where there is none."""

HASH = np.uint64(0xFFFF_FFFF_0000_0000)
"""The bits of a path's hash in a key; the rest are the image's number."""

KEYS = pa.schema(
    {
        "path": pa.string(),
        "variant": pa.string(),
        "length": pa.int64(),
        "mtime_ns": pa.int64(),
        "digest": pa.binary(32),
        "error": pa.string(),
    }
)
"""The columns of a part, except the bottleneck."""

CONTENT_KEYS = pa.schema([KEYS.field(name) for name in ("variant", "digest", "error")])
"""The columns that show whether a content is known."""


class Index:
    """The rows of a store.

    Attributes:
      names: of the parts, in the order in which they were added.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self._starts = [0]
        self._variants: dict[str, int] = {}
        self._errors: dict[int, str] = {}
        self._paths = Texts()
        self._columns = {
            "variant": Column(np.int32),
            "length": Column(np.int64),
            "mtime_ns": Column(np.int64),
            "digest": Column("V32"),
            "failed": Column(bool),
        }

    def __len__(self) -> int:
        return self._starts[-1]

    def add(self, name: str, keys: pa.Table) -> None:
        """Adds the rows of a part, given its name and its columns.

        These are KEYS, or CONTENT_KEYS if only `with_content` is used. Raises
        StorageError if there are very many rows, and the disk is full.
        """
        first = len(self)
        self.names.append(name)
        self._starts.append(first + len(keys))
        for each in ("length", "mtime_ns"):
            if each in keys.column_names:
                self._columns[each].append(keys[each].to_numpy())
        if "path" in keys.column_names:
            self._paths.append(keys["path"].combine_chunks())
        for variant in keys["variant"].unique().to_pylist():
            self._variants.setdefault(variant, len(self._variants))
        known = pa.array(list(self._variants), pa.string())
        self._columns["variant"].append(pc.index_in(keys["variant"], known).to_numpy())
        digests = keys["digest"].combine_chunks()
        memory = np.frombuffer(digests.buffers()[1] or b"", "V32")
        self._columns["digest"].append(memory[digests.offset :][: len(keys)])
        failed = pc.is_valid(keys["error"]).to_numpy()
        self._columns["failed"].append(failed)
        for row in np.flatnonzero(failed).tolist():
            self._errors[first + row] = keys["error"][row].as_py()
        for stale in ("paths", "digests", "failed", "_codes", "_by_content"):
            self.__dict__.pop(stale, None)

    def fresh(self, images: Images, variant: str) -> np.ndarray:
        """Returns the rows of images whose length and time are unchanged.

        Returns:
          int64 [N]: the number of a row, or NONE.
        """
        found = np.full(len(images), NONE)
        if variant not in self._variants:
            return found
        keys = _keys(images.paths)
        for rows in self._oldest_first():
            rows = rows[self._codes[rows] == self._variants[variant]]
            paths = self.paths.take(pa.array(rows))
            wanted = _hashes(paths)
            places = np.searchsorted(keys, wanted)
            left = np.arange(len(rows))
            while len(left := left[places[left] < len(keys)]):
                left = left[keys[places[left]] & HASH == wanted[left]]
                at = (keys[places[left]] & ~HASH).astype(np.int64)
                theirs = images.paths.take(pa.array(at))
                same = np.asarray(pc.equal(theirs, paths.take(pa.array(left))), bool)
                found[at[same]] = rows[left[same]]
                places[left] += 1
        stored = [self._columns[name].array() for name in ("length", "mtime_ns")]
        for start in range(0, len(found), BLOCK):
            some = slice(start, start + BLOCK)
            rows = found[some]
            for column, own in zip(
                stored, (images.lengths, images.mtimes_ns), strict=True
            ):
                rows[column[rows] != own[some]] = NONE
        return found

    def with_content(self, digest: bytes, variant: str) -> int:
        """Returns a row with the bottleneck of a content, or NONE."""
        order, keys = self._by_content
        key = np.uint64(int.from_bytes(digest[:8], "big"))
        start = int(keys.searchsorted(key))
        if start == len(keys) or keys[start] != key:
            return NONE  # most pictures of a first pass
        end = int(keys.searchsorted(key, "right"))
        wanted = self._variants.get(variant)
        for row in order[start:end][::-1].tolist():
            if self.digests[row].tobytes() == digest and self._codes[row] == wanted:
                return row
        return NONE

    def errors(self, rows: np.ndarray) -> list[str | None]:
        """Returns why rows have no bottleneck; None for those that have one."""
        return list(map(self._errors.get, rows.tolist()))

    def by_part(self, rows: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yields each part that has some of N rows, given by their numbers, int [N].

        Yields:
          Its name, which of the N rows it has, and their positions in it.
        """
        in_order = bool((rows[1:] >= rows[:-1]).all())
        order = None if in_order else np.argsort(rows, kind="stable")
        ordered = rows if order is None else rows[order]
        bounds = np.searchsorted(ordered, self._starts).tolist()
        for name, start, *(first, last) in zip(
            self.names, self._starts, bounds, bounds[1:], strict=False
        ):
            if first < last:
                mine = np.arange(first, last) if order is None else order[first:last]
                yield name, mine, ordered[first:last] - start

    @functools.cached_property
    def paths(self) -> pa.Array:
        """The path of each row, large_string [R]."""
        return self._paths.array()

    @property
    def variants(self) -> list[str]:
        """The variant of each row."""
        return [list(self._variants)[code] for code in self._codes.tolist()]

    @functools.cached_property
    def digests(self) -> np.ndarray:
        """The content digests, 32 bytes each [R]; zeros for an unread file."""
        return self._columns["digest"].array()

    @functools.cached_property
    def failed(self) -> np.ndarray:
        """Whether a row has no bottleneck, bool [R]."""
        return self._columns["failed"].array()

    @functools.cached_property
    def _codes(self) -> np.ndarray:
        """The number of each row's variant, int32 [R]."""
        return self._columns["variant"].array()

    @functools.cached_property
    def _by_content(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows with a bottleneck by their digest's first 8 bytes, and these."""
        whole = np.flatnonzero(~self.failed)
        begins = self.digests[whole].view(">u8").reshape(-1, 4)[:, 0]
        order = np.argsort(begins, kind="stable")
        return whole[order], begins[order].astype(np.uint64)

    def _oldest_first(self) -> Iterator[np.ndarray]:
        """Yields the rows of all parts, some parts at a time, the newest last."""
        rows: list[np.ndarray] = []
        for part in sorted(range(len(self.names)), key=self.names.__getitem__):
            rows.append(np.arange(self._starts[part], self._starts[part + 1]))
            if sum(map(len, rows)) >= BLOCK:
                yield np.concatenate(rows)
                rows.clear()
        if rows:
            yield np.concatenate(rows)


def _hashes(paths: pa.Array) -> np.ndarray:
    """Returns a number for each path, uint64; another one in another process."""
    found = np.fromiter(map(hash, paths.to_pylist()), np.int64, len(paths))
    return found.view(np.uint64) & HASH


def _keys(paths: pa.Array) -> np.ndarray:
    """Returns the hash and, below it, the number of each path; ordered, uint64."""
    keys = np.empty(len(paths), np.uint64)
    for start in range(0, len(paths), BLOCK):
        hashes = _hashes(paths.slice(start, BLOCK))
        numbers = np.arange(start, start + len(hashes), dtype=np.uint64)
        keys[start : start + BLOCK] = hashes | numbers
    keys.sort()
    return keys
