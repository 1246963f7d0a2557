"""Finds a cluster's delegation token, by service, host name or address.

    HADOOP_TOKEN_FILE_LOCATION   127.0.0.1:8020  ha-hdfs:ns  127.0.0.1:9870 ...
                                       │
    hdfs://localhost:8020 ─────────────┴──> the token, and the address that hdfs-native
                                            finds it by: hdfs://127.0.0.1:8020

As in Hadoop, a token is preferred to a ticket cache. A principal that is given for this
job, by a flag or the task's options, is preferred to both.
"""

import errno
import functools
import logging
import os
import re
import socket
from collections.abc import Iterable
from datetime import datetime

from poets.errors import NotAuthenticatedError
from poets.kerberos.keytab import mode_open_to_others
from poets.kerberos.login import current_login
from poets.kerberos.tokens import RPC_KIND, TOKEN_FILE, WEB_KINDS, Token, read_tokens
from poets.storage.hadoop.client_conf import AUTHENTICATION
from poets.storage.hadoop.conf import HadoopConf
from poets.storage.hadoop.url import HA_PREFIX, Location, locate, name_nodes

_log = logging.getLogger(__name__)


def token_file() -> str | None:
    """Returns the path of the token file; None if unset, or a principal is given.

    Raises:
      ConfigError: if the settings of the login contradict each other.
    """
    path = os.environ.get(TOKEN_FILE)
    login = current_login() if path else None
    return None if login is not None and login.principal else path or None


def rpc_token(url: str, conf: HadoopConf) -> Token | None:
    """Returns the token for the NameNode of a URL; None if a ticket is needed.

    For a mount table, it is the token of the first NameNode that has one.

    Raises:
      ConfigError: if the file of tokens cannot be read.
      NotAuthenticatedError: if the token has expired.
      StorageError: if the configuration lacks what the URL needs.
    """
    if conf.get(AUTHENTICATION) == "simple" or not token_file():
        return None
    location = locate(url, conf, user="")
    roots = [location.root]
    if not location.name_nodes:
        roots = [target for _, target in _links(location, conf)]
    tokens = (_find((RPC_KIND,), rpc_services(root, conf)) for root in roots)
    return next(filter(None, tokens), None)


def web_token(addresses: Iterable[str], url: str, conf: HadoopConf) -> Token | None:
    """Returns the token for a web interface; None if a ticket is needed.

    A NameNode's web interface accepts its RPC tokens, too.

    Args:
      addresses: as "http://host:9870".
      url: "webhdfs://...", which has these addresses.

    Raises:
      As `rpc_token`.
    """
    if not token_file():
        return None
    hosts = [address.partition("://")[2] for address in addresses]
    authority = url.partition("://")[2].partition("/")[0]
    named = [f"ha-{scheme}:{authority}" for scheme in ("webhdfs", "swebhdfs")]
    by_web = _find(WEB_KINDS, [*hosts, *named])
    if by_web is not None or not _is_name_node(authority, hosts, conf):
        return by_web
    service = authority if f"{HA_PREFIX}{authority}" in conf else "default"
    root = locate(f"hdfs://{service}/", conf, user="").root
    return _find((RPC_KIND,), rpc_services(root, conf))


def addressed(location: Location, conf: HadoopConf) -> tuple[str, dict[str, str]]:
    """Returns a file system's address, written so that hdfs-native finds its token.

    It looks for a token whose service is the text of the URL's host and port. Hadoop
    writes the IP address there, unless hadoop.security.token.service.use_ip is false.

    Returns:
      The root, and the keys of the mount table that differ from the configuration.
    """
    links = {
        key: target.replace(root, _root_of_token(root, conf), 1)
        for key, target in _links(location, conf)
        for root in re.findall(r"^hdfs://[^/]+", target)
    }
    root = location.root
    return _root_of_token(root, conf) if location.name_nodes else root, links


