"""The work plan that several workers share: numbered chunks, written by the chief.

    plan-9c1f-0.parquet      chunk 0: daisy/1.jpg, daisy/2.jpg, ...   of worker 0
                             chunk 1: ...                             of worker 1
                             chunk 2: ...                             of worker 0

It holds all that a worker needs, so that only the chief lists images, reads the index
of the store and imports TensorFlow. A part's name holds the plan's name and the chunk's
number: the listing of the store shows which chunks are done, by any worker.
"""

import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from poets.errors import StorageError
from poets.features.chunks import Chunk
from poets.features.pool import Part
from poets.features.process import Spec, task_of
from poets.features.store import part_stem
from poets.storage import exists, is_local, join, open_storage, read_url
from poets.storage.publish import write_atomically

SCHEMA = pa.schema(
    {
        "chunk": pa.int32(),
        "path": pa.string(),
        "length": pa.int64(),
        "mtime_ns": pa.int64(),
        "copies": pa.list_(pa.int32()),
        "expected": pa.string(),
        "place": pa.list_(pa.int64()),
    }
)
GROUP = 64
"""Chunks that are read together, a row group: some 16,000 images."""

MODEL = "model-"
_ABOUT = b"poets"
_PART = re.compile(r"part-(?P<number>\d+)-(?P<plan>[0-9a-z]+)(-[0-9a-f]{6})?\.\w+")


class WorkPlan:
    """Numbered chunks, as the bytes of a file: some are read when one is taken.

    Attributes:
      name: unique; letters and digits.
      spec: how they are computed; its model is a name in the job's folder.
      copies: the number of bottlenecks of each chunk.
    """

    def __init__(self, data: bytes) -> None:
        """Opens a plan; raises what pyarrow and json raise for other files."""
        self._data = data
        self._file = pq.ParquetFile(pa.BufferReader(data))
        about = json.loads(self._file.schema_arrow.metadata[_ABOUT])
        self.name: str = about["name"]
        self.spec = Spec.from_json(about["spec"])
        self._first_number: int = about["first_number"]
        self.copies: list[int] = []
        for group in range(self._file.num_row_groups):
            table = self._file.read_row_group(group, ["chunk", "copies"])
            copies = pc.list_value_length(table["copies"]).to_numpy()
            numbers = table["chunk"].to_numpy() - len(self.copies)
            self.copies += np.bincount(numbers, copies).astype(int).tolist()
        self._group = -1, pa.table([])

    @classmethod
    def of(
        cls, name: str, spec: Spec, first_number: int, chunks: Iterable[Chunk]
    ) -> "WorkPlan":
        """Returns the plan of one or more chunks, none empty.

        Its name is letters and digits; parts are numbered from `first_number`.
        """
        about = {"name": name, "spec": spec.to_json(), "first_number": first_number}
        schema = SCHEMA.with_metadata({_ABOUT: json.dumps(about)})
        sink = pa.BufferOutputStream()
        numbered = enumerate(chunks)
        with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            while some := list(itertools.islice(numbered, GROUP)):
                rows = [(number, *task) for number, chunk in some for task in chunk]
                columns = zip(zip(*rows, strict=True), schema, strict=True)
                arrays = [pa.array(column, field.type) for column, field in columns]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        return cls(sink.getvalue().to_pybytes())

    @classmethod
    def read(cls, url: str) -> "WorkPlan":
        """Returns the plan in a file.

        Raises:
          StorageError: if it cannot be read, or is not a plan.
        """
        try:
            return cls(read_url(url))
        except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
            raise StorageError(
                f"{url!r} is not a plan of this version of poets: {error}; give all "
                "workers the same version"
            ) from error

    def write(self, url: str) -> None:
        """Writes the file that `read` reads; raises StorageError if it cannot."""
        write_atomically(url, self._data)

    def __len__(self) -> int:
        return len(self.copies)

    def chunk(self, number: int) -> Chunk:
        """Returns the tasks of a chunk."""
        group, table = self._group
        if group != number // GROUP:
            group = number // GROUP
            table = self._file.read_row_group(group)
            self._group = group, table
        mine = table.filter(pc.equal(table["chunk"], number)).drop(["chunk"])
        rows = zip(*(column.to_pylist() for column in mine.columns), strict=True)
        return list(map(task_of, rows))

    def part(self, number: int) -> Part:
        """Returns a chunk with the name of its part."""
        return Part(self.stem(number), self.chunk(number), number, marks=True)

    def stem(self, number: int) -> str:
        """Returns the prefix of the name of a chunk's part."""
        return part_stem(self._first_number + number, self.name)

    def done(self, names: Iterable[str]) -> list[int]:
        """Returns the chunks of this plan among the names of a store's parts."""
        found = []
        for name in names:
            match = _PART.fullmatch(name)
            if match and match["plan"] == self.name:
                number = int(match["number"]) - self._first_number
                if 0 <= number < len(self):
                    found.append(number)
        return found


def offer_model(folder_url: str, path: str) -> str:
    """Copies a local model into the job's folder, for all workers; returns its name.

    Raises:
      StorageError: if it cannot be written.
    """
    with open(path, "rb") as file:
        data = file.read()
    digest = hashlib.sha256(data).hexdigest()[:12]
    name = f"{MODEL}{digest}{os.path.splitext(path)[1]}"
    url = join(folder_url, name)
    if not exists(url):
        write_atomically(url, data)
    return name


def fetch_model(folder_url: str, name: str, work_dir: str) -> str:
    """Returns the local path of a model that the chief offered under a name.

    A model that is not on this machine is copied to `work_dir`.

    Raises:
      StorageError: if it cannot be read.
    """
    url = join(folder_url, name)
    filesystem, path = open_storage(url)
    if is_local(filesystem):
        return path
    staged = os.path.join(work_dir, os.path.basename(name))
    if not os.path.exists(staged):
        data = read_url(url)
        with open(staged, "wb") as file:
            file.write(data)
    return staged
