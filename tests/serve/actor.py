"""The actor's program as a platform runs it, and the platform's documented interface.

    POST .../actors/v2/ID/messages ──> run(Delivery) ──> Execution: code, logs, results

`run_actor` is a run with the real program: a process with a clean environment, a real
FIFO for a binary message and a real datagram socket for results.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import numpy as np
import simplejpeg

ROOT = Path(__file__).parents[2]
LABELS = ("red, as of roses", "green", "bläu")
TIMEOUT_S = 300
TOKEN = "a-token-that-nobody-sees"
CLEAN = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
LOOPBACK = "*,127.0.0.0/8"


@dataclass(frozen=True)
class Delivery:
    """A message as an execution gets it.

    Attributes:
      text: the content of MSG, None for a binary message.
      data: the bytes of a binary message.
      parameters: the query parameters, which become variables.
    """

    text: str | None = None
    data: bytes = b""
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Execution:
    """How a run ended; `results` are its datagrams."""

    code: int = 0
    out: str = ""
    err: str = ""
    results: list[bytes] = field(default_factory=list)

    @property
    def logs(self) -> str:
        return self.out + self.err


def run_actor(
    model: Path | str,
    delivery: Delivery,
    arguments: Sequence[str] = (),
    prefix: Sequence[str] = (),
    allow_urls: str = LOOPBACK,
) -> Execution:
    """Runs the program as an Abaco worker runs a container.

    Args:
      model: its model.
      delivery: the message.
      arguments: more flags.
      prefix: what the program is started by, as setpriv.
      allow_urls: the hosts that it may ask.
    """
    environment = {**CLEAN, **delivery.parameters, "_abaco_access_token": TOKEN}
    environment["MODEL"] = str(model)
    environment["POETS_ALLOW_URLS"] = allow_urls
    with tempfile.TemporaryDirectory(prefix="poets-abaco-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        fifo, sock = folder / "binary_data", folder / "results.sock"
        held = None
        if delivery.text is None:
            os.mkfifo(fifo, 0o644)
            held = os.open(fifo, os.O_RDWR)  # as the platform does, until the end
            threading.Thread(
                target=_write_all, args=(held, delivery.data), daemon=True
            ).start()
        else:
            environment["MSG"] = delivery.text
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as results:
            results.bind(str(sock))
            sock.chmod(0o777)
            results.setblocking(False)
            done = subprocess.run(
                [
                    *(*prefix, sys.executable, "-m", "poets.serve.abaco"),
                    *(f"--binary_data={fifo}", f"--results={sock}", *arguments),
                ],
                cwd="/",
                env=environment,
                capture_output=True,
                timeout=TIMEOUT_S,
                check=False,
            )
            datagrams = list(_received(results))
        if held is not None:
            os.close(held)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    assert TOKEN.encode() not in done.stdout + done.stderr
    return Execution(
        done.returncode, done.stdout.decode(), done.stderr.decode(), datagrams
    )


def _write_all(target: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(target, left) :]


def _received(results: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield results.recv(131_072)
        except BlockingIOError:
            return


class Platform:
    """Abaco's interface as documented, on loopback; it runs messages by `run`.

    As the real one does, it reports an execution as COMPLETE before it stores the logs,
    and puts another form of the ids into links.

    Attributes:
      run: runs the message of an execution.
      executions: id -> the execution, None while it runs.
      deliveries: all messages so far, with the actor's id.
      faults: (method, status) of the next answers.
      polls_until_ready: answers of an actor before it is READY.
    """

    def __init__(self, run: Callable[[Delivery], Execution]) -> None:
        self.run = run
        self.executions: dict[str, Execution | None] = {}
        self.deliveries: list[Delivery] = []
        self.faults: list[int] = []
        self.polls_until_ready = 2
        self.actors: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self._asked: dict[str, int] = {}
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:  # noqa: N802, the base class names it
                outer._serve(self, "GET")

            def do_POST(self) -> None:  # noqa: N802
                outer._serve(self, "POST")

            def log_message(self, *args: object) -> None:
                """Keeps the tests' output clean."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs."""
        port = self._server.server_port
        return {
            "ABACO_BASE_URL": f"http://127.0.0.1:{port}/actors/v2",
            "ABACO_TOKEN": TOKEN,
        }

    def close(self) -> None:
        """Stops to listen."""
        self._server.shutdown()
        self._thread.join(TIMEOUT_S)
        self._server.server_close()

    def _serve(self, request: BaseHTTPRequestHandler, method: str) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        parts = urlsplit(request.path)
        with self._lock:
            self.requests.append(f"{method} {parts.path}")
            fault = self.faults.pop(0) if self.faults else 0
        if fault:
            status, message, result = fault, "the platform is busy", None
        elif request.headers.get("Authorization") != f"Bearer {TOKEN}":
            status, message, result = 401, "Invalid Credentials", None
        else:
            words = parts.path.removeprefix("/actors/v2").strip("/").split("/")
            kind = request.headers.get("Content-Type", "")
            query = dict(parse_qsl(parts.query))
            status, message, result = self._answer(method, words, kind, body, query)
        data = json.dumps(
            {
                "message": message,
                "result": result,
                "status": "success" if status == 200 else "error",
                "version": "1.5.1",
            }
        ).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def _answer(
        self,
        method: str,
        words: Sequence[str],
        kind: str,
        body: bytes,
        query: Mapping[str, str],
    ) -> tuple[int, str, dict[str, Any] | None]:
        if (method, *words) == ("POST", ""):
            return self._created(json.loads(body))
        if words[0] not in self.actors:
            return 404, f"No actor found with identifier: {words[0]}.", None
        actor = self.actors[words[0]]
        if method == "POST" and words[1:] == ["messages"]:
            return self._delivered(words[0], _delivery(kind, body, query))
        if len(words) == 1:
            self.polls_until_ready -= 1
            failed = "missing" in actor["image"]
            ready = "ERROR" if failed else "READY"
            status = ready if self.polls_until_ready < 0 else "SUBMITTED"
            why = "Image not found: " + actor["image"] if status == "ERROR" else None
            return 200, "Actor retrieved successfully.", {
                **actor, "status": status, "statusMessage": why
            }  # fmt: skip
        if words[2] not in self.executions:
            return 400, f"No executions found with id {words[2]}.", None
        return self._told(words)

    def _created(self, fields: dict[str, Any]) -> tuple[int, str, dict[str, Any]]:
        name = f"actor{len(self.actors)}"
        self.actors[name] = {**fields, "id": name, "_links": {"self": f"DEV_{name}"}}
        return 200, "Actor created successfully.", {
            **self.actors[name], "status": "SUBMITTED"
        }  # fmt: skip

    def _delivered(
        self, actor: str, found: Delivery
    ) -> tuple[int, str, dict[str, Any]]:
        with self._lock:
            execution = f"run{len(self.executions)}"
            self.executions[execution] = None
            self.deliveries.append(found)

        def work() -> None:
            self.executions[execution] = self.run(found)

        threading.Thread(target=work, daemon=True).start()
        links = {"self": f"/actors/v2/DEV-STAGING_{actor}/executions/DEV_{execution}"}
        result = {"executionId": execution, "msg": found.text, "_links": links}
        return 200, "The request was successful", result

    def _told(self, words: Sequence[str]) -> tuple[int, str, dict[str, Any]]:
        execution = self.executions[words[2]]
        if words[3:] == ["logs"]:
            self._asked[words[2]] = asked = self._asked.get(words[2], 0) + 1
            stored = execution is not None and asked > 1
            logs = execution.logs if stored and execution else ""
            return 200, "Logs retrieved successfully.", {"logs": logs, "_links": {}}
        result: dict[str, Any] = {"id": words[2], "status": "RUNNING"}
        if execution is not None:
            code = execution.code
            result |= {"status": "COMPLETE", "exitCode": code}
            result["finalState"] = {"ExitCode": code}
        return 200, "Actor execution retrieved successfully.", result


def _delivery(kind: str, body: bytes, query: Mapping[str, str]) -> Delivery:
    """Returns a message as the platform hands it on."""
    if kind.startswith("application/octet-stream"):
        return Delivery(None, body, query)
    if kind.startswith("application/json"):
        found = json.loads(body)
        text = found["message"] if set(found) == {"message"} else repr(found)
        return Delivery(str(text), b"", query)
    (text,) = parse_qs(body.decode(), strict_parsing=True)["message"]
    return Delivery(text, b"", query)


@contextmanager
def running(run: Callable[[Delivery], Execution]) -> Iterator[Platform]:
    """Yields a platform that listens."""
    platform = Platform(run)
    try:
        yield platform
    finally:
        platform.close()


def picture(channel: int, seed: int = 0) -> bytes:
    """Returns a JPEG in which a channel is the strongest."""
    rng = np.random.default_rng([seed, channel])
    pixels = rng.integers(0, 60, (12, 16, 3)).astype(np.uint8)
    pixels[:, :, channel] += 120
    return simplejpeg.encode_jpeg(pixels, quality=90)
