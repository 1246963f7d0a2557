"""Downloads over HTTP, with limits on time and size, for all who need one.

    url ──> at most 5 redirects ──> pieces ──> file, continued where it broke off
     └─ each connection: its host and address are checked, it ends at the deadline

Proxies, certificates and passwords are those of the environment and `.netrc`, except
for URLs of strangers (`allowed`). Neither an error nor the log contains the login or
the query of a URL: a presigned one has its key there.
"""

import contextlib
import http
import http.client
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urljoin

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.util.connection import create_connection

from poets.system.deadline import run_with_deadline
from poets.system.hosts import Hosts

MAX_REDIRECTS = 5
PIECE_BYTES = 1 << 16
DAY_S = 86_400.0
HEADERS = {
    "User-Agent": "poets",
    "Accept-Encoding": "identity",  # lengths and ranges are those of the file
}


class _NoQueries(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if "?" in text:
            record.msg, record.args = re.sub(r"\?[^\s'\"]+", "?…", text), None
        return True


for _name in ("connection", "connectionpool", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").addFilter(_NoQueries())


@dataclass(frozen=True)
class Limits:
    """What a server may take.

    Attributes:
      connect_s: time to find the host, and again to connect.
      silence_s: time in which it sends nothing.
      total_s: time for the whole download.
      max_bytes: size of the content.
    """

    connect_s: float = 10.0
    silence_s: float = 60.0
    total_s: float = DAY_S
    max_bytes: int = 2 << 30


class FetchError(Exception):
    """A download failed; the text is the reason, without the URL.

    Attributes:
      is_passing: whether a later attempt may succeed.
    """

    def __init__(self, reason: str, is_passing: bool = False) -> None:
        super().__init__(reason)
        self.is_passing = is_passing


def download(
    url: str, path: str, limits: Limits, allowed: Hosts | None = None
) -> Mapping[str, str]:
    """Downloads into a local file and returns the headers of the answer.

    Args:
      url: http or https.
      path: the file; an earlier one is replaced.
      limits: what the server may take.
      allowed: the hosts that may be asked, also by a redirect; None allows all.

    Raises:
      FetchError: if the content does not arrive whole and within the limits.
      OSError: if the file cannot be written.
    """
    with _answer(url, limits, allowed) as answer, open(path, "wb") as file:
        for piece in _pieces(answer, limits):
            file.write(piece)
        return answer.headers


@contextlib.contextmanager
def _answer(
    url: str, limits: Limits, allowed: Hosts | None
) -> Iterator[requests.Response]:
    """Yields the answer to a GET request, after redirects.

    Raises:
      FetchError: if there is none, or not one of success; also if reading it fails in
        the block.
    """
    guard = _Guard(limits, allowed)
    try:
        with guard, _session(guard, with_environment=allowed is None) as session:
            for _ in range(MAX_REDIRECTS + 1):
                with session.get(
                    url,
                    stream=True,
                    allow_redirects=False,  # requests would read their content
                    timeout=(limits.connect_s, limits.silence_s),
                ) as answer:
                    target = session.get_redirect_target(answer)
                    if target is None:
                        _check_status(answer.status_code)
                        yield answer
                        return
                    url = urljoin(url, target)
            raise FetchError(f"more than {MAX_REDIRECTS} redirects")
    except (
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        ValueError,
    ) as error:
        raise _failure(error) from None  # not chained: their texts contain the URL


def _check_status(status: int) -> None:
    if status != 200:
        phrase = http.client.responses.get(status, "")
        is_passing = status in (408, 425, 429) or status >= 500
        raise FetchError(f"the server answered {status} {phrase}".rstrip(), is_passing)


def _pieces(answer: requests.Response, limits: Limits) -> Iterator[bytes]:
    """Yields the content; raises FetchError if there is too much of it."""
    too_long = FetchError(f"longer than {limits.max_bytes:,} bytes")
    length = answer.headers.get("Content-Length", "")
    if length.isdigit() and int(length) > limits.max_bytes:
        raise too_long
    size = 0
    for piece in answer.iter_content(PIECE_BYTES):
        size += len(piece)
        if size > limits.max_bytes:
            raise too_long
        yield piece


def _failure(error: BaseException) -> FetchError:
    """Returns the error with the innermost reason, which has no URL."""
    if isinstance(error, ValueError):
        return FetchError("not an http or https address")
    causes = [error]
    while cause := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(cause)
    for cause in reversed(causes):
        if isinstance(cause, http.client.IncompleteRead):
            return FetchError("the connection broke", True)
        if isinstance(cause, TimeoutError):
            return FetchError("timed out", True)
        if isinstance(cause, OSError) and cause.strerror:
            return FetchError(cause.strerror, True)
    return FetchError("the server does not answer as a web server does", True)


class _Guard:
    """Checks the connections of one download, and ends them at its deadline.

    The timeouts of a socket are for one packet: without a deadline a server may send
    a byte a minute, also of a header, for ever.
    """

    def __init__(self, limits: Limits, allowed: Hosts | None) -> None:
        self._limits, self._allowed = limits, allowed
        self._deadline = time.monotonic() + limits.total_s
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(limits.total_s, self._end)
        self._timer.daemon = True

    def __enter__(self) -> "_Guard":
        self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()
        for each in self._sockets:
            each.close()
        if self._is_over():  # what looks like the end of the content may be the timer's
            text = f"not complete after {self._limits.total_s:g} s"
            raise FetchError(text) from None

    def connect(self, connection: HTTPConnection) -> socket.socket:
        """Connects to an address that was checked, so that no second look-up differs.

        Raises:
          FetchError: if the host or all of its addresses are not allowed.
          OSError: if it cannot be found or reached.
        """
        host, port = connection.host, connection.port or 80
        failure: OSError = ConnectionError()
        for address in self._addresses(host, port):
            try:
                made = create_connection(
                    (address, port),
                    connection.timeout,
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
        if self._allowed and not self._allowed.allows_name(host, port):
            raise FetchError(f"the host {host!r} is not allowed")
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = run_with_deadline(look_up, self._limits.connect_s)
        addresses = [str(where[0]) for *_, where in found]
        if not self._allowed:
            return addresses
        public = [each for each in addresses if self._allowed.allows_address(each)]
        if not public:
            raise FetchError(
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

    def __init__(self, guard: _Guard) -> None:
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


def _session(guard: _Guard, with_environment: bool) -> requests.Session:
    session = requests.Session()
    session.trust_env = with_environment
    session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
    session.headers.update(HEADERS)
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(guard))
    return session
