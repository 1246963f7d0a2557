"""Packs as Parquet files, in the image layout of Hugging Face datasets.

    image    struct<bytes: binary, path: string>, or binary
    label    number of a ClassLabel with its names in the schema's metadata, or text

Packs of `poets pack` also have the length, the time, the SHA-256 and the CRC-32C of
each picture, and row groups of some megabytes. A row group is a block: of the row
groups of others only the pages up to the wanted rows are read.

All pages of our packs have checksums as well. Those of pictures are compared only where
there is no CRC-32C: processors have an instruction for it, and a picture of 60 kB takes
3 us instead of 14.
"""

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import google_crc32c
import pyarrow as pa
import pyarrow.parquet as pq

from poets.data.image_files import ImageError
from poets.data.packs import (
    BLOCK_BYTES,
    COMPRESSION,
    OURS,
    Member,
    PackError,
    Picture,
    damage,
)
from poets.storage.tree import Place

IMAGES = ("image", "img", "picture", "photo")
LABELS = ("label", "labels", "class", "category")
ROWS = 64
"""Rows that are unpacked at once."""

MAX_ROWS = 256
"""Rows of our row groups: a chunk of the work."""

CRC = "crc32c"
"""Column with the CRC-32C of each picture (RFC 3720)."""

SCHEMA = pa.schema(
    {
        "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
        "label": pa.int64(),
        "length": pa.int64(),
        "mtime_ns": pa.int64(),
        "sha256": pa.binary(32),
        CRC: pa.uint32(),
    }
)
"""The columns of our packs."""


class Reader:
    """A Parquet file, see `poets.data.packs.Reader`."""

    def __init__(self, file: pa.NativeFile, name: str) -> None:
        with damage():
            metadata = pq.read_metadata(file)
            schema: pa.Schema = metadata.schema.to_arrow_schema()
            self.ours = OURS.encode() in (schema.metadata or {})
            self._has_crc = self.ours and CRC in schema.names
            self._open = functools.partial(
                pq.ParquetFile,
                file,
                metadata=metadata,
                # Row groups of ours are read whole, without a copy; others may be huge.
                buffer_size=0 if self.ours else BLOCK_BYTES,
                pre_buffer=False,
            )
            self._pictures = self._open(page_checksum_verification=not self._has_crc)
            features = _features(schema)
            self._image = _image_column(schema, features)
            self._label = _label_column(schema, features)
            names = features.get(self._label, {}).get("names")
            self._names = names if isinstance(names, list) else None
            kind = schema.field(self._image).type
            parts = [part.name for part in kind] if pa.types.is_struct(kind) else []
            self._path = f"{self._image}.path" if "path" in parts else ""
            self._bytes = f"{self._image}.bytes" if parts else self._image

    def members(self) -> Iterator[Member]:
        """Yields the rows; the pictures are not read."""
        columns = [name for name in (self._label, self._path) if name]
        columns += ["length", "mtime_ns"] if self.ours else []
        with damage():
            file = self._open(page_checksum_verification=True)
            for block in range(file.num_row_groups):
                _check_bomb(file.metadata.row_group(block), block)
                table = file.read_row_group(block, columns)
                yield from self._rows(table, block)

    def read(self, places: Sequence[Place]) -> Iterator[bytes | ImageError]:
        block = places[0].block
        columns = [self._bytes, CRC] if self._has_crc else [self._bytes]
        batches = self._pictures.iter_batches(ROWS, [block], columns, use_threads=False)
        first = end = 0  # rows of the current batch
        with damage():
            for place in places:
                while place.start >= end:
                    batch = next(batches, None)
                    if batch is None:
                        raise PackError(f"row group {block} has {end} rows")
                    first, end = end, end + len(batch)
                    images = batch[self._image]
                    if pa.types.is_struct(images.type):
                        (images,) = images.flatten()
                    crcs = batch[CRC].to_pylist() if self._has_crc else None
                row = place.start - first
                data = images[row].as_py()
                if data is None or crcs and google_crc32c.value(data) != crcs[row]:
                    why = "a row without a picture" if data is None else "wrong CRC"
                    where = f"row {place.start:,} of row group {block}"
                    data = ImageError(f"{where}: {why}")
                yield data

    def _rows(self, table: pa.Table, block: int) -> Iterator[Member]:
        def values(column: str, known: bool, default: Any = None) -> Sequence[Any]:
            return table[column].to_pylist() if known else [default] * len(table)

        images = values(self._image, bool(self._path))
        labels = values(self._label, bool(self._label))
        lengths = values("length", self.ours, 0)
        times = values("mtime_ns", self.ours, 0)
        columns = zip(images, labels, lengths, times, strict=True)
        for row, (image, value, length, mtime_ns) in enumerate(columns):
            name = (image.get("path") if image else None) or ""
            label: str | None = None  # its folder
            problem = ""
            if self._label or "/" not in name:
                label, problem = _text_of(value, self._names)
            if problem:
                problem = f"row {row:,} of row group {block}: {problem}"
            yield Member(name, label, length, mtime_ns, block, row, length, problem)


