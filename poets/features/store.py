"""The feature store: immutable Parquet parts under `bottleneck_dir`.

    bottleneck_dir/mobilenet_0.25_128-ddb3e9765ec0/      one folder per backbone digest
        part-17641520301234567890-4f2a9c.parquet         written beside, renamed

Parts are numbered; of two rows for one image, the later part's counts. A number is the
time of the planning machine, or follows the last part if a wrong clock wrote that.

A row is one image, or one distorted copy of it: path (relative to `image_dir`),
variant ("" for the image itself), length, mtime_ns, SHA-256 of the content, then the
bottleneck, or the reason why there is none. An image whose length and time are
unchanged is not read again. Pages carry checksums: a torn or corrupt part is logged and
set aside, and its images are computed again. If the storage does not answer, the run
stops; the part is not taken for damaged.

Parts never change, so the keys of each are read once, several parts at a time.
"""

import contextlib
import logging
import posixpath
import re
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from poets.errors import PoetsError, StorageError
from poets.features.index import KEYS, Index
from poets.features.matrix import empty_matrix
from poets.storage import is_local, join, open_storage, reason, rename, storage_errors
from poets.storage.publish import write_atomically
from poets.storage.reading import raise_outage

logger = logging.getLogger(__name__)

MAX_READS = 4
"""Parts that are read at once from a local disk; more gain nothing."""

MAX_READS_REMOTE = 16
"""Parts that are read at once from other storages: each takes several requests."""

AT_ONCE = 64
"""Parts whose keys are in memory at once."""

PART_SUFFIX = ".parquet"
MARK_SUFFIX = ".done"


class Row(NamedTuple):
    """One image's line in a part; `bottleneck` float32 [D], or None and an `error`."""

    path: str
    variant: str
    length: int
    mtime_ns: int
    digest: bytes
    error: str | None
    bottleneck: np.ndarray | None


