"""The configuration for hdfs-native, and the keys that it ignores and we obey.

The client does not understand lists with blanks or addresses without a port, retries a
refused connection for three minutes, and has its own defaults for replication and
permissions.
"""

import re
from collections.abc import Mapping

from poets.errors import StorageError
from poets.storage.hadoop.conf import HadoopConf
from poets.storage.hadoop.url import DEFAULT_RPC_PORT, HA_PREFIX, Location, names

AUTHENTICATION = "hadoop.security.authentication"
REPLICATION = "dfs.replication"
UMASK = "fs.permissions.umask-mode"

_READ_BY_CLIENT = ("fs.", "dfs.", "hadoop.security.")
_FAILOVER = {  # a refused connection returns at once: `calls` tries again
    "dfs.client.failover.sleep.base.millis": "1",
    "dfs.client.failover.sleep.max.millis": "10",
}
_DEFAULTS = {"dfs.client.socket-timeout": "30000"}  # of DataNodes; theirs is 60 s

# The patterns of Hadoop's UmaskParser.
_OCTAL = re.compile(r"\s*0*(?P<umask>[0-7]{3})\s*", re.ASCII)
_CLAUSE = re.compile(
    r"\s*(?P<who>[ugoa]*)[+=-]*(?P<sign>[+=-])(?P<bits>[rwx]*)(?P<end>[,\s]*)", re.ASCII
)
_BITS = {"r": 4, "w": 2, "x": 1}


def client_conf(
    conf: HadoopConf, location: Location, with_login: bool
) -> dict[str, str]:
    """Returns the keys that hdfs-native reads, for a file system.

    Args:
      with_login: whether there is a Kerberos login; it is then used unless the
        configuration says otherwise.
    """
    made = {key: conf[key] for key in conf if key.startswith(_READ_BY_CLIENT)}
    for key, value in made.items():
        if key.startswith(HA_PREFIX):
            made[key] = ",".join(names(value))
        elif key.startswith("dfs.namenode.rpc-address.") and ":" not in value:
            made[key] = f"{value}:{DEFAULT_RPC_PORT}"
    if with_login:
        made.setdefault(AUTHENTICATION, "kerberos")
    attempts = max(2, len(location.name_nodes))
    return {
        **_DEFAULTS,
        **made,
        **_FAILOVER,
        "dfs.client.failover.max.attempts": str(attempts),
    }


def kerberos_is_on(conf: Mapping[str, str], with_login: bool = False) -> bool:
    """Returns whether the client authenticates.

    Args:
      with_login: whether there is a Kerberos login; decides if the key is not set.
    """
    default = "kerberos" if with_login else "simple"
    return conf.get(AUTHENTICATION, default).lower() != "simple"


def replication(conf: HadoopConf) -> int | None:
    """Returns `dfs.replication`, or None for the NameNode's default.

    Raises:
      StorageError: if it is not a number above 0.
    """
    if REPLICATION not in conf:
        return None
    try:
        value = int(conf[REPLICATION])
    except ValueError:
        value = 0
    if value < 1:
        raise _unusable(conf, REPLICATION, "a whole number, 1 or more")
    return value


def modes(conf: HadoopConf) -> tuple[int, int]:
    """Returns the permissions of new files and new folders, as 0o644 and 0o755.

    Raises:
      StorageError: if Hadoop would reject `fs.permissions.umask-mode`.
    """
    umask = 0o022  # Hadoop's default
    if UMASK in conf:
        try:
            umask = _umask(conf[UMASK])
        except ValueError:
            kind = (
                "three octal digits such as 022, or what new files keep, such as "
                "u=rwx,g=rx,o="
            )
            raise _unusable(conf, UMASK, kind) from None
    return 0o666 & ~umask, 0o777 & ~umask


def _umask(text: str) -> int:
    """Returns the bits that a umask removes, as Hadoop understands its text.

    Octal digits are the bits to remove. Clauses name the bits to keep, starting from
    none: "g-w" removes all, "o+r" all but reading by others. For each of user, group
    and others, only the last clause counts.

    Raises:
      ValueError: if Hadoop would reject it.
    """
    if match := _OCTAL.fullmatch(text):
        return int(match["umask"], 8)
    allowed, start, comma = {"u": 0, "g": 0, "o": 0}, 0, True
    while start < len(text) or not start:
        match = _CLAUSE.match(text, start)
        if not match or not comma:
            raise ValueError(text)
        bits = sum(_BITS[bit] for bit in set(match["bits"]))
        for who in set(match["who"]) - {"a"} or allowed.keys():
            allowed[who] = 0 if match["sign"] == "-" else bits
        start, comma = match.end(), "," in match["end"]
    return 0o777 & ~(allowed["u"] << 6 | allowed["g"] << 3 | allowed["o"])


def _unusable(conf: HadoopConf, key: str, kind: str) -> StorageError:
    return StorageError(
        f"cannot use HDFS: {key} is {conf[key]!r} in {conf.source_of(key)}; give {kind}"
    )
