"""The load generator counts what was answered; servers are started, measured, ended."""

import base64
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.inputs import photographs
from benchmarks.limits import decoder, measure_served, rate
from benchmarks.processes import RunError, run_python
from benchmarks.servers import Model, constant, ours

pytest_plugins = ["tests.finished"]

HOLD_S = 0.05


@pytest.fixture
def image_dir(tmp_path):
    """One label with three photographs."""
    (tmp_path / "flowers" / "daisy").mkdir(parents=True)
    for shade in range(3):
        picture = Image.new("RGB", (40, 30), (80 * shade, 0, 0))
        picture.save(tmp_path / "flowers" / "daisy" / f"{shade}.jpg")
    return tmp_path / "flowers"


@contextmanager
def answering(protocol, status=200, hold_s=0.0):
    """Yields the URL of a server, and the bodies that it gets."""
    bodies = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = protocol

        def do_POST(self):
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(hold_s)  # how long an answer takes
            self.send_response(status)
            self.send_header("Content-Length", "2")
            if protocol == "HTTP/1.0":
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/predict", bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def load(image_dir, tmp_path):
    def run(url, *flags):
        arguments = [url, f"--image_dir={image_dir}", "--warm_up_s=0", *flags]
        return json.loads(
            run_python("benchmarks.load", arguments, tmp_path / "l").stdout
        )

    return run


@pytest.mark.parametrize("protocol", ["HTTP/1.1", "HTTP/1.0"])
def test_each_request_is_a_photograph_and_is_counted(protocol, load, image_dir):
    photographs = {path.read_bytes() for path in image_dir.glob("*/*")}
    with answering(protocol) as (url, bodies):
        found = load(url, "--count=40", "--connections=4", "--seconds=100")
    assert (found["requests"], found["statuses"]) == (40, {"200": 40})
    assert (len(bodies), set(bodies)) == (40, photographs)
    assert 0 < found["p50_ms"] <= found["p99_ms"]


def test_base64_in_json_is_what_tensorflow_serving_takes(load, image_dir):
    with answering("HTTP/1.1", status=429) as (url, bodies):
        found = load(url, "--body=json", "--count=3", "--connections=1")
    assert found["statuses"] == {"429": 3}
    sent = {base64.b64decode(json.loads(b)["instances"][0]["b64"]) for b in bodies}
    assert sent == {path.read_bytes() for path in image_dir.glob("*/*")}


def test_a_latency_begins_when_the_request_was_due(load):
    flags = ["--connections=1", "--seconds=1", "--rate_per_s=60"]
    with answering("HTTP/1.1", hold_s=HOLD_S) as (url, _):
        found = load(url, *flags)
    assert 30 <= found["requests"] <= 100  # due in the second, answered in several
    assert found["p99_ms"] > 5 * HOLD_S * 1000


def test_the_limit_of_a_server_is_below_that_of_its_decoder(network, image_dir):
    jpegs = [path.read_bytes() for path in photographs(image_dir)]
    decoded_per_s = rate(decoder, jpegs, 0.05)
    found = measure_served(image_dir, Path(network.paths["litert"]), 0.05)
    assert 0 < found["limit_per_s"] < decoded_per_s


@pytest.mark.parametrize("start", [ours, constant])
def test_a_server_is_started_and_measured(start, finished, load, tmp_path):
    picture = next(finished.image_dir.glob("tulips/*.jpg")).read_bytes()
    model = Model(finished.graph, tmp_path / "unused", 64, picture)
    with start(model, tmp_path / "log") as server:
        before_s = server.cpu_s
        # Enough of them to take more than a tick of the CPU's clock, 10 ms.
        assert load(server.grpc, "--count=200")["statuses"] == {"OK": 200}
        assert load(server.http, "--count=200")["statuses"] == {"200": 200}
        assert server.start_s > 0
        assert server.cpu_s > before_s > 0
        assert server.memory_mb > 20


def test_a_server_that_does_not_start_is_reported_with_its_log(tmp_path):
    model = Model(tmp_path / "absent.pb", tmp_path / "unused", 64, b"")
    with (
        pytest.raises(RunError, match="poets does not answer, see"),
        ours(model, tmp_path / "log"),
    ):
        pass
    assert "no model at" in (tmp_path / "log").read_text()
