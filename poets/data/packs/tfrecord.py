"""Packs as TFRecord files of tf.train.Example, read without TensorFlow.

    record     length uint64, CRC, Example, CRC      little endian, masked CRC-32C
    Example    image/encoded, image/filename, image/class/label, image/class/text

TFDS has `image`, `label`, `image/filename`. The protocol buffers are read by hand:
Example 1: Features; Features 1: map<string, Feature>; Feature 1: BytesList,
3: Int64List (tensorflow/core/example/feature.proto).
"""

import io
import struct
from collections.abc import Iterator, Mapping, Sequence

import google_crc32c
import pyarrow as pa

from poets.data.image_files import ImageError
from poets.data.packs import BLOCK_BYTES, Member, PackError, damage, span
from poets.storage.tree import Place

HEADER = struct.Struct("<QI")  # a record's length, and the CRC of these 8 bytes
CRC = struct.Struct("<I")
MAX_RECORD = 2**28 + 2**20
"""Bytes of the longest record: a picture of `images.MAX_BYTES`, and its features."""

PICTURES = (b"image/encoded", b"image")
LABELS = (b"image/class/text", b"image/class/label", b"label")
NAMES = (b"image/filename", b"filename")

Value = bytes | int


class Reader:
    """A TFRecord file, see `poets.data.packs.Reader`."""

    ours = False

    def __init__(self, file: pa.NativeFile, name: str) -> None:
        self._file, self._size = file, file.size()

    def members(self) -> Iterator[Member]:
        """Yields the pictures; a record with a wrong CRC is a problem of its own."""
        stream = io.BufferedReader(self._file, BLOCK_BYTES)
        stream.seek(0)
        if not self._size:
            raise PackError("it is empty")
        start, row = 0, 0
        while header := stream.read(HEADER.size):
            data = self._record(header, stream, row)
            size = len(data) + HEADER.size
            problem, label, name, length = "", "", "", 0
            try:
                features = _features(_checked(data))
                length = len(_picture(features))
                label, name = _label(features), _text(_first(features, NAMES, b""))
            except PackError as error:
                problem = f"record {row:,}: {error}"
            block = start // BLOCK_BYTES
            yield Member(name, label, length, 0, block, start, size, problem)
            start, row = start + size, row + 1

    def read(self, places: Sequence[Place]) -> Iterator[bytes | ImageError]:
        data = span(self._file, places)
        for _, _, start, size in places:
            begin = start - places[0].start + HEADER.size
            end = begin + size - HEADER.size
            try:
                yield _picture(_features(_checked(data[begin:end])))
            except PackError as error:
                yield ImageError(str(error))

    def _record(self, header: bytes, stream: io.BufferedReader, row: int) -> bytes:
        """Returns the rest of a record; raises PackError if there is none."""
        if len(header) == HEADER.size:
            length, crc = HEADER.unpack(header)
            if _masked_crc(header[:8]) != crc:
                raise PackError(f"record {row:,}: wrong CRC of its length")
            if length > MAX_RECORD:
                raise PackError(f"record {row:,} has {length:,} bytes: not pictures")
            data = stream.read(length + CRC.size)
            if len(data) == length + CRC.size:
                return data
        raise PackError(f"it ends within record {row:,}: it is cut short")


def _checked(data: bytes) -> memoryview:
    """Returns a record's Example; raises PackError for a wrong CRC."""
    example = memoryview(data)[: -CRC.size]
    if len(data) < CRC.size or _masked_crc(example) != CRC.unpack(data[-CRC.size :])[0]:
        raise PackError("wrong CRC")
    return example


def _masked_crc(data: bytes | memoryview) -> int:
    crc = google_crc32c.value(bytes(data))
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _features(example: memoryview) -> dict[bytes, Value]:
    """Returns the first value of each feature with bytes or integers."""
    found: dict[bytes, Value] = {}
    with damage():
        for entry in _fields(example, 1, 1):
            name = b"".join(map(bytes, _fields(entry, 1)))
            for feature in _fields(entry, 2):
                for value in _fields(feature, 1, 1)[:1]:
                    found.setdefault(name, bytes(value))
                for value in _fields(feature, 3, 1)[:1]:  # packed, as all writers do
                    found.setdefault(name, _signed(_varint(value, 0)[0]))
    return found


def _fields(message: memoryview, wanted: int, *below: int) -> list[memoryview]:
    """Returns the fields of a number in a message, or those `below` them."""
    found = []
    at, size = 0, len(message)
    while at < size:
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        begin = at
        if kind == 2:
            length, begin = _varint(message, at)
            at = begin + length
        elif kind == 0:
            _, at = _varint(message, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise PackError("not a tf.train.Example")
        if at > size:
            raise PackError("not a tf.train.Example")
        if number == wanted and kind in (0, 2):
            field = message[begin:at]
            found += _fields(field, *below) if below else [field]
    return found


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    if at < len(message) and message[at] < 128:  # keys and most lengths
        return message[at], at + 1
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise PackError("not a tf.train.Example")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _first(
    features: Mapping[bytes, Value], names: Sequence[bytes], default: Value
) -> Value:
    return next((features[name] for name in names if name in features), default)


def _picture(features: Mapping[bytes, Value]) -> bytes:
    found = _first(features, PICTURES, b"")
    if not isinstance(found, bytes) or not found:
        raise PackError("no picture in image/encoded or image")
    return found


def _label(features: Mapping[bytes, Value]) -> str:
    found = _first(features, LABELS, b"")
    text = _text(found) if isinstance(found, bytes) else str(found)
    if not text or found == -1:
        raise PackError(f"no label in {', '.join(name.decode() for name in LABELS)}")
    return text


def _text(value: Value) -> str:
    try:
        return value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        raise PackError("a label or a name that is not UTF-8") from None
