"""Finds a Hadoop cluster's web interfaces, by URL and configuration.

webhdfs://host/p           http://host:9870
swebhdfs://host/p          https://host:9871
webhdfs://nameservice/p    dfs.namenode.http-address.<nameservice>.<each>
webhdfs://default/p        the NameNode of fs.defaultFS; also webhdfs:///p
"""

import re

from poets.errors import StorageError
from poets.storage.hadoop.conf import HadoopConf
from poets.storage.hadoop.url import AUTHORITY, addresses_of, locate

_WEB = {  # scheme -> (scheme of the addresses, their key, default port)
    "webhdfs": ("http", "dfs.namenode.http-address", 9870),
    "swebhdfs": ("https", "dfs.namenode.https-address", 9871),
}


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
    is_default = authority in ("", "default")
    if is_default:
        authority = locate(url, conf, user="").root.partition("://")[2]
    http, key, usual_port = _WEB[scheme]
    found = addresses_of(url, authority, key, conf)
    if not found:
        address = authority
        if is_default:
            host = authority.rpartition(":")[0] or authority
            given = conf.get(key, f"{host}:{usual_port}")
            address = re.sub(r"^0\.0\.0\.0(?=:)", host, given)
        found = [conf.get(f"{key}.{authority}", address)]
    matches = [AUTHORITY.fullmatch(address) for address in found]
    if None in matches:
        raise StorageError(
            f"cannot open {url!r}: {found[matches.index(None)]!r} is not a host; "
            f"correct {key} in {', '.join(conf.sources)}"
        )
    return [
        f"{http}://{match['host']}:{match['port'] or usual_port}"
        for match in matches
        if match
    ]


def _split(url: str) -> tuple[str, str]:
    """Returns the scheme of a URL, in lower case, and its authority."""
    scheme, _, rest = url.partition("://")
    return scheme.lower(), rest.partition("/")[0]
