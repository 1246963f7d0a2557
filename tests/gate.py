"""A gate before an object store: requests pass, and are refused as a test wants it.

    program ──> gate ──> moto             `gate.environment`: it is the store's address
    program ──> gate ──> any http server  it is the proxy of HTTP_PROXY

It runs in the test's process, which sees in `seen` what came through.
"""

import http.client
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from tests.objects import S3Server

OWN = {"connection", "content-length", "date", "server", "transfer-encoding"}
"""Headers that are of one connection, and not of the message."""


class Gate:
    """A running gate.

    Attributes:
      address: host:port.
      seen: method and target of each request, as "GET /bucket/key".
      refuse: returns status and code for a request, or None to let it pass.
    """

    def __init__(self, store: S3Server) -> None:
        self._store = store
        self.seen: list[str] = []
        self.refuse: Callable[[str, str], tuple[int, str] | None] = lambda *_: None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a program that takes the gate for the store."""
        return self._store.environment | {"S3_ENDPOINT": self.address}

    def origin(self, target: str) -> tuple[str, str]:
        """Returns host:port and path of what a request is for."""
        parts = urlsplit(target)
        path = target.partition(parts.netloc)[2] if parts.netloc else target
        return parts.netloc or self._store.address, path or "/"

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(gate: Gate) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            gate.seen.append(f"{self.command} {self.path}")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if refusal := gate.refuse(self.command, self.path):
                status, code = refusal
                self.reply(status, {"Content-Type": "application/xml"}, _error(code))
                return
            netloc, path = gate.origin(self.path)
            connection = http.client.HTTPConnection(netloc, timeout=60)
            connection.request(self.command, path, body, dict(self.headers))
            found = connection.getresponse()
            headers = {k: v for k, v in found.getheaders() if k.lower() not in OWN}
            length = int(found.getheader("Content-Length") or 0)
            self.reply(found.status, headers, found.read(), length)
            connection.close()

        def reply(
            self, status: int, headers: dict[str, str], body: bytes, length: int = 0
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            headless = self.command == "HEAD"
            self.send_header("Content-Length", str(length if headless else len(body)))
            self.end_headers()
            if not headless:
                self.wfile.write(body)

        def log_message(self, *args: object) -> None: ...

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815

    return Handler


def _error(code: str) -> bytes:
    if not code:
        return b""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f"<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>"
    ).encode()


@pytest.fixture
def gate(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A gate that this process and its children take for the store."""
    found = Gate(s3)
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    yield found
    found.close()