def write(
    sink: pa.NativeFile, pictures: Iterable[Picture], labels: Sequence[str]
) -> None:
    """Writes a Parquet file, see `poets.data.packs.Writer`."""
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(labels), "_type": "ClassLabel"},
        "length": {"dtype": "int64", "_type": "Value"},
        "mtime_ns": {"dtype": "int64", "_type": "Value"},
        "sha256": {"dtype": "binary", "_type": "Value"},
        CRC: {"dtype": "uint32", "_type": "Value"},
    }
    schema = SCHEMA.with_metadata(
        {OURS: "1", "huggingface": json.dumps({"info": {"features": features}})}
    )
    numbers = {label: number for number, label in enumerate(labels)}
    with pq.ParquetWriter(
        sink,
        schema,
        compression="none",  # pictures do not shrink
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
        data_page_size=16 * BLOCK_BYTES,  # one page for the pictures of a row group
    ) as writer:
        rows: list[dict[str, Any]] = []
        for path, label, mtime_ns, data in pictures:
            rows.append(
                {
                    "image": {"bytes": data, "path": path},
                    "label": numbers[label],
                    "length": len(data),
                    "mtime_ns": mtime_ns,
                    "sha256": hashlib.sha256(data).digest(),
                    CRC: google_crc32c.value(data),
                }
            )
            full = sum(row["length"] for row in rows) >= BLOCK_BYTES
            if full or len(rows) == MAX_ROWS:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows.clear()
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Returns the features that `datasets` notes in the schema's metadata."""
    text = (schema.metadata or {}).get(b"huggingface", b"{}")
    found = json.loads(text).get("info", {}).get("features", {})
    if not isinstance(found, dict):
        return {}
    return {name: each for name, each in found.items() if isinstance(each, dict)}


def _of_type(features: dict[str, Any], type_: str) -> list[str]:
    return [name for name, each in features.items() if each.get("_type") == type_]


def _image_column(schema: pa.Schema, features: dict[str, Any]) -> str:
    for name in (*_of_type(features, "Image"), *IMAGES):
        if (number := schema.get_field_index(name)) >= 0:
            kind = schema.field(number).type
            if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
                kind = kind.field("bytes").type
            if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                return name
    raise PackError(
        f"no column with pictures among {', '.join(schema.names[:10])}: name it image, "
        "struct<bytes: binary, path: string> or binary"
    )


def _label_column(schema: pa.Schema, features: dict[str, Any]) -> str:
    """Returns the name of the column with the labels, or ""."""
    known = (*LABELS, *_of_type(features, "ClassLabel"))
    return next((name for name in known if name in schema.names), "")


def _text_of(value: Any, names: Sequence[str] | None) -> tuple[str, str]:
    """Returns a label's name, or what is wrong with it."""
    if value is None or value == "":
        return "", "no label"
    if names is None or isinstance(value, str):
        return str(value), ""
    if isinstance(value, int) and 0 <= value < len(names):
        return str(names[value]), ""
    return "", f"label {value} is none of the {len(names)} of its ClassLabel"


def _check_bomb(group: pq.RowGroupMetaData, block: int) -> None:
    """Raises PackError if a row group grows more than pictures can."""
    for number in range(group.num_columns):
        column = group.column(number)
        small, large = column.total_compressed_size, column.total_uncompressed_size
        if large > 16 * BLOCK_BYTES + COMPRESSION * small:
            raise PackError(
                f"row group {block} would grow from {small:,} to {large:,} bytes: a "
                "decompression bomb"
            )
