"""Connections for downloads: to checked addresses only, and none beyond a deadline.

    session ──> host is allowed? ──> look-up ──> addresses are allowed? ──> connection
                                                  timer ──> ends it at the deadline

The timeouts of a socket are for one packet: a server that sends a byte a minute, also
of a header, would never end. The address of a name is looked up once and checked, so
that a second look-up cannot give another one (DNS rebinding).
"""

import contextlib
import logging
import os
import re
import socket
import threading
import time
from functools import partial
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.util.connection import create_connection

from poets.system.deadline import run_with_deadline
from poets.system.hosts import Hosts

HEADERS = {
    "User-Agent": "poets",
    "Accept-Encoding": "identity",  # lengths and ranges are those of the file
}


class _NoQueries(logging.Filter):
    """Removes the queries of URLs, which may be secrets, from urllib3's log."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if "?" in text:
            record.msg, record.args = re.sub(r"\?[^\s'\"]+", "?…", text), None
        return True


for _name in ("connection", "connectionpool", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").addFilter(_NoQueries())


class HostError(Exception):
    """A host or all of its addresses are not allowed."""


def new_session(guard: "Guard") -> requests.Session:
    """Returns a session whose connections a guard makes.

    With a list of allowed hosts, neither proxies nor `.netrc` are used.
    """
    session = requests.Session()
    session.trust_env = guard.allowed is None
    session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
    session.headers.update(HEADERS)
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(guard))
    return session


class Guard:
    """Checks the connections made in its block, and ends them at the deadline.

    Args:
      deadline: of `time.monotonic`; after it, leaving the block raises TimeoutError.
      connect_s: time to look up a host, and to connect to each of its addresses.
      allowed: the hosts that may be asked; None allows all.
    """

    def __init__(
        self, deadline: float, connect_s: float, allowed: Hosts | None
    ) -> None:
        self.allowed = allowed
        self._deadline, self._connect_s = deadline, connect_s
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(deadline - time.monotonic(), self._end)
        self._timer.daemon = True

    def __enter__(self) -> "Guard":
        self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()
        for each in self._sockets:
            each.close()
        if self._is_over():  # what looks like the end of the content may be the timer's
            raise TimeoutError from None

    def connect(self, connection: HTTPConnection) -> socket.socket:
        """Connects to an address that was checked, so that no second look-up differs.

        Raises:
          HostError: if the host or all of its addresses are not allowed.
          OSError: if it cannot be found or reached.
        """
        host, port = connection.host, connection.port or 80
        failure: OSError = ConnectionError()
        for address in self._addresses(host, port):
            left_s = max(self._deadline - time.monotonic(), 0.001)
            try:
                made = create_connection(
                    (address, port),
                    min(self._connect_s, left_s),
                    socket_options=connection.socket_options,
                )
            except OSError as error:
                failure = error
                continue
            # A duplicate, as TLS takes the socket over.
            self._sockets.append(made.dup())
            if self._is_over():
                self._end()
            return made
        raise failure

    def _addresses(self, host: str, port: int) -> list[str]:
        if self.allowed and not self.allowed.allows_name(host, port):
            raise HostError(f"the host {host!r} is not allowed")
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = run_with_deadline(look_up, self._connect_s)
        addresses = [str(where[0]) for *_, where in found]
        if not self.allowed:
            return addresses
        public = [each for each in addresses if self.allowed.allows_address(each)]
        if not public:
            raise HostError(
                f"the host {host!r} has no public address, and none in an allowed "
                "network"
            )
        return public

    def _is_over(self) -> bool:
        return time.monotonic() >= self._deadline

    def _end(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class _Adapter(HTTPAdapter):
    """Makes a new connection, to a server or a proxy, for each request, by a guard."""

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self._guard = guard

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Returns a pool with such connections."""
        self.close()  # a server may end a kept connection while it is asked again
        pool = super().get_connection_with_tls_context(*args, **kwargs)
        guard = self._guard

        class Guarded(pool.ConnectionCls):  # type: ignore[misc, name-defined]
            def _new_conn(self) -> socket.socket:
                return guard.connect(self)

        pool.ConnectionCls = Guarded
        return pool