def why_none(url: str, conf: HadoopConf, addresses: Iterable[str] = ()) -> str:
    """Returns why no token is used for a URL; "" if no token file is given."""
    path = token_file()
    if not path:
        return ""
    held = ", ".join(f"{token.service} ({token.kind})" for token in read_tokens(path))
    wanted = " or ".join(addresses or locate(url, conf, user="").name_nodes) or url
    return (
        f"{path!r} ({TOKEN_FILE}) has no token for {wanted}, but for {held or 'none'}"
    )


def rpc_services(root: str, conf: HadoopConf) -> list[str]:
    """Returns the services that a token for "hdfs://..." may name, the usual first.

    For a name service, a token for one NameNode is the last choice, since hdfs-native
    then knows no other NameNode.
    """
    authority = re.sub("^hdfs://([^/]*).*", r"\1", root)
    nodes = name_nodes(root, authority, conf)
    if f"{HA_PREFIX}{authority}" in conf:
        return [f"ha-hdfs:{authority}", *nodes]
    services = [key[len(HA_PREFIX) :] for key in conf if key.startswith(HA_PREFIX)]
    named = [
        f"ha-hdfs:{service}"
        for service in services
        if any(_is_same(node, nodes[0]) for node in name_nodes(root, service, conf))
    ]
    return [*nodes, *named]


def _root_of_token(root: str, conf: HadoopConf) -> str:
    token = _find((RPC_KIND,), rpc_services(root, conf)) if token_file() else None
    return f"hdfs://{token.service.removeprefix('ha-hdfs:')}" if token else root


def _links(location: Location, conf: HadoopConf) -> list[tuple[str, str]]:
    """Returns key and target of each link of a mount table."""
    table = location.root.partition("://")[2]
    prefix = f"fs.viewfs.mounttable.{table}."
    if location.name_nodes:
        return []
    found = [(key, conf[key]) for key in conf if key.startswith(prefix)]
    return [(key, target) for key, target in found if target.startswith("hdfs://")]


def _is_name_node(authority: str, hosts: list[str], conf: HadoopConf) -> bool:
    """Returns whether a web interface is known to belong to fs.defaultFS."""
    if authority in ("", "default") or f"{HA_PREFIX}{authority}" in conf:
        return True
    keys = [key for key in conf if re.match(r"dfs\.namenode\.https?-address", key)]
    pairs = [(conf[key], host) for key in keys for host in hosts]
    return "fs.defaultFS" in conf and any(_is_same(*pair) for pair in pairs)


def _find(kinds: tuple[str, ...], services: list[str]) -> Token | None:
    """Returns the token of the first service that has one; of several, the latest."""
    path = token_file() or ""
    held = [token for token in read_tokens(path) if token.kind in kinds]
    for service in services:
        fitting = [token for token in held if _is_same(token.service, service)]
        if not fitting:
            continue
        token = max(fitting, key=lambda token: token.ends_s)
        if token.has_ended:
            raise NotAuthenticatedError(
                errno.EACCES,
                f"the token of {token.owner} for {token.service} in {path!r} "
                f"({TOKEN_FILE}) expired at "
                f"{datetime.fromtimestamp(token.ends_s):%Y-%m-%d %H:%M}, and can no "
                "longer be renewed; get a new one (hdfs fetchdt), or give a keytab "
                "(--kerberos_principal, --kerberos_keytab)",
            )
        _warn_of_mode(path)
        return token
    return None


def _is_same(service: str, wanted: str) -> bool:
    """Returns whether two services have the same port and the same host or address."""
    if service == wanted:
        return True
    host, _, port = service.rpartition(":")
    other, _, other_port = wanted.rpartition(":")
    if port != other_port or not host or not port.isdecimal():
        return False
    if host.lower() == other.lower():
        return True
    try:
        return bool(_ips(host) & _ips(other))
    except (OSError, UnicodeError):  # the attempt to connect reports it
        return False


@functools.lru_cache(256)
def _ips(host: str) -> frozenset[str]:
    found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    return frozenset(str(address[0]) for *_, address in found)


@functools.lru_cache(8)
def _warn_of_mode(path: str) -> None:
    if mode := mode_open_to_others(path):
        _log.warning(
            "delegation tokens in %s are open to others (mode %04o), who could act as "
            "their owner; chmod 600 it",
            path,
            mode,
        )
