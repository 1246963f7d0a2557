"""Resolves the URLs of a Hadoop cluster by its configuration.

    hdfs://host:port/p      that NameNode
    hdfs://host/p           that NameNode, port 8020
    hdfs://service/p        a name service of the configuration, its NameNodes
    hdfs:///p               fs.defaultFS
    hdfs://default/p        fs.defaultFS, as libhdfs, TensorFlow and DC/OS have it
    hdfs://default          fs.defaultFS, the user's folder there
    viewfs://table/p        a mount table of the configuration; also viewfs:///p

    webhdfs://host/p        http://host:9870; swebhdfs: https://host:9871
    webhdfs://service/p     dfs.namenode.http-address.<service>.<each NameNode>
    webhdfs://default/p     the NameNode of fs.defaultFS; also webhdfs:///p

They are not split by `urllib`: "#", "?" and "%" are ordinary characters, and names of
name services are case-sensitive.
"""

import posixpath
import re
from typing import NamedTuple

from poets.errors import StorageError
from poets.storage import invalid_character
from poets.storage.hadoop.conf import HadoopConf

DEFAULT_RPC_PORT = 8020
SCHEMES = ("hdfs", "viewfs")
WEB = {  # scheme -> (scheme of the addresses, their key, default port)
    "webhdfs": ("http", "dfs.namenode.http-address", 9870),
    "swebhdfs": ("https", "dfs.namenode.https-address", 9871),
}
HA_PREFIX = "dfs.ha.namenodes."
AUTHORITY = re.compile(r"(?P<host>[\w.-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>\d{1,5}))?")


class Location(NamedTuple):
    """A file system of a cluster and a path in it.

    Attributes:
      root: for a client, as "hdfs://host:8020" or "hdfs://service".
      path: absolute, without a slash at its end.
      name_nodes: "host:port" of each NameNode, several if the service is highly
        available; empty for a mount table.
    """

    root: str
    path: str
    name_nodes: tuple[str, ...]


def locate(url: str, conf: HadoopConf, user: str) -> Location:
    """Returns the file system and the path of a URL.

    Args:
      url: "<scheme>://...", of a scheme that ends in hdfs, or viewfs.
      user: the owner of the folder that a URL without a path means.

    Raises:
      StorageError: if the configuration lacks what the URL needs.
    """
    scheme, _, rest = url.partition("://")
    scheme = "viewfs" if scheme.lower() == "viewfs" else "hdfs"
    authority, slash, path = rest.partition("/")
    if "@" in authority:  # not shown: it may contain a password
        host = authority.rpartition("@")[2]
        raise StorageError(
            f"cannot open a URL of {host!r}: it names a user before '@', but "
            f"Kerberos decides about the user; write {scheme}://{host}/..."
        )
    if authority in ("", "default"):
        scheme, authority = _default(url, scheme, conf)
    if found := invalid_character(path):
        raise StorageError(f"cannot open {url!r}: found {found}; name another path")
    path = posixpath.normpath("/" + path) if slash else f"/user/{user}"
    path = "/" + path.lstrip("/")
    if scheme == "viewfs":
        return Location(_mount_table(url, authority, conf), path, ())
    nodes = name_nodes(url, authority, conf)
    is_service = f"{HA_PREFIX}{authority}" in conf
    return Location(f"hdfs://{authority if is_service else nodes[0]}", path, nodes)


def name_nodes(url: str, authority: str, conf: HadoopConf) -> tuple[str, ...]:
    """Returns "host:port" of the NameNodes that an authority means.

    Raises:
      StorageError: if there is none, or the configuration lacks an address.
    """
    key = "dfs.namenode.rpc-address"
    found = _addresses(url, authority, key, conf, authority)
    return tuple(_with_port(url, address) for address in found)


def web_root(url: str, addresses: list[str], default: str) -> str:
    """Returns "webhdfs://authority" of a URL.

    Args:
      url: of a file or a folder.
      addresses: of its servers.
      default: root of the file system of fs.defaultFS, if the URL names no other one;
        its port is for RPC.
    """
    scheme, authority = _split(url)
    if authority in ("", "default"):
        place = addresses[0] if len(addresses) == 1 else default
        authority = place.partition("://")[2]
    return f"{scheme}://{authority}"


