"""Delegation tokens for tests: files as Hadoop writes them, of tokens made up here."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from poets.kerberos.tokens import RPC_KIND, Token

DAY_S = 86_400


def made_up(service: str, kind: str = RPC_KIND, ends_in_s: float = 7 * DAY_S) -> Token:
    """Returns a token of alice that no server knows."""
    issued_s, ends_s = float(int(time.time())), float(int(time.time() + ends_in_s))
    identifier = b"\0" + b"".join(
        (
            *(_block(text) for text in (b"alice@LOCAL", b"yarn", b"oozie/host@LOCAL")),
            *(_long(round(time_s * 1000)) for time_s in (issued_s, ends_s)),
            b"\5\2",
        )
    )
    return Token(
        *(kind, service, identifier, b"a password that nobody sees"),
        *("alice@LOCAL", "yarn", "oozie/host@LOCAL", issued_s, ends_s),
    )


def renamed(token: Token, service: str) -> Token:
    """Returns a token for the same server by another name."""
    return replace(token, service=service)


def writable(tokens: Sequence[Token]) -> bytes:
    """Returns a token file in the format of `hdfs fetchdt` and YARN."""
    entries = (
        b"".join(map(_block, (token.service.encode(), *_content(token))))
        for token in tokens
    )
    return b"HDTS\0" + bytes([len(tokens)]) + b"".join(entries) + b"\0"


def protobuf(tokens: Sequence[Token]) -> bytes:
    """Returns a token file in the newer format."""
    entries = b"".join(
        _field(1, _field(1, token.service.encode()) + _field(2, _message(token)))
        for token in tokens
    )
    secret = _field(2, _field(1, b"alias") + _field(3, b"a key that nobody sees"))
    return b"HDTS\1" + _varint(len(entries + secret)) + entries + secret


def write_tokens(path: Path, *tokens: Token) -> str:
    """Writes a private token file; returns its path, for the variable."""
    path.touch(0o600)
    path.write_bytes(writable(tokens))
    return str(path)


def _content(token: Token) -> tuple[bytes, ...]:
    texts = (token.kind.encode(), token.service.encode())
    return (token.identifier, token.password, *texts)


def _message(token: Token) -> bytes:
    return b"".join(_field(n, part) for n, part in enumerate(_content(token), 1))


def _block(data: bytes) -> bytes:
    return (_long(len(data)) if len(data) > 127 else bytes([len(data)])) + data


def _long(number: int) -> bytes:
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return bytes([256 - 112 - len(data)]) + data


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    low = number & 0x7F
    return bytes([low]) if number < 128 else bytes([low | 0x80]) + _varint(number >> 7)
