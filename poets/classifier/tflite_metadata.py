"""Reads and writes TFLite Metadata: a `.tflite` file's pixel scaling and labels.

    model, with a buffer called TFLITE_METADATA
        └─ ModelMetadata ─ SubGraphMetadata ┬─ input: an image, (pixel - mean) / std
                                            └─ output: scores, named by labels.txt
    a ZIP with labels.txt, appended

Interpreters ignore the metadata; MediaPipe, ML Kit and Android's libraries read it. No
dependency includes its schema (`metadata_schema.fbs` 1.5.0 of MediaPipe), so this
module lists the fields that it uses.
"""

import contextlib
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from flatbuffers import Builder
from flatbuffers.number_types import Int8Flags, UOffsetTFlags
from flatbuffers.table import Table

from poets.errors import ModelError
from poets.features.engines import Normalization

FIELDS = {  # table -> its fields in schema order, up to the last one used
    "Model": ("version", "operator_codes", "subgraphs", "description", "buffers",
              "metadata_buffer", "metadata"),
    "Metadata": ("name", "buffer"),
    "Buffer": ("data",),
    "ModelMetadata": ("name", "description", "version", "subgraph_metadata", "author",
                      "license", "associated_files", "min_parser_version"),
    "SubGraphMetadata": ("name", "description", "input_tensor_metadata",
                         "output_tensor_metadata"),
    "TensorMetadata": ("name", "description", "dimension_names", "content",
                       "process_units", "stats", "associated_files"),
    "Content": ("content_properties_type", "content_properties"),
    "ImageProperties": ("color_space",),
    "ProcessUnit": ("options_type", "options"),
    "NormalizationOptions": ("mean", "std"),
    "AssociatedFile": ("name", "description", "type"),
}  # fmt: skip
IMAGE, RGB, NORMALIZATION, AXIS_LABELS = 2, 1, 1, 2
"""Enum values: ImageProperties, RGB, NormalizationOptions, TENSOR_AXIS_LABELS."""

ENTRY_NAME = b"TFLITE_METADATA"
MODEL_MARK, METADATA_MARK = b"TFL3", b"M001"
LABELS_NAME = "labels.txt"
MAX_LABELS_BYTES = 2**24

DAMAGE = (
    struct.error,
    TypeError,
    ValueError,
    LookupError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    RuntimeError,
)
"""The exceptions that reading a damaged FlatBuffer or ZIP can raise."""


def add_metadata(
    model: bytes, labels: Sequence[str], normalization: Normalization
) -> bytes:
    """Returns an image classifier with metadata and labels inside.

    Args:
      model: content of a `.tflite`, float32 [N, S, S, 3] to scores [N, L].
      labels: L labels, in the order of the scores.
      normalization: how clients scale pixels of 0..255 for the model.
    """
    from ai_edge_litert import schema_py_generated as schema  # takes 0.06 s

    tree = schema.ModelT.InitFromPackedBuf(model)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(_metadata_of(normalization), np.uint8)
    entry.name, entry.buffer = ENTRY_NAME, len(tree.buffers)
    tree.buffers.append(buffer)
    tree.metadata = [*(tree.metadata or ()), entry]
    builder = Builder(len(model))
    builder.Finish(tree.Pack(builder), MODEL_MARK)
    file = io.BytesIO(builder.Output())
    with zipfile.ZipFile(file, "a") as archive:
        text = "".join(f"{label}\n" for label in labels)
        archive.writestr(zipfile.ZipInfo(LABELS_NAME), text)  # stored, dated 1980
    return file.getvalue()


def read_normalization(model: bytes, source: str) -> Normalization | None:
    """Returns the normalization in a `.tflite`'s metadata, or None.

    Raises:
      ModelError: if the metadata is damaged.
    """
    with _damage_named(source):
        for tensor in _tensors(model, "input_tensor_metadata"):
            for unit in tensor.tables("process_units", "ProcessUnit"):
                if unit.number("options_type", Int8Flags) == NORMALIZATION:
                    found = unit.table("options", "NormalizationOptions")
                    return Normalization(found.floats("mean"), found.floats("std"))
    return None


def read_labels_file(model: bytes, source: str) -> bytes | None:
    """Returns the labels file inside a `.tflite`, or None.

    Raises:
      ModelError: if the metadata or the labels file is damaged.
    """
    with _damage_named(source):
        for tensor in _tensors(model, "output_tensor_metadata"):
            for file in tensor.tables("associated_files", "AssociatedFile"):
                if file.number("type", Int8Flags) == AXIS_LABELS:
                    return _packed(model, file.block("name").decode())
    return None


def _packed(model: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(model)) as archive:
        size = archive.getinfo(name).file_size
        if size > MAX_LABELS_BYTES:
            raise ValueError(f"{name} has {size} bytes, too many for labels")
        return archive.read(name)


@contextlib.contextmanager
def _damage_named(source: str) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        raise ModelError(
            f"cannot read the TFLite metadata of {source!r}: {error}; fetch the file "
            "again, or give --labels, --input_mean and --input_std"
        ) from error


