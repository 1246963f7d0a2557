"""The work plan that several workers share: numbered chunks, written by the chief.

    plan-9c1f-0.parquet      chunk 0: daisy/1.jpg, daisy/2.jpg, ...   of worker 0
                             chunk 1: ...                             of worker 1
                             chunk 2: ...                             of worker 0

It holds all that a worker needs, so that only the chief lists images, reads the index
of the store and imports TensorFlow. A part's name holds the plan's name and the chunk's
number: the listing of the store shows which chunks are done, by any worker.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from poets.errors import StorageError
from poets.features.pool import Chunk, Part
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
MODEL = "model-"
_ABOUT = b"poets"
_PART = re.compile(r"part-(?P<number>\d+)-(?P<plan>[0-9a-z]+)(-[0-9a-f]{6})?\.\w+")


class WorkPlan:
    """Numbered chunks.

    Attributes:
      name: unique; letters and digits.
      spec: how they are computed; its model is a name in the job's folder.
      copies: the number of bottlenecks of each chunk.
    """

    def __init__(
        self, name: str, spec: Spec, first_number: int, table: pa.Table
    ) -> None:
        self.name = name
        self.spec = spec
        self._first_number = first_number
        self._table = table
        chunks = table["chunk"].to_numpy()
        starts = np.flatnonzero(np.diff(chunks, prepend=-1))
        copies = pc.list_value_length(table["copies"]).to_numpy()
        self.copies: list[int] = np.add.reduceat(copies, starts).tolist()
        self._starts: list[int] = [*starts.tolist(), len(chunks)]

    @classmethod
    def of(
        cls,
        name: str,
        spec: Spec,
        first_number: int,
        chunks: Sequence[Chunk],
    ) -> "WorkPlan":
        """Returns the plan of one or more chunks, none empty.

        Args:
          name: letters and digits.
          spec: how they are computed.
          first_number: the number of the first chunk's part.
          chunks: each is numbered by its position.
        """
        number, *fields = SCHEMA
        columns = [
            pa.array([task[position] for chunk in chunks for task in chunk], field.type)
            for position, field in enumerate(fields)
        ]
        numbers = np.repeat(np.arange(len(chunks)), [len(chunk) for chunk in chunks])
        columns.insert(0, pa.array(numbers, number.type))
        table = pa.Table.from_arrays(columns, schema=SCHEMA)
        return cls(name, spec, first_number, table)

    @classmethod
    def read(cls, url: str) -> "WorkPlan":
        """Returns the plan in a file.

        Raises:
          StorageError: if it cannot be read, or is not a plan.
        """
        try:
            table = pq.read_table(pa.BufferReader(read_url(url)))
            about = json.loads(table.schema.metadata[_ABOUT])
            spec = Spec.from_json(about.pop("spec"))
            return cls(table=table, spec=spec, **about)
        except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
            raise StorageError(
                f"{url!r} is not a plan of this version of poets: {error}; give all "
                "workers the same version"
            ) from error

    def write(self, url: str) -> None:
        """Writes the file that `read` reads.

        Raises:
          StorageError: if it cannot be written.
        """
        about: dict[str, Any] = {
            "name": self.name,
            "spec": self.spec.to_json(),
            "first_number": self._first_number,
        }
        sink = pa.BufferOutputStream()
        table = self._table.replace_schema_metadata({_ABOUT: json.dumps(about)})
        pq.write_table(table, sink, compression="zstd")
        write_atomically(url, sink.getvalue().to_pybytes())

    def __len__(self) -> int:
        return len(self.copies)

    def chunk(self, number: int) -> Chunk:
        """Returns the tasks of a chunk."""
        start, end = self._starts[number], self._starts[number + 1]
        columns = self._table.slice(start, end - start).drop(["chunk"]).columns
        rows = zip(*(column.to_pylist() for column in columns), strict=True)
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
    """Returns the local path of a model that the chief offered.

    Args:
      folder_url: the job's folder.
      name: as `offer_model` returned it.
      work_dir: a local folder for a copy of a model that is not on this machine.

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
