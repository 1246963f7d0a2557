"""What the server and a process that scores pictures send each other.

    to it     {"model": "flowers.tflite", "labels": null}     one line of JSON
    from it   {"labels": ["daisy", ...], "metrics": {...}}    it is loaded and checked
              or {"failed": "no model at ..."}
    to it     N, then N times: length, image bytes            a batch
    from it   N times: length, 0, float32 [L]                 its scores
                    or length, 1, UTF-8 text                  why it has none
    ...       until its input ends

Numbers are 4 bytes, little-endian.
"""

import struct
from collections.abc import Sequence
from typing import BinaryIO

NUMBER = struct.Struct("<I")
_SCORES, _REASON = b"\0", b"\1"


def packed_batch(pictures: Sequence[bytes]) -> list[bytes]:
    """Returns a batch in pieces."""
    pieces = [NUMBER.pack(len(pictures))]
    for picture in pictures:
        pieces += (NUMBER.pack(len(picture)), picture)
    return pieces


def read_batch(stream: BinaryIO) -> list[bytes]:
    """Returns the pictures of the next batch; none at the end."""
    head = stream.read(NUMBER.size)
    if len(head) < NUMBER.size:
        return []
    return [
        stream.read(*NUMBER.unpack(stream.read(NUMBER.size)))
        for _ in range(*NUMBER.unpack(head))
    ]


def packed_answer(result: bytes | str) -> bytes:
    """Returns an answer: the scores as float32, or the reason why there are none."""
    kind, content = _SCORES, result
    if isinstance(result, str):
        kind, content = _REASON, result.encode()
    return NUMBER.pack(1 + len(content)) + kind + content  # type: ignore[operator]


def unpacked_answer(answer: bytes) -> bytes | str:
    """Returns what `packed_answer` packed, from the bytes after the length."""
    return answer[1:].decode() if answer[:1] == _REASON else answer[1:]
