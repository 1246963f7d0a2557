"""Packs as zip files of labelled folders.

    flower_photos/daisy/1.jpg      the folder is the label

The directory at the end names the members; each is read with its own header, and its
checksum is compared.
"""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence

import pyarrow as pa

from poets.data.image_files import ImageError
from poets.data.packs import BLOCK_BYTES, Member, PackError, damage, span
from poets.storage.tree import Place

HEADER = struct.Struct("<4s5H3I2H")
"""Signature, version, flags, method, time, date, CRC-32, two sizes, two lengths."""

ENCRYPTED, STREAMED = 1, 8  # bits of the flags


class Reader:
    """A zip file, see `poets.data.packs.Reader`."""

    ours = False

    def __init__(self, file: pa.NativeFile, name: str) -> None:
        self._file = file
        try:
            with damage():
                self._zip = zipfile.ZipFile(io.BufferedReader(file, 2**16))
        except PackError as error:
            raise PackError(f"it is not a whole zip file: {error}") from error
        self._infos = {info.header_offset: info for info in self._zip.infolist()}

    def members(self) -> Iterator[Member]:
        """Yields the files; raises PackError for one that is encrypted."""
        infos = sorted(self._zip.infolist(), key=lambda info: info.header_offset)
        ends = [info.header_offset for info in infos[1:]] + [self._zip.start_dir]
        for info, end in zip(infos, ends, strict=True):
            if info.is_dir():
                continue
            if info.flag_bits & ENCRYPTED:
                raise PackError(
                    f"{info.filename!r} is encrypted: unpack it with its password"
                )
            start, problem = info.header_offset, ""
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                problem = f"compression {info.compress_type} is not known"
            elif stat.S_ISLNK(info.external_attr >> 16):
                problem = "a link, not a picture"
            elif end - start < HEADER.size + info.compress_size:
                problem = "its bytes are those of another file, too"
            block, size = start // BLOCK_BYTES, end - start
            length = info.file_size
            yield Member(info.filename, None, length, 0, block, start, size, problem)

    def read(self, places: Sequence[Place]) -> Iterator[bytes | ImageError]:
        data = span(self._file, places)
        for _, _, start, size in places:
            begin = start - places[0].start
            length = self._infos[start].file_size
            try:
                with damage():
                    yield _content(data[begin : begin + size], size, length)
            except PackError as error:
                yield ImageError(f"it cannot be unpacked: {error}")


def _content(data: bytes, size: int, length: int) -> bytes:
    """Returns the content of a member, `length` bytes.

    Args:
      data: from its header to the next one.
      size: the length that `data` should have.
      length: bytes of the content, as the directory has it.
    """
    if len(data) < size:
        raise PackError("the pack ends before it")
    sign, _, flags, method, _, _, crc, _, _, name, extra = HEADER.unpack_from(data)
    if sign != b"PK\3\4":
        raise PackError("no header where the directory has one")
    body = data[HEADER.size + name + extra :]
    if method == zipfile.ZIP_DEFLATED:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        found, rest = unpacker.decompress(body, length + 1), unpacker.unused_data
    else:
        found, rest = body[:length], body[length:]
    if len(found) != length:
        raise PackError(f"{len(found):,} bytes or more where {length:,} are listed")
    if flags & STREAMED:  # the checksum follows, perhaps after a signature
        at = 4 if rest[:4] == b"PK\7\x08" else 0
        crc = int.from_bytes(rest[at : at + 4], "little")
    if zlib.crc32(found) != crc:
        raise PackError("wrong CRC-32")
    return found
