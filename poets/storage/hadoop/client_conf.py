"""The configuration as hdfs-native takes it, and what of it only we obey.

The client knows neither lists with blanks nor addresses without a port, tries a refused
connection for three minutes, and has its own idea of replication and permissions.
"""

from collections.abc import Mapping

from poets.errors import StorageError
from poets.storage.hadoop.conf import HadoopConf
from poets.storage.hadoop.url import DEFAULT_RPC_PORT, Location, names

AUTHENTICATION = "hadoop.security.authentication"
DEFAULT_UMASK = 0o022

_READ_BY_CLIENT = ("fs.", "dfs.", "hadoop.security.")
_FAILOVER = {  # a refused connection returns at once: `calls` tries again
    "dfs.client.failover.sleep.base.millis": "1",
    "dfs.client.failover.sleep.max.millis": "10",
}
_DEFAULTS = {"dfs.client.socket-timeout": "30000"}  # of DataNodes; theirs is 60 s


def client_conf(
    conf: HadoopConf, location: Location, with_login: bool
) -> dict[str, str]:
    """Returns the keys that hdfs-native reads, for a file system.

    Args:
      with_login: whether Kerberos is asked for; it is used then unless the
        configuration says otherwise.
    """
    made = {key: conf[key] for key in conf if key.startswith(_READ_BY_CLIENT)}
    for key, value in made.items():
        if key.startswith("dfs.ha.namenodes."):
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


def kerberos_is_on(conf: Mapping[str, str]) -> bool:
    """Returns whether the client authenticates."""
    return conf.get(AUTHENTICATION, "simple").lower() != "simple"


def replication(conf: HadoopConf) -> int | None:
    """Returns `dfs.replication`, None for what the NameNode has.

    Raises:
      StorageError: if it is no number above 0.
    """
    if "dfs.replication" not in conf:
        return None
    return _number(conf, "dfs.replication", base=10, smallest=1)


def modes(conf: HadoopConf) -> tuple[int, int]:
    """Returns the permissions of new files and new folders, as 0o644 and 0o755.

    Raises:
      StorageError: if `fs.permissions.umask-mode` is no octal number.
    """
    umask = DEFAULT_UMASK
    if "fs.permissions.umask-mode" in conf:
        umask = _number(conf, "fs.permissions.umask-mode", base=8, smallest=0)
    return 0o666 & ~umask, 0o777 & ~umask


def _number(conf: HadoopConf, key: str, base: int, smallest: int) -> int:
    kind = "an octal number such as 022" if base == 8 else "a whole number"
    try:
        value = int(conf[key], base)
    except ValueError:
        value = -1
    if value < smallest:
        raise StorageError(
            f"cannot use HDFS: {key} is {conf[key]!r} in {conf.source_of(key)}; "
            f"give {kind}, {smallest} or more"
        )
    return value