def web_addresses(url: str, conf: HadoopConf) -> list[str]:
    """Returns "http://host:port" of each server of a URL.

    Raises:
      StorageError: if the configuration does not name them, or the URL is wrong.
    """
    scheme, authority = _split(url)
    if authority and not AUTHORITY.fullmatch(authority):
        host = authority.rpartition("@")[2]  # what precedes it may be a password
        raise StorageError(
            f"cannot open a URL: {host!r} is not a host; give {scheme}://host:port/path"
        )
    http, key, usual_port = WEB[scheme]
    other = authority  # the address, unless it is a name of the configuration
    if authority in ("", "default"):
        authority = locate(url, conf, user="").root.partition("://")[2]
        host = authority.rpartition(":")[0] or authority
        given = conf.get(key, f"{host}:{usual_port}")
        other = re.sub(r"^0\.0\.0\.0(?=:)", host, given)
    addresses = []
    for address in _addresses(url, authority, key, conf, other):
        match = AUTHORITY.fullmatch(address)
        if not match:
            raise StorageError(
                f"cannot open {url!r}: {address!r} is not a host; correct {key} in "
                f"{', '.join(conf.sources)}"
            )
        addresses.append(f"{http}://{match['host']}:{match['port'] or usual_port}")
    return addresses


def _addresses(
    url: str, service: str, key: str, conf: HadoopConf, other: str
) -> list[str]:
    """Returns the addresses of the NameNodes of a name service.

    Args:
      url: for messages.
      service: its name, or another.
      key: of an address, without ".<service>.<NameNode>".
      other: the address for another name, unless the configuration has it.

    Raises:
      StorageError: if the configuration lacks an address.
    """
    listed = f"{HA_PREFIX}{service}"
    keys = [f"{key}.{service}.{name}" for name in names(conf.get(listed, ""))]
    if missing := [each for each in keys if each not in conf]:
        raise StorageError(
            f"cannot open {url!r}: {', '.join(missing)} is not set, although "
            f"{conf.source_of(listed)} names these NameNodes; add it there"
        )
    return [conf[each] for each in keys] or [conf.get(f"{key}.{service}", other)]


def names(listed: str) -> list[str]:
    """Returns the names in a value such as "nn1, nn2"."""
    return [name for name in re.split(r"[,\s]+", listed) if name]


def _default(url: str, scheme: str, conf: HadoopConf) -> tuple[str, str]:
    """Returns scheme and authority of fs.defaultFS."""
    read = ", ".join(conf.sources) or f"no file: {conf.searched} are not set"
    if "fs.defaultFS" not in conf:
        raise StorageError(
            f"cannot open {url!r}: fs.defaultFS is not set (read {read}); "
            "give the cluster's configuration with --hadoop_conf, or write the "
            "NameNode's host and port into the URL"
        )
    given = conf["fs.defaultFS"]
    found, separator, rest = given.partition("://")
    authority = rest.partition("/")[0]
    if not separator or found.lower() not in SCHEMES or not authority:
        raise StorageError(
            f"cannot open {url!r}: fs.defaultFS is {given!r} (read {read}), which is "
            "not HDFS; write the NameNode's host and port into the URL"
        )
    if scheme == "viewfs" and found.lower() != "viewfs":
        return scheme, "default"  # Hadoop's name for the mount table without a name
    return found.lower(), authority


def _mount_table(url: str, name: str, conf: HadoopConf) -> str:
    prefix = f"fs.viewfs.mounttable.{name}."
    if not any(key.startswith(prefix) for key in conf):
        raise StorageError(
            f"cannot open {url!r}: no {prefix}link... is set (read "
            f"{', '.join(conf.sources) or 'no file'}); add the mount table there"
        )
    if f"{prefix}linkFallback" not in conf:
        raise StorageError(
            f"cannot open {url!r}: {prefix}linkFallback is not set, without which "
            "hdfs-native rejects a mount table; set it to an empty folder, or name the "
            "cluster behind the link in the URL"
        )
    return f"viewfs://{name}"


def _with_port(url: str, address: str) -> str:
    match = AUTHORITY.fullmatch(address)
    port = int(match["port"] or DEFAULT_RPC_PORT) if match else 0
    if not match or not 0 < port < 65536:
        raise StorageError(
            f"cannot open {url!r}: {address!r} is not an address of a NameNode; "
            f"give host:port, usually with port {DEFAULT_RPC_PORT}"
        )
    return f"{match['host']}:{port}"


def _split(url: str) -> tuple[str, str]:
    """Returns the scheme of a URL, in lower case, and its authority."""
    scheme, _, rest = url.partition("://")
    return scheme.lower(), rest.partition("/")[0]
