"""The index of a feature store: all columns but the bottlenecks, by row number.

    part-2   0 1 2 3     the rows of all parts, those of the newest part first:
    part-1   4 5 6       of two rows for one image, the one with the lower number counts

A row takes some 150 bytes, where Python objects would take a thousand. The index of a
million images is read repeatedly, by the chief and by processes that look for pictures
stored under another name.
"""

import functools
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from poets.data.image_columns import Images

NONE = -1
"""Replaces the number of a row where there is none."""

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
      table: the keys of all rows.
    """

    def __init__(self, parts: Mapping[str, pa.Table], keys: pa.Schema = KEYS) -> None:
        """Makes an index of the rows of each part.

        Args:
          parts: the keys of the rows, by the name of their part.
          keys: `KEYS`, or `CONTENT_KEYS` if only `with_content` is used.
        """
        self._names = sorted(parts, reverse=True)
        tables = [parts[name] for name in self._names]
        self.table: pa.Table = pa.concat_tables([keys.empty_table(), *tables])
        self._starts = np.cumsum([0, *(len(table) for table in tables)])

    def __len__(self) -> int:
        return len(self.table)

    def fresh(self, images: Images, variant: str) -> np.ndarray:
        """Returns the rows of images whose length and time are unchanged.

        Returns:
          int64 [N]: the number of a row, or NONE.
        """
        of_variant = pc.equal(self.table["variant"], variant)
        numbers = np.flatnonzero(of_variant.to_numpy())
        if not len(numbers) or not len(images):
            return np.full(len(images), NONE)
        paths = self.table["path"].filter(of_variant).cast(pa.large_string())
        found = pc.index_in(images.paths, value_set=paths)  # the first of several
        places = found.fill_null(NONE).to_numpy()
        rows = numbers[places]
        unchanged = (self._lengths[rows] == images.lengths) & (
            self._mtimes_ns[rows] == images.mtimes_ns
        )
        return np.where((places != NONE) & unchanged, rows, NONE)

    def with_content(self, digest: bytes, variant: str) -> int:
        """Returns a row with the bottleneck of a content, or NONE."""
        order, keys = self._by_content
        key = np.uint64(int.from_bytes(digest[:8], "big"))
        start, end = (np.searchsorted(keys, key, side) for side in ("left", "right"))
        for row in order[start:end].tolist():
            found = self.table["variant"][row].as_py()
            if self.digests[row].tobytes() == digest and found == variant:
                return row
        return NONE

    def errors(self, rows: np.ndarray) -> list[str | None]:
        """Returns why rows have no bottleneck; None for those that have one."""
        return self.table["error"].take(pa.array(rows)).to_pylist()

    def by_part(self, rows: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yields each part that has some of the rows.

        Args:
          rows: int [N], numbers of rows.

        Yields:
          Its name, which of the N rows it has, and their positions in it.
        """
        order = np.argsort(rows, kind="stable")
        bounds = np.searchsorted(rows[order], self._starts)
        for name, start, *(first, last) in zip(
            self._names, self._starts, bounds, bounds[1:], strict=False
        ):
            if first < last:
                mine = order[first:last]
                yield name, mine, rows[mine] - start

    @functools.cached_property
    def digests(self) -> np.ndarray:
        """The content digests, 32 bytes each [R]; zeros for an unread file."""
        whole = self.table["digest"].combine_chunks()
        memory = np.frombuffer(whole.buffers()[1] or b"", "V32")
        return memory[whole.offset : whole.offset + len(whole)]

    @functools.cached_property
    def failed(self) -> np.ndarray:
        """Whether a row has no bottleneck, bool [R]."""
        return pc.is_valid(self.table["error"]).to_numpy()

    @functools.cached_property
    def _lengths(self) -> np.ndarray:
        return self.table["length"].to_numpy()

    @functools.cached_property
    def _mtimes_ns(self) -> np.ndarray:
        return self.table["mtime_ns"].to_numpy()

    @functools.cached_property
    def _by_content(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows with a bottleneck by their digest's first 8 bytes, and these."""
        whole = np.flatnonzero(~self.failed)
        begins = self.digests[whole].view(">u8").reshape(-1, 4)[:, 0]
        order = np.argsort(begins, kind="stable")
        return whole[order], begins[order].astype(np.uint64)
