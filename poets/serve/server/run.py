"""Runs a model server: REST and a page on one port, gRPC on another.

    sockets ──> models load ──> requests ──> SIGTERM: no new ones, the last answers, end

HTTP interfaces are rows of `INTERFACES`. Ports are taken before models load, so that
a port in use is found at once, and clients that come early wait.
"""

import asyncio
import contextlib
import importlib
import logging
import signal
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import uvicorn
import uvloop
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from poets.errors import ConfigError
from poets.serve.server.guard import Guard
from poets.serve.server.inputs import Inputs
from poets.serve.server.models import Model, Models, Source
from poets.serve.server.scoring import Scorer
from poets.serve.server.telemetry import CONTENT_TYPE, Telemetry

logger = logging.getLogger(__name__)

INTERFACES = (  # modules with routes(models, inputs)
    "poets.serve.server.tf_rest",
    "poets.serve.server.open_inference",
    "poets.serve.server.page",
)

HEAD_TIMEOUT_S = 10
"""How long the head of a request may take to arrive."""

KEEP_ALIVE_S = 75
"""How long an idle connection stays open: longer than load balancers keep theirs."""

MAX_CONNECTIONS = 1000


@dataclass(frozen=True)
class Settings:
    """How a server runs.

    Attributes:
      sources: the models.
      host: address of both ports.
      port: of HTTP; 0 for any free one.
      grpc_port: of gRPC; 0 for any free one, None for none.
      processes: per model.
      max_queue: pictures that may wait, per model.
      max_body_bytes: the longest request.
      timeout_s: how long an answer may take.
      body_timeout_s: how long a body may take to arrive.
      token: that requests must carry; "" for none.
      certificate: PEM file of the certificate chain; "" for no TLS.
      key: PEM file of its private key.
      allowed_urls: `poets.classifier.fetch.Hosts`; None to fetch no URLs.
    """

    sources: Sequence[Source]
    host: str
    port: int
    grpc_port: int | None
    processes: int
    max_queue: int
    max_body_bytes: int
    timeout_s: float
    body_timeout_s: float = 30
    token: str = ""
    certificate: str = ""
    key: str = ""
    allowed_urls: Any = None

    def __repr__(self) -> str:
        return f"Settings({self.host}:{self.port})"  # without the token


def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, see `serve`."""
    uvloop.run(serve(settings))


async def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
      ConfigError: if a port cannot be taken, or the certificate not be loaded.
      ModelError: if a model does not load.
    """
    telemetry = Telemetry()

    def new_scorer(url: str, labels: str | None) -> Scorer:
        return Scorer(
            url,
            labels,
            settings.processes,
            settings.max_queue,
            telemetry.observe_batch,
        )

    models = Models(Model(source, new_scorer) for source in settings.sources)
    with contextlib.closing(_listen(settings.host, settings.port)) as listener:
        server = _Server(_config(settings, models, telemetry))
        rpc = None
        if settings.grpc_port is not None:
            tf_grpc = importlib.import_module("poets.serve.server.tf_grpc")
            rpc = await tf_grpc.listen(settings, models, telemetry)
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        loading = asyncio.create_task(models.start())
        ending = asyncio.create_task(stopped.wait())
        try:
            await asyncio.wait({loading, ending}, return_when="FIRST_COMPLETED")
            if loading.done():
                loading.result()
                await _answer(settings, listener, server, rpc, ending)
        finally:
            loading.cancel()
            await models.stop()
            logger.info("the server ends")


async def _answer(
    settings: Settings,
    listener: socket.socket,
    server: "_Server",
    rpc: Any,
    ending: "asyncio.Task[bool]",
) -> None:
    """Answers requests until `ending`, then the last ones."""
    scheme = "https" if settings.certificate else "http"
    port = listener.getsockname()[1]
    if rpc:
        await rpc.start()
        logger.info("gRPC on %s:%d", settings.host, rpc.port)
    answering = asyncio.create_task(server.serve([listener]))
    logger.info("serving on %s://%s:%d/", scheme, settings.host, port)
    await asyncio.wait({answering, ending}, return_when="FIRST_COMPLETED")
    logger.info("no new requests; waiting for the last answers")
    server.should_exit = True
    await asyncio.gather(answering, *([rpc.stop(settings.timeout_s)] if rpc else []))


def _config(settings: Settings, models: Models, telemetry: Telemetry) -> uvicorn.Config:
    inputs = Inputs(settings.allowed_urls)

    async def metrics(request: Request) -> Response:
        return Response(telemetry.text(models), media_type=CONTENT_TYPE)

    routes = [Route("/metrics", metrics)]
    for name in INTERFACES:
        routes += importlib.import_module(name).routes(models, inputs)
    guarded = Guard(
        Router(routes),
        telemetry,
        settings.token,
        settings.max_body_bytes,
        settings.body_timeout_s,
        settings.timeout_s,
    )
    config = uvicorn.Config(
        guarded,
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
    return config


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot listen on --host={host} --port={port}: {error}; choose another"
        ) from error


class _Server(uvicorn.Server):
    """Leaves signals to `serve`, which ends gRPC and the models, too."""

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
