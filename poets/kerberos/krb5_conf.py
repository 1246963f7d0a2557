"""Writes krb5.conf, MIT's configuration file, for one realm, and reads its KDCs.

[libdefaults]
  default_realm = LOCAL
[realms]
  LOCAL = {
    kdc = 127.0.0.1:2500
  }
"""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from poets.errors import ConfigError

DEFAULT_PATH = "/etc/krb5.conf"
KDC_PORT = 88
REALM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
HOST_AND_PORT = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
MAX_FILES = 100
"""A file that includes itself would be read without end."""


@dataclass
class Krb5Conf:
    """The realms of the configuration.

    Attributes:
      files: the files read, in order; absent ones are left out, as MIT does.
      default_realm: for principals without one.
      kdcs: realm -> (host, port) of each KDC, in the order in which MIT tries them.
      faults: what MIT may refuse to read, as "'file', line n: what is wrong; what to
        do", in order.
    """

    files: list[str] = field(default_factory=list)
    default_realm: str | None = None
    kdcs: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def krb5_conf_text(realm: str, kdcs: Sequence[str]) -> str:
    """Returns a krb5.conf for one realm.

    Names are used as given, without DNS. TCP comes first: KDCs behind load balancers
    often accept nothing else.

    Args:
      realm: as "LOCAL".
      kdcs: one `host` or `host:port` or more.

    Raises:
      ConfigError: if a name is invalid in the file.
    """
    if not REALM.fullmatch(realm):
        raise ConfigError(
            f"invalid Kerberos realm {realm!r}; give one like 'EXAMPLE.COM'"
        )
    for kdc in kdcs:
        if not HOST_AND_PORT.fullmatch(kdc):
            raise ConfigError(
                f"invalid KDC address {kdc!r}; give host or host:port, "
                "like 'kdc.example.com:88'"
            )
    lines = "".join(f"    kdc = {kdc}\n" for kdc in kdcs)
    return (
        "[libdefaults]\n"
        f"  default_realm = {realm}\n"
        "  dns_lookup_realm = false\n"
        "  dns_lookup_kdc = false\n"
        "  dns_canonicalize_hostname = false\n"
        "  rdns = false\n"
        "  udp_preference_limit = 1\n"
        "[realms]\n"
        f"  {realm} = {{\n{lines}  }}\n"
    )


def realms(path: str | None = None) -> Krb5Conf:
    """Returns the realms of the configuration, following its includes.

    Args:
      path: files separated by colons, as in KRB5_CONFIG; default: that variable, or
        `/etc/krb5.conf`.

    Raises:
      ConfigError: if a file exists and cannot be read.
    """
    conf = Krb5Conf()
    for name in (path or os.environ.get("KRB5_CONFIG") or DEFAULT_PATH).split(":"):
        if name:
            _read(name, conf)
    return conf


def _read(path: str, conf: Krb5Conf) -> None:
    if not os.path.exists(path):
        return
    conf.files.append(path)
    if len(conf.files) > MAX_FILES:
        raise ConfigError(
            f"cannot read {conf.files[0]!r}: it includes more than {MAX_FILES} files; "
            "does one of them include itself?"
        )
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise ConfigError(
            f"cannot read {path!r}: {os.strerror(error.errno or 0).lower()}; "
            "make it readable, or set KRB5_CONFIG"
        ) from error
    section: list[str] = []
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if match := re.fullmatch(r"(include|includedir)(?:\s+(.*))?", line):
            fault = _include(match[1], match[2] or "", conf)
        else:
            fault = _parse(line, section, conf)
        if fault:
            conf.faults.append(f"{path!r}, line {number}: {fault}")


def _parse(line: str, section: list[str], conf: Krb5Conf) -> str:
    """Parses a line, and returns why MIT rejects it, or "".

    Args:
      section: its name, then those of the open braces; empty before the first one. A
        line that begins or ends one changes it.
    """
    if match := re.match(r"\[([^]]+)\]", line):
        open_braces = section[1:]
        section[:] = [match[1]]
        if open_braces:
            return f"{line!r} is inside {open_braces[-1]!r}; close that with }}"
        return ""
    if line.startswith("["):
        return f"{line!r} has no ']'; write it as [name]"
    if not section:
        return ""  # MIT ignores what precedes the first section
    if line.startswith("}"):
        if not section[1:]:
            return "'}' closes nothing; remove it"
        section.pop()
        return ""
    match = re.match(r"([^=\s][^=]*?)\s*\*?\s*=\s*(.*)", line)
    if not match or " " in match[1]:
        return f"{line!r} is not 'name = value'; correct or remove it"
    name, value = match[1].strip('"'), match[2].strip().strip('"')
    if value == "{":
        section.append(name)
    elif [*section, name] == ["libdefaults", "default_realm"]:
        conf.default_realm = conf.default_realm or value  # MIT uses the first
    elif len(section) == 2 and section[0] == "realms" and name == "kdc":
        conf.kdcs.setdefault(section[1], []).extend(_host_and_port(value))
    return ""


def _include(word: str, path: str, conf: Krb5Conf) -> str:
    """Reads what a line includes; returns why MIT rejects the line, or ""."""
    folder = word == "includedir"
    try:
        os.close(os.open(path, os.O_RDONLY | (os.O_DIRECTORY if folder else 0)))
    except OSError as error:
        return (
            f"{word} {path!r} cannot be read: {os.strerror(error.errno or 0).lower()}; "
            f"make that {'folder' if folder else 'file'}, mount it here too, or remove "
            "the line"
        )
    for name in _included(path) if folder else [path]:
        _read(name, conf)
    return ""


def _included(folder: str) -> Iterator[str]:
    """Yields the files of a folder that MIT reads, sorted by name."""
    for name in sorted(glob.glob(os.path.join(glob.escape(folder), "*"))):
        base = os.path.basename(name)
        if re.fullmatch(r"[A-Za-z0-9_-]+", base) or base.endswith(".conf"):
            yield name


def _host_and_port(value: str) -> list[tuple[str, int]]:
    """Returns the (host, port) of a `kdc` value; none of a socket or a proxy."""
    value = re.sub(r"^(?:tcp|udp)/", "", value)
    if "/" in value:
        return []
    host, _, port = value.rpartition(":")
    if not host or host.endswith(":") or value.endswith("]"):
        host, port = value, ""
    number = int(port) if port.isdecimal() else KDC_PORT
    return [(host.strip("[]"), number)]
