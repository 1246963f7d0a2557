"""The port of HTTP: the interfaces on uvicorn, behind the guard."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from poets.errors import ConfigError
from poets.serve.server import open_inference, page, tf_rest
from poets.serve.server.guard import Guard
from poets.serve.server.inputs import Inputs
from poets.serve.server.models import Models
from poets.serve.server.telemetry import CONTENT_TYPE, Telemetry

if TYPE_CHECKING:
    from poets.serve.server.run import Settings

INTERFACES = (tf_rest, open_inference, page)
"""Modules with routes(models, inputs)."""

HEAD_TIMEOUT_S = 10
"""How long the head of a request may take to arrive."""

KEEP_ALIVE_S = 75
"""How long an idle connection stays open: longer than load balancers keep theirs."""

MAX_CONNECTIONS = 1000


def new_server(
    settings: "Settings", models: Models, telemetry: Telemetry
) -> uvicorn.Server:
    """Returns an HTTP server that does not answer yet.

    Raises:
      ConfigError: if the certificate cannot be loaded.
    """
    inputs = Inputs(settings.allowed_urls)

    async def metrics(request: Request) -> Response:
        return Response(telemetry.text(models), media_type=CONTENT_TYPE)

    routes = [Route("/metrics", metrics)]
    for interface in INTERFACES:
        routes += interface.routes(models, inputs)
    for route in routes:
        route.app = _plain(route.endpoint)
    config = uvicorn.Config(
        Guard(Router(routes), settings, telemetry),
        http=_Impatient,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        log_level="error",  # not a line for each damaged request
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        ssl_certfile=settings.certificate or None,
        ssl_keyfile=settings.key or None,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"--certificate={settings.certificate} --key={settings.key}: "
            f"{error.strerror or error}; give two PEM files that belong together"
        ) from error
    return _Server(config)


def _plain(answer: Callable[[Request], Awaitable[Response]]) -> ASGIApp:
    """Returns an application that raises its errors: `Guard` words them."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await answer(Request(scope, receive))
        await response(scope, receive, send)

    return app


class _Server(uvicorn.Server):
    """Leaves signals to `run.serve`, which ends gRPC and the models, too."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Impatient(HttpToolsProtocol):
    """Closes connections whose request does not arrive, and those beyond the limit."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.close()
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._start_timer()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._stop_timer()
        super().on_headers_complete()

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
