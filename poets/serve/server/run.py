"""Runs a model server: REST and a page on one port, gRPC on another.

    sockets ──> models load ──> requests ──> SIGTERM: no new ones, the last answers, end

The port of HTTP is taken before models load: a port in use is found at once, and
clients that come early wait.
"""

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import uvloop

from poets.errors import ConfigError
from poets.serve.server.models import Model, Models, Source
from poets.serve.server.scoring import Scorer
from poets.system.hosts import Hosts

logger = logging.getLogger(__name__)


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
      allowed_urls: the hosts whose URLs are fetched; None for none.
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
    token: str = field(default="", repr=False)
    certificate: str = ""
    key: str = ""
    allowed_urls: Hosts | None = None


def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, see `serve`."""
    uvloop.run(serve(settings))


async def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
      ConfigError: if a port cannot be taken, or the certificate not be loaded.
      ModelError: if a model does not load.
    """
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    telemetry: Any = None

    def observe_batch(size: int) -> None:
        if telemetry:
            telemetry.observe_batch(size)

    def new_scorer(url: str, labels: str | None) -> Scorer:
        return Scorer(
            url, labels, settings.processes, settings.max_queue, observe_batch
        )

    models = Models(Model(source, new_scorer) for source in settings.sources)
    with contextlib.closing(_listen(settings.host, settings.port)) as listener:
        loading = asyncio.create_task(models.start())
        ending = asyncio.create_task(stopped.wait())
        try:
            # Imported in a thread, while the first process loads the model.
            interfaces = await asyncio.to_thread(_import_interfaces)
            telemetry = interfaces["telemetry"].Telemetry()
            http = interfaces["http"].new_server(settings, models, telemetry)
            rpc = None
            if settings.grpc_port is not None:
                rpc = interfaces["tf_grpc"].Rpc(settings, models, telemetry)
            await asyncio.wait({loading, ending}, return_when="FIRST_COMPLETED")
            if loading.done():
                loading.result()
                await _answer(settings, listener, http, rpc, ending)
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            await models.stop()
            logger.info("the server ends")


def _import_interfaces() -> dict[str, ModuleType]:
    # Its processes exec at once; gRPC would warn of each fork that it cannot prepare.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    names = ("telemetry", "http", "tf_grpc")
    return {name: importlib.import_module(f"{__package__}.{name}") for name in names}


async def _answer(
    settings: Settings,
    listener: socket.socket,
    http: Any,
    rpc: Any,
    ending: "asyncio.Task[bool]",
) -> None:
    """Answers requests until `ending`, then the last ones."""
    scheme = "https" if settings.certificate else "http"
    port = listener.getsockname()[1]
    if rpc:
        await rpc.start()
        logger.info("gRPC on %s:%d", settings.host, rpc.port)
    gc.freeze()  # a collection of all modules would stop answers for 25 ms
    answering = asyncio.create_task(http.serve([listener]))
    logger.info("serving on %s://%s:%d/", scheme, settings.host, port)
    await asyncio.wait({answering, ending}, return_when="FIRST_COMPLETED")
    logger.info("no new requests; waiting for the last answers")
    http.should_exit = True
    await asyncio.gather(answering, *([rpc.stop(settings.timeout_s)] if rpc else []))


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot listen on --host={host} --port={port}: {error}; choose another"
        ) from error
