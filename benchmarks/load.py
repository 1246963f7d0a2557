"""A load generator: sends photographs to a server and measures its answers.

    python -m benchmarks.load grpc://127.0.0.1:8500/flowers --image_dir flower_photos

One connection has one request under way at a time. Without `--rate_per_s`, each sends
the next request after an answer: the server is as busy as it can be. With it, requests
are due at random times (a Poisson process), whether answers came or not, and a latency
begins when its request was due. It prints one JSON object.

It runs as a process of its own, and takes its own CPU time apart: on the cores of the
server, that is time that the server did not have.
"""

import argparse
import asyncio
import base64
import json
import random
import resource
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import uvloop

from benchmarks.inputs import photographs

MAX_IMAGES = 1000
ANSWER_TIMEOUT_S = 60

Send = Callable[[bytes], Awaitable[str]]
"""Sends a request; returns the status of its answer."""


def raw(photograph: bytes) -> tuple[str, bytes]:
    """Returns the content type and the body of a picture by itself."""
    return "image/jpeg", photograph


def rows(photograph: bytes) -> tuple[str, bytes]:
    """Returns a request of TensorFlow Serving, Base64 in JSON."""
    encoded = base64.b64encode(photograph).decode()
    return "application/json", json.dumps({"instances": [{"b64": encoded}]}).encode()


BODIES = {"raw": raw, "json": rows}


class Http:
    """One connection that speaks HTTP/1.1, opened again when the server closes it."""

    def __init__(self, host: str, port: int) -> None:
        self._place = host, port
        self._open: _Connection | None = None

    async def send(self, request: bytes) -> str:
        """Sends a request; returns the status of its answer."""
        loop = asyncio.get_running_loop()
        if self._open is None or self._open.closes:
            _, self._open = await loop.create_connection(_Connection, *self._place)
        return await self._open.send(request)


class _Connection(asyncio.Protocol):
    """A connection until the server closes it."""

    closes = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._answered = transport, None

    def send(self, request: bytes) -> "asyncio.Future[str]":
        self._received = b""
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answered

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, _, body = self._received.partition(b"\r\n\r\n")
        head = head.lower()
        _, has_length, after = head.partition(b"\ncontent-length:")
        if has_length and len(body) >= int(after.split(b"\r", 1)[0]):
            self.closes = b"\nconnection: close" in head
            self._done(head.split(b" ", 2)[1].decode())

    def connection_lost(self, error: Exception | None) -> None:
        self.closes = True
        self._done("closed")

    def _done(self, status: str) -> None:
        if self._answered and not self._answered.done():
            self._answered.set_result(status)


class Grpc:
    """One connection that calls PredictionService.Predict."""

    def __init__(self, host: str, port: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]  # do not share connections
        self._channel = grpc.aio.insecure_channel(f"{host}:{port}", options)
        self._predict = self._channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict"
        )

    async def send(self, request: bytes) -> str:
        """Sends a request; returns the status of its answer."""
        try:
            await self._predict(request)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"


def requests_of(url: str, body: str, pictures: list[bytes]) -> list[bytes]:
    """Returns the request for each picture as it is sent."""
    place = urlsplit(url)
    if place.scheme == "grpc":
        from poets.serve.server.tf_protos import DT_STRING, MESSAGES

        def request(picture: bytes) -> bytes:
            message = MESSAGES["PredictRequest"]()
            message.model_spec.name = place.path.strip("/")
            tensor = message.inputs["image"]
            tensor.dtype = DT_STRING
            tensor.tensor_shape.SetInParent()
            tensor.string_val.append(picture)
            return message.SerializeToString()

    else:

        def request(picture: bytes) -> bytes:
            kind, content = BODIES[body](picture)
            head = (
                f"POST {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\n"
                f"Content-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
            )
            return head.encode() + content

    return list(map(request, pictures))


class Load:
    """Sends requests over connections, and notes when answers came."""

    def __init__(self, connections: list[Send], requests: Iterator[bytes]) -> None:
        self._connections, self._requests = connections, requests
        self.latencies_s: list[float] = []
        self.statuses: Counter[str] = Counter()

    async def closed(self, seconds: float, count: int | None) -> None:
        """Keeps each connection busy for a time, or for a number of requests."""
        left = iter(range(count)) if count else cycle([0])
        end = time.perf_counter() + seconds

        async def busy(send: Send) -> None:
            while time.perf_counter() < end and next(left, None) is not None:
                await self._send(send, time.perf_counter())

        await asyncio.gather(*map(busy, self._connections))

    async def open(self, seconds: float, rate_per_s: float) -> None:
        """Sends requests at random times, over whichever connection is free."""
        due: asyncio.Queue[float | None] = asyncio.Queue()

        async def serve(send: Send) -> None:
            while (at := await due.get()) is not None:
                await self._send(send, at)

        working = [asyncio.create_task(serve(send)) for send in self._connections]
        chance = random.Random(0)
        began = at = time.perf_counter()
        while (at := at + chance.expovariate(rate_per_s)) < began + seconds:
            await asyncio.sleep(at - time.perf_counter())
            due.put_nowait(at)
        for _ in working:
            due.put_nowait(None)
        await asyncio.gather(*working)

    async def _send(self, send: Send, since: float) -> None:
        request = next(self._requests)
        status = await asyncio.wait_for(send(request), ANSWER_TIMEOUT_S)
        self.statuses[status] += 1
        self.latencies_s.append(time.perf_counter() - since)


async def measure(flags: argparse.Namespace) -> dict[str, object]:
    """Returns what the flags ask for."""
    place = urlsplit(flags.url)
    paths = islice(photographs(flags.image_dir), MAX_IMAGES)
    pictures = [path.read_bytes() for path in paths]
    requests = cycle(requests_of(flags.url, flags.body, pictures))
    kind = Grpc if place.scheme == "grpc" else Http
    sends = [
        kind(str(place.hostname), int(place.port or 0)).send
        for _ in range(flags.connections)
    ]
    await Load(sends, requests).closed(flags.warm_up_s, None)
    load = Load(sends, requests)
    began_s, began_cpu_s = time.perf_counter(), _cpu_s()
    if flags.rate_per_s:
        await load.open(flags.seconds, flags.rate_per_s)
    else:
        await load.closed(flags.seconds, flags.count)
    took_s = time.perf_counter() - began_s
    latencies = sorted(load.latencies_s)
    return {
        "requests": len(latencies),
        "per_s": len(latencies) / took_s,
        "seconds": took_s,
        "cpu_s": _cpu_s() - began_cpu_s,
        "statuses": load.statuses,
        **{
            f"p{percent}_ms": latencies[len(latencies) * percent // 100] * 1000
            for percent in (50, 99)
        },
    }


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Parses the flags, measures and prints the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load")
    parser.add_argument("url", help="http://HOST:PORT/PATH or grpc://HOST:PORT/MODEL")
    parser.add_argument("--image_dir", type=Path, required=True)
    parser.add_argument("--body", choices=BODIES, default="raw")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--count", type=int, help="requests (default: no limit)")
    parser.add_argument("--rate_per_s", type=float)
    parser.add_argument("--warm_up_s", type=float, default=0.5)
    print(json.dumps(uvloop.run(measure(parser.parse_args()))))


if __name__ == "__main__":
    main()