class Store:
    """The parts of one backbone."""

    def __init__(self, url: str, bottleneck_size: int, keys: pa.Schema = KEYS) -> None:
        """Opens a store; its folder is created with the first part.

        Args:
          url: the store's folder, see `store_url`.
          bottleneck_size: D.
          keys: the columns of its index.
        """
        self.url = url
        self.bottleneck_size = bottleneck_size
        self._filesystem, self._path = open_storage(url)
        self._reads = MAX_READS if is_local(self._filesystem) else MAX_READS_REMOTE
        self._key_schema = keys
        self._index = Index()
        # Bytes: as a list, each float has levels of its own, decoded one by one.
        self._bottleneck = pa.field("bottleneck", pa.binary(4 * bottleneck_size))

    def next_number(self) -> int:
        """Returns a number higher than those of all parts of the last index read."""
        last = max(map(_number_of, self._index.names), default=0)
        return max(time.time_ns(), last + 1)

    def write_part(self, rows: Sequence[Row], stem: str = "") -> str:
        """Writes rows as a new part and returns its name.

        It begins with `stem`, or with that of the next number.

        Raises:
          StorageError: if it cannot be written.
        """
        stem = stem or part_stem(self.next_number())
        name = f"{stem}-{uuid.uuid4().hex[:6]}{PART_SUFFIX}"
        sink = pa.BufferOutputStream()
        pq.write_table(
            self._table(rows),
            sink,
            compression="none",  # float noise does not shrink
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )
        write_atomically(join(self.url, name), sink.getvalue().to_pybytes())
        return name

    def read_index(self) -> Index:
        """Returns the index of all whole parts; logs and sets aside corrupt ones.

        Raises:
          StorageError: if the store cannot be read.
        """
        names = [name for name in list_parts(self.url) if name.endswith(PART_SUFFIX)]
        if not names or set(self._index.names) - set(names):  # some were set aside
            self._index = Index()
        known = set(self._index.names)
        new = [name for name in names if name not in known]
        with ThreadPoolExecutor(self._reads) as threads:
            for start in range(0, len(new), AT_ONCE):
                some = new[start : start + AT_ONCE]
                for name, keys in zip(
                    some, threads.map(self._read_keys, some), strict=True
                ):
                    if keys:
                        self._index.add(name, keys)
        return self._index

    def read_bottlenecks(
        self, index: Index, rows: np.ndarray, into: np.ndarray | None = None
    ) -> np.ndarray:
        """Returns the bottlenecks of N rows.

        Args:
          index: as `read_index` returned it.
          rows: int [N], numbers of its rows.
          into: float32 [N, D] that is filled and returned; None makes a new one.

        Raises:
          CorruptPartError: if a part is damaged; it has been set aside.
          OSError: if the disk is full.
        """
        matrix = empty_matrix(len(rows), self.bottleneck_size) if into is None else into

        def fill(of_part: tuple[str, np.ndarray, np.ndarray]) -> None:
            name, mine, places = of_part
            try:
                table = self._read(name, pa.schema([self._bottleneck]))
                column = table.column(0).combine_chunks()
                values = np.frombuffer(column.buffers()[1] or b"", "<f4")
                part = values.reshape(-1, self.bottleneck_size)[column.offset :]
                matrix[mine] = part[places]
            except (OSError, pa.ArrowException, IndexError) as error:
                self._set_aside(name, error)
                raise CorruptPartError(
                    f"{name} in {self.url!r} is damaged; it was set aside"
                ) from error

        with ThreadPoolExecutor(self._reads) as threads:
            for _ in threads.map(fill, index.by_part(rows)):
                pass
        return matrix

    def _read_keys(self, name: str) -> pa.Table | None:
        """Returns the index columns of a part, None if it is damaged."""
        try:
            table = self._read(name, self._key_schema)
            table.validate(full=True)
            return table
        except (OSError, pa.ArrowException) as error:
            self._set_aside(name, error)
            return None

    def _table(self, rows: Sequence[Row]) -> pa.Table:
        matrix = np.zeros((len(rows), self.bottleneck_size), "<f4")
        for index, row in enumerate(rows):
            if row.bottleneck is not None:
                matrix[index] = row.bottleneck
        columns = [
            pa.array([row[position] for row in rows], field.type)
            for position, field in enumerate(KEYS)
        ]
        bottlenecks = pa.FixedSizeBinaryArray.from_buffers(
            self._bottleneck.type, len(rows), [None, pa.py_buffer(matrix)]
        )
        schema = KEYS.append(self._bottleneck)
        return pa.Table.from_arrays([*columns, bottlenecks], schema=schema)

    def _read(self, name: str, expected: pa.Schema) -> pa.Table:
        path = posixpath.join(self._path, name)
        with self._filesystem.open_input_file(path) as file:
            table = pq.read_table(
                file, columns=expected.names, page_checksum_verification=True
            )
        if table.schema.remove_metadata() != expected:
            raise pa.ArrowInvalid(f"columns {table.schema.names} of another store")
        return table

    def write_mark(self, stem: str) -> None:
        """Writes a mark of a part without rows; raises StorageError if it cannot."""
        write_atomically(join(self.url, f"{stem}{MARK_SUFFIX}"), b"")

    def _set_aside(self, name: str, error: Exception) -> None:
        # Parquet's decoding errors are OSErrors, too, but have no errno.
        if isinstance(error, OSError) and (
            error.errno or isinstance(error, PoetsError)
        ):
            raise_outage(error, join(self.url, name))
        logger.warning(
            "the part %s of the feature store %s is damaged (%s): its images are "
            "computed again",
            name,
            self.url,
            str(error).splitlines()[0],
        )
        path = posixpath.join(self._path, name)
        try:
            rename(self._filesystem, path, f"{path}.damaged", overwrite=True)
        except FileNotFoundError:
            return  # another process has set it aside
        except OSError as failure:
            raise StorageError(
                f"cannot set the damaged part {path!r} aside: {reason(failure)}; "
                "remove it by hand"
            ) from failure


class CorruptPartError(StorageError):
    """A part of the feature store is damaged; its images must be computed again."""


def list_parts(url: str) -> list[str]:
    """Lists the names of parts and marks, sorted; raises StorageError if it cannot."""
    filesystem, path = open_storage(url)
    selector = pyarrow.fs.FileSelector(path, allow_not_found=True)
    with storage_errors(f"read {url!r}"):
        infos = filesystem.get_file_info(selector)
    names = (info.base_name for info in infos)
    return sorted(
        name
        for name in names
        if name.startswith("part-") and name.endswith((PART_SUFFIX, MARK_SUFFIX))
    )


def remove_marks(url: str, plan: str) -> None:
    """Removes the marks of a plan; those that cannot be removed are harmless."""
    filesystem, path = open_storage(url)
    for name in list_parts(url):
        if name.endswith(f"-{plan}{MARK_SUFFIX}"):
            with contextlib.suppress(OSError):
                filesystem.delete_file(posixpath.join(path, name))


def part_stem(number: int, plan: str = "") -> str:
    """Returns the prefix of a part's name, from its number and its plan."""
    return f"part-{number:020d}" + (f"-{plan}" if plan else "")


def _number_of(name: str) -> int:
    digits = name.split("-")[1]
    return int(digits) if digits.isdecimal() else 0


def store_url(bottleneck_dir: str, backbone_name: str, digest: str) -> str:
    """Returns the folder of one backbone's parts."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", backbone_name).strip("-.")[-60:]
    return join(bottleneck_dir, f"{safe}-{digest[:12]}")
