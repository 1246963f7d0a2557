"""Reads keytab files: whose keys they hold, never the keys themselves.

    05 02                                    the format's version
    int32 size                               of the record; negative: a hole to skip
      uint16 count
      count + 1 times: uint16 length, bytes  realm, then the parts of the principal
      uint32 name type, uint32 time, uint8 kvno
      uint16 encryption type
      uint16 length, bytes                   the key: skipped
      uint32 kvno                            if present and not 0: overrides kvno

All numbers are big-endian (MIT krb5, "The keytab file format").
"""

import os
import stat
import struct
from dataclasses import dataclass

from poets.errors import ConfigError

MAX_BYTES = 10_000_000
"""A keytab has some hundred bytes per key; a larger file is not a keytab."""


class KeytabError(ConfigError):
    """A keytab is absent, unreadable or damaged, or lacks the principal."""


@dataclass(frozen=True)
class KeytabEntry:
    """One key of a keytab, without the key.

    Attributes:
      principal: with its realm, as "hdfs/host@LOCAL".
      kvno: the key's version; the KDC increments it at every change.
    """

    principal: str
    kvno: int


def read_keytab(path: str) -> list[KeytabEntry]:
    """Returns the entries of a keytab file, in the file's order.

    Args:
      path: the file, with or without MIT's prefix `FILE:`.

    Raises:
      KeytabError: if it cannot be read, is not a keytab, or ends too early.
    """
    path = path.removeprefix("FILE:")
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise KeytabError(
            f"cannot read keytab {path!r}: {os.strerror(error.errno or 0).lower()}; "
            "check the path, and that this user may read it"
        ) from error
    try:
        return _entries(data)
    except (struct.error, ValueError) as error:
        found = str(error) if isinstance(error, ValueError) else "it ends too early"
        cure = "export it again (kadmin ktadd), and copy it as a binary file"
        if data.startswith(b"BQIA"):
            found = "it is encoded in base64"
            cure = "decode it; DC/OS does so if the secret's name has __dcos_base64__"
        raise KeytabError(f"{path!r} is not a keytab: {found}; {cure}") from error


def keys_of(path: str, principal: str | None) -> list[KeytabEntry]:
    """Returns the entries of a principal in a keytab file, at least one.

    Args:
      path: the file, with or without MIT's prefix `FILE:`.
      principal: with its realm; None if the keytab has one principal only.

    Raises:
      KeytabError: if it cannot be read, lacks the principal, or has several.
    """
    entries = read_keytab(path)
    held = principals_of(entries)
    whose = ", ".join(held) or "nobody"
    if principal is None and len(held) != 1:
        raise KeytabError(
            f"keytab {path!r} has keys of {whose}, and no principal is given; name "
            "the one to use (--kerberos_principal)"
        )
    principal = principal or held[0]
    if principal not in held:
        raise KeytabError(
            f"keytab {path!r} has no key of {principal!r}, but of {whose}; give its "
            "own keytab (--kerberos_keytab), or another principal "
            "(--kerberos_principal)"
        )
    return [entry for entry in entries if entry.principal == principal]


def principals_of(entries: list[KeytabEntry]) -> list[str]:
    """Returns each principal once, in the order of the entries."""
    return list(dict.fromkeys(entry.principal for entry in entries))


def _entries(data: bytes) -> list[KeytabEntry]:
    """Returns the entries; raises ValueError or struct.error."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    if data[:2] != b"\x05\x02":
        raise ValueError(f"it begins with {data[:2].hex(' ')!r}, not with '05 02'")
    entries = []
    at = 2
    while at < len(data):
        (size,) = struct.unpack_from(">i", data, at)
        at += 4
        if size == 0:
            break  # MIT stops here too: the rest was reserved and never used
        if size > 0:
            if at + size > len(data):
                raise ValueError("it ends inside an entry")
            entries.append(_entry(data[at : at + size]))
        at += abs(size)
    return entries


def _entry(record: bytes) -> KeytabEntry:
    (count,) = struct.unpack_from(">H", record)
    names, at = [], 2
    for _ in range(count + 1):
        (length,) = struct.unpack_from(">H", record, at)
        name = record[at + 2 : at + 2 + length]
        if len(name) < length:
            raise ValueError("a name ends outside its entry")
        names.append(name.decode("utf-8", "replace"))
        at += 2 + length
    _, _, kvno, _, key = struct.unpack_from(">IIBHH", record, at)
    at += 13 + key
    if at > len(record):
        raise ValueError("a key ends outside its entry")
    if len(record) >= at + 4:
        kvno = struct.unpack_from(">I", record, at)[0] or kvno
    realm, *parts = names
    return KeytabEntry(f"{'/'.join(parts)}@{realm}", kvno)


def mode_open_to_others(path: str) -> int:
    """Returns the file's mode if others may open it, else 0.

    The group's bits count only if we own the file: Kubernetes mounts a Secret as
    root's, open to the pod's group, which the pod cannot change.

    Raises:
      OSError: if there is no such file.
    """
    found = os.stat(path)
    others = 0o077 if found.st_uid == os.geteuid() else 0o007
    mode = stat.S_IMODE(found.st_mode)
    return mode if mode & others else 0
