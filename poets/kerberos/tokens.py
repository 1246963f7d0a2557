"""Reads Hadoop's delegation tokens, a file that YARN, Spark and Oozie give to jobs.

    HDTS 00   count, then of each token          Writable, `hdfs fetchdt` and YARN
              alias, identifier, password, kind, service
    HDTS 01   length, then the same as protobuf  CredentialsProto of Security.proto

    identifier    00, owner, renewer, real user, issue date, max date, number, key

A token authenticates its owner without a ticket, to the one service that it names,
until its max date. Its identifier and password are secrets: neither is shown or logged.
"""

import base64
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from poets.errors import ConfigError

TOKEN_FILE = "HADOOP_TOKEN_FILE_LOCATION"
RPC_KIND = "HDFS_DELEGATION_TOKEN"
WEB_KINDS = ("WEBHDFS delegation", "SWEBHDFS delegation")
MAX_BYTES = 10_000_000
"""A token has some 100 bytes; a larger file is not a token file."""


@dataclass(frozen=True)
class Token:
    """One delegation token.

    Attributes:
      kind: as "HDFS_DELEGATION_TOKEN".
      service: as "10.0.0.1:8020", "host:8020" or "ha-hdfs:nameservice".
      identifier, password: the secret.
      owner: our user on the service, as "alice@LOCAL"; "" for other kinds.
      renewer: the user who may renew it; "" for none.
      real_user: who got it for the owner; "" if the owner did.
      issued_s: time of issue, seconds since 1970.
      ends_s: when it expires even if renewed, seconds since 1970.
    """

    kind: str
    service: str
    identifier: bytes = field(repr=False)
    password: bytes = field(repr=False)
    owner: str = ""
    renewer: str = ""
    real_user: str = ""
    issued_s: float = 0.0
    ends_s: float = 0.0

    @property
    def has_ended(self) -> bool:
        """Whether its max date is past; hdfs-native stops a minute before it."""
        return self.ends_s < time.time() + 60

    def url_text(self) -> str:
        """Returns the secret for WebHDFS, as in `delegation=`."""
        parts = (self.identifier, self.password, self.kind.encode(), b"")
        data = b"".join(_vint(len(part)) + part for part in parts)
        return base64.urlsafe_b64encode(data).decode().rstrip("=")


def read_tokens(path: str) -> list[Token]:
    """Returns the tokens of a file, in the file's order.

    Raises:
      ConfigError: if it cannot be read, is not a token file, or is damaged.
    """
    cure = f"get new tokens (hdfs fetchdt), or unset {TOKEN_FILE}"
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot read delegation tokens from {path!r}: "
            f"{os.strerror(error.errno or 0).lower()}; {cure}"
        ) from error
    try:
        return _tokens(data)
    except ValueError as error:
        raise ConfigError(
            f"{path!r} is not a file of delegation tokens: {error}; {cure}"
        ) from None  # a UnicodeDecodeError shows bytes


def _tokens(data: bytes) -> list[Token]:
    """Returns the tokens; raises ValueError, which shows no content."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    if len(data) < 5:
        raise ValueError(f"it has {len(data)} bytes")
    if data[:4] != b"HDTS":
        raise ValueError("it does not begin with 'HDTS'")
    if (version := data[4]) > 1:
        raise ValueError(f"its format is number {version}, not 0 or 1")
    read = _from_protobuf if version else _from_writable
    return read(_Reader(data[5:]))


def _from_writable(reader: "_Reader") -> list[Token]:
    entries = [[reader.block() for _ in range(5)] for _ in range(reader.vint())]
    return [_token(*entry) for _alias, *entry in entries]


def _from_protobuf(reader: "_Reader") -> list[Token]:
    message = _Reader(reader.take(reader.varint()))
    entries = [dict(_Reader(data).fields()) for n, data in message.fields() if n == 1]
    tokens = [dict(_Reader(entry[2]).fields()) for entry in entries if 2 in entry]
    return [_token(*(token.get(n, b"") for n in range(1, 5))) for token in tokens]


def _token(identifier: bytes, password: bytes, *names: bytes) -> Token:
    """Returns a token, given its secret, its kind and its service."""
    kind, service = (name.decode() for name in names)
    if kind != RPC_KIND and kind not in WEB_KINDS:
        return Token(kind, service, identifier, password)  # of YARN, a KMS, ...
    reader = _Reader(identifier)
    if (version := reader.take(1)) != b"\0":
        raise ValueError(f"the token for {service!r} has version {version[0]}, not 0")
    return Token(
        kind,
        service,
        identifier,
        password,
        owner=reader.text(),
        renewer=reader.text(),
        real_user=reader.text(),
        issued_s=reader.vint() / 1000,
        ends_s=reader.vint() / 1000,
    )


class _Reader:
    """Reads numbers and texts from bytes; raises ValueError at their end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, length: int) -> bytes:
        end = self._at + length
        if length < 0 or end > len(self._data):
            raise ValueError("it ends too early, inside a token")
        taken, self._at = self._data[self._at : end], end
        return taken

    def vint(self) -> int:
        """Reads a number written by WritableUtils.writeVLong."""
        first = int.from_bytes(self.take(1), "big", signed=True)
        if first >= -112:
            return first
        negative = first < -120
        data = self.take(-120 - first if negative else -112 - first)
        number = int.from_bytes(data, "big")
        return ~number if negative else number

    def block(self) -> bytes:
        return self.take(self.vint())

    def text(self) -> str:
        return self.block().decode()

    def varint(self) -> int:
        """Reads a number written by protobuf."""
        number = 0
        for shift in range(0, 70, 7):
            (byte,) = self.take(1)
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise ValueError("a number in it does not end")

    def fields(self) -> Iterator[tuple[int, bytes]]:
        """Yields the number and content of each field; all are texts or bytes."""
        while self._at < len(self._data):
            key = self.varint()
            if key & 7 != 2:
                raise ValueError(f"a field of wire type {key & 7} is in it")
            yield key >> 3, self.take(self.varint())


def _vint(number: int) -> bytes:
    """Returns a length as WritableUtils.writeVInt writes it."""
    if number < 128:
        return bytes([number])
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return bytes([256 - 112 - len(data)]) + data