class _Reader:
    """A table in a FlatBuffer; absent fields read as 0 or empty."""

    def __init__(self, data: bytes, position: int, kind: str) -> None:
        self._data, self._fields = data, FIELDS[kind]
        self._table = Table(data, position)

    @classmethod
    def of_root(cls, data: bytes, kind: str) -> "_Reader":
        """Returns the outermost table of a FlatBuffer."""
        return cls(data, Table(data, 0).Indirect(0), kind)

    def number(self, name: str, flags: Any) -> int:
        """Returns a number whose type is given by FlatBuffers' `flags`."""
        place = self._place(name)
        return int(self._table.Get(flags, place)) if place else 0

    def table(self, name: str, kind: str) -> "_Reader":
        """Returns a table; the field must be present."""
        return _Reader(self._data, self._table.Indirect(self._place(name)), kind)

    def tables(self, name: str, kind: str) -> list["_Reader"]:
        """Returns the tables of a vector."""
        start, count = self._vector(name)
        places = range(start, start + 4 * count, 4)
        return [_Reader(self._data, self._table.Indirect(at), kind) for at in places]

    def block(self, name: str) -> bytes:
        """Returns a string or a vector of bytes."""
        start, count = self._vector(name)
        return self._data[start : start + count]

    def floats(self, name: str) -> list[float]:
        """Returns a vector of float32."""
        start, count = self._vector(name)
        return list(struct.unpack_from(f"<{count}f", self._data, start))

    def _vector(self, name: str) -> tuple[int, int]:
        """Returns the start and the number of elements of a vector."""
        place = self._place(name)
        if not place:
            return 0, 0
        start = self._table.Indirect(place)
        return start + 4, self._table.Get(UOffsetTFlags, start)

    def _place(self, name: str) -> int:
        offset = self._table.Offset(4 + 2 * self._fields.index(name))
        return self._table.Pos + offset if offset else 0


def _tensors(model: bytes, which: str) -> list[_Reader]:
    """Returns the metadata of a model's inputs or outputs."""
    if model[4:8] != MODEL_MARK:
        return []
    root = _Reader.of_root(model, "Model")
    for entry in root.tables("metadata", "Metadata"):
        if entry.block("name") == ENTRY_NAME:
            buffers = root.tables("buffers", "Buffer")
            data = buffers[entry.number("buffer", UOffsetTFlags)].block("data")
            if data[4:8] != METADATA_MARK:
                raise ValueError(f"it is marked {data[4:8]!r}, not {METADATA_MARK!r}")
            described = _Reader.of_root(data, "ModelMetadata")
            graphs = described.tables("subgraph_metadata", "SubGraphMetadata")
            return graphs[0].tables(which, "TensorMetadata") if graphs else []
    return []


def _metadata_of(normalization: Normalization) -> bytes:
    """Returns the metadata of an image classifier."""
    mean, std = (
        np.asarray(values, np.float32)
        for values in (normalization.mean, normalization.std)
    )
    options = ("NormalizationOptions", {"mean": mean, "std": std})
    unit = ("ProcessUnit", {"options_type": NORMALIZATION, "options": options})
    colours = ("ImageProperties", {"color_space": RGB})
    content = {"content_properties_type": IMAGE, "content_properties": colours}
    image = {
        "name": "image",
        "description": "An RGB picture; each pixel of 0 to 255 as the normalization "
        "says.",
        "content": ("Content", content),
        "process_units": [unit],
    }
    labels = {
        "name": LABELS_NAME,
        "description": "One label a line, in the order of the scores.",
        "type": AXIS_LABELS,
    }
    scores = {
        "name": "score",
        "description": "One score of 0 to 1 for each label; their sum is 1.",
        "associated_files": [("AssociatedFile", labels)],
    }
    graph = {
        "input_tensor_metadata": [("TensorMetadata", image)],
        "output_tensor_metadata": [("TensorMetadata", scores)],
    }
    model = {
        "name": "image classifier",
        "description": "Scores the labels of a picture. Retrained by poets.",
        "subgraph_metadata": [("SubGraphMetadata", graph)],
        "min_parser_version": "1.0.0",
    }
    builder = Builder()
    builder.Finish(_write(builder, ("ModelMetadata", model)), METADATA_MARK)
    return bytes(builder.Output())


def _write(builder: Builder, value: Any) -> int:
    """Adds a value to a FlatBuffer and returns its offset.

    Args:
      builder: of the buffer.
      value: a string, an array of float32, a table or a list of tables. A table is a
        key of `FIELDS` with its fields; an int is an enum's.
    """
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    if isinstance(value, list):
        tables = [_write(builder, each) for each in value]
        builder.StartVector(4, len(tables), 4)
        for table in reversed(tables):
            builder.PrependUOffsetTRelative(table)
        return builder.EndVector()
    kind, fields = value
    enums = {name: each for name, each in fields.items() if isinstance(each, int)}
    offsets = {
        name: _write(builder, each)
        for name, each in fields.items()
        if name not in enums
    }
    builder.StartObject(len(FIELDS[kind]))
    for name, each in enums.items():
        builder.PrependInt8Slot(FIELDS[kind].index(name), each, 0)
    for name, each in offsets.items():
        builder.PrependUOffsetTRelativeSlot(FIELDS[kind].index(name), each, 0)
    return builder.EndObject()
