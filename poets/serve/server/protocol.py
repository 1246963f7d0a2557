"""What the server and a process that scores pictures send each other.

    to it     {"model": "flowers.tflite", "labels": null}     one line of JSON
    from it   {"labels": ["daisy", ...], "metrics": {...}}    it is loaded and checked
              or {"failed": "no model at ..."}
    to it     N, then N times: length, image bytes            a batch
    from it   length of all that follows, then N times:
              length, 0, float32 [L]                          its scores
              or length, 1, UTF-8 text                        why it has none
    ...       until its input ends

Numbers are 4 bytes, little-endian.
"""

import array
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO

NUMBER = struct.Struct("<I")

TENSOR = b"\x93poets tensor\n"
"""Before a picture as float32 [S, S, 3], scaled for the backbone: no file begins so."""

_HEAD = struct.Struct("<IB")
_SCORES, _REASON = 0, 1


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


def packed_answers(results: Sequence[Any]) -> bytes:
    """Returns the answers to a batch.

    Args:
      results: for each picture the scores, a buffer of float32 [L], or the reason why
        there are none, a string.
    """
    pieces = []
    for result in results:
        content = result.encode() if isinstance(result, str) else bytes(result)
        kind = _REASON if isinstance(result, str) else _SCORES
        pieces.append(_HEAD.pack(len(content), kind) + content)
    return NUMBER.pack(sum(map(len, pieces))) + b"".join(pieces)


def taken_answers(received: bytearray) -> list[Sequence[float] | str]:
    """Takes the answers to a batch from the bytes received; none if some are missing.

    Returns:
      For each picture the scores, or the reason why there are none.
    """
    found: list[Sequence[float] | str] = []
    at = NUMBER.size
    if len(received) < at or len(received) < (
        end := at + NUMBER.unpack_from(received)[0]
    ):
        return found
    while at < end:
        size, kind = _HEAD.unpack_from(received, at)
        at += _HEAD.size + size
        answer = received[at - size : at]
        scores = kind == _SCORES
        found.append(array.array("f", bytes(answer)) if scores else answer.decode())
    del received[:end]
    return found
