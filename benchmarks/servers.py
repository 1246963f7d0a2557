"""The servers that are measured: ours, KServe's around the same network, a Flask app.

Each runs as a process of its own with its children, and answers the same requests.
"""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.inputs import PROJECT
from benchmarks.load import rows
from benchmarks.processes import RunError, descendants, resident_mb

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
START_TIMEOUT_S = 120.0
RETRY_S = 0.005
KSERVE = "kserve>=0.15", "onnxruntime", "pillow"


@dataclass(frozen=True)
class Model:
    """A trained model in two formats.

    Attributes:
      graph: the retrained graph, with the `.tflite` beside it.
      onnx: the same network, [N, S, S, 3] of -1 to 1 to scores.
      image_size_px: S.
      picture: one to try a server with.
    """

    graph: Path
    onnx: Path
    image_size_px: int
    picture: bytes


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
      pid: of its first process.
      http: URL of its predictions, for Base64 in JSON.
      grpc: URL for `benchmarks.load`, "" without gRPC.
      start_s: from its start to its first answer.
    """

    pid: int
    http: str
    grpc: str
    start_s: float

    @property
    def cpu_s(self) -> float:
        """CPU time of its processes until now."""
        return sum(_cpu_s(pid) for pid in [self.pid, *descendants(self.pid)])

    @property
    def memory_mb(self) -> float:
        """The sum of the resident sets of its processes."""
        pids = [self.pid, *descendants(self.pid)]
        return sum(resident_mb(pid)[0] for pid in pids)


def ours(model: Model, log: Path) -> "contextlib.AbstractContextManager[Server]":
    """Runs `poets serve` while the body runs."""
    port, grpc_port = _free_port(), _free_port()
    words = ["-m", "poets", "serve", f"flowers={model.graph}"]
    words += [f"--port={port}", f"--grpc_port={grpc_port}"]
    grpc = f"grpc://127.0.0.1:{grpc_port}/flowers"
    return _running([sys.executable, *words], port, grpc, model, log)


def constant(model: Model, log: Path) -> "contextlib.AbstractContextManager[Server]":
    """Runs a server on the libraries of ours that answers a constant."""
    port, grpc_port = _free_port(), _free_port()
    words = ["-m", "benchmarks.constant_server", str(port), str(grpc_port)]
    grpc = f"grpc://127.0.0.1:{grpc_port}/flowers"
    return _running([sys.executable, *words], port, grpc, model, log)


def kserve(model: Model, log: Path) -> "contextlib.AbstractContextManager[Server]":
    """Runs KServe's server in an environment of its own.

    Raises:
      RunError: if it cannot be installed.
    """
    python = PROJECT / ".cache" / "venv-kserve" / "bin" / "python"
    if not python.exists():
        _install(python, KSERVE, log)
    port = _free_port()
    words = ["-m", "benchmarks.kserve_server", model.onnx, model.image_size_px, port]
    return _running([str(python), *map(str, words)], port, "", model, log)


def flask(model: Model, log: Path) -> "contextlib.AbstractContextManager[Server]":
    """Runs an app on Flask's own server, one picture a request."""
    port = _free_port()
    words = ["-m", "benchmarks.flask_server", model.onnx, model.image_size_px, port]
    return _running([sys.executable, *map(str, words)], port, "", model, log)


OTHERS: dict[str, Callable[..., "contextlib.AbstractContextManager[Server]"]] = {
    "KServe's Python server": kserve,
    "Flask, one picture a request": flask,
}


@contextlib.contextmanager
def _running(
    command: Sequence[str], port: int, grpc: str, model: Model, log: Path
) -> Iterator[Server]:
    began_s = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=PROJECT, stdout=output, stderr=output)
    try:
        path = "/v1/models/flowers:predict"
        while not _answers(port, path, model.picture):
            if process.poll() is not None or _over(began_s):
                raise RunError(f"{command[2]} does not answer, see {log}")
            time.sleep(RETRY_S)
        start_s = time.monotonic() - began_s
        yield Server(process.pid, f"http://127.0.0.1:{port}{path}", grpc, start_s)
    finally:
        process.terminate()
        try:
            process.wait(START_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _over(began_s: float) -> bool:
    return time.monotonic() - began_s > START_TIMEOUT_S


def _answers(port: int, path: str, picture: bytes) -> bool:
    kind, body = rows(picture)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_TIMEOUT_S)
    try:
        connection.request("POST", path, body, {"Content-Type": kind})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def _install(python: Path, packages: Sequence[str], log: Path) -> None:
    with log.open("w") as output:
        for command in (
            [sys.executable, "-m", "venv", python.parents[1]],
            [python, "-m", "pip", "install", "--quiet", *packages],
        ):
            if subprocess.call(command, stdout=output, stderr=output):
                raise RunError(f"{' '.join(packages)} cannot be installed, see {log}")


def _cpu_s(pid: int) -> float:
    """Returns the CPU time of a process and of its children that ended; 0 if gone."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return sum(map(int, after_name[11:15])) / TICKS_PER_S
