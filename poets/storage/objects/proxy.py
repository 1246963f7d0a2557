"""Finds the proxy for requests to an object store: `proxy_of(url)`.

    HTTPS_PROXY, HTTP_PROXY, ALL_PROXY   http://host:port, for a store of that scheme
    NO_PROXY                             hosts, .domains and CIDR ranges without one

Lower-case names take precedence. Amazon's client reads none of them, so pyarrow gets
the address from here. Google's reads all of them but an upper-case HTTP_PROXY.
"""

import os
from urllib.parse import urlsplit

import requests.utils

from poets.errors import ConfigError


def proxy_of(url: str, is_curl: bool = False) -> str:
    """Returns the address of the proxy for a store; "" without one.

    Args:
      url: of the store, as "https://host:port".
      is_curl: whether the client is Google's, which follows curl's rules.

    Raises:
      ConfigError: if it is not an HTTP proxy.
    """
    proxies = requests.utils.get_environ_proxies(url)
    if is_curl and "http_proxy" not in os.environ:  # it may be a CGI request's header
        proxies.pop("http", None)
    proxy = requests.utils.select_proxy(url, proxies) or ""
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    if proxy and not is_curl:
        _check(proxy)
    return proxy


def shown(proxy: str) -> str:
    """Returns a proxy's address without the user and the password in it."""
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _check(proxy: str) -> None:
    parts = urlsplit(proxy)
    try:
        right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # the port is not a number
        right = False
    if not right:
        raise ConfigError(
            f"cannot use S3 through the proxy {shown(proxy)!r}: it is not an address "
            "of an HTTP proxy; set HTTPS_PROXY and HTTP_PROXY to http://host:port, or "
            "NO_PROXY to the store's host"
        )
