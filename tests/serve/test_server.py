"""How a model server starts, guards itself, and ends."""

import asyncio
import base64
import concurrent.futures
import json
import re
import shutil
import signal
import socket
import sys

import grpc
import pytest
import requests

from poets import cli
from poets.serve.server import run
from poets.serve.server.guard import Guard
from poets.serve.server.telemetry import Telemetry
from tests.bombs import png_of
from tests.certificates import write_certificate
from tests.command import Ended
from tests.serving import TIMEOUT_S, serving

pytest_plugins = ["tests.finished", "tests.served"]

PREDICT = "/v1/models/flowers:predict"


@pytest.fixture
def ended_of(capsys):
    """Runs a command that ends by itself in this process."""

    def run(words: list[object]) -> Ended:
        code = cli.run(list(map(str, words)))
        return Ended(code, *capsys.readouterr())

    return run


class TestStart:
    def test_wrong_flags_are_reported_together(self, finished, ended_of):
        words = ["serve", "a", "b", "--name=x", "--max_queue=0", "--timeout_s=-1"]
        words += ["--reject_below=2", "--certificate=c.pem", "--version_label=x"]
        ended = ended_of(words)
        assert ended.code == 2
        assert ended.err.startswith("poets serve: wrong flags: 6 problems\n")

    def test_a_model_that_is_not_there_ends_it(self, tmp_path, ended_of):
        words = ["serve", tmp_path / "x.tflite", "--port=0", "--grpc_port=-1"]
        ended = ended_of(words)
        assert (ended.code, "no model at" in ended.err) == (1, True)

    def test_a_port_in_use_is_found_before_the_model_loads(self, tmp_path, ended_of):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            ended = ended_of(["serve", tmp_path / "x.pb", f"--port={port}"])
        assert (ended.code, f"--port={port}" in ended.err) == (2, True)

    def test_a_grpc_port_in_use_is_found_too(self, tmp_path, ended_of):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            words = ["serve", tmp_path / "x.pb", "--port=0", f"--grpc_port={port}"]
            ended = ended_of(words)
        assert (ended.code, f"--grpc_port={port}" in ended.err) == (2, True)

    def test_two_models_of_one_name_are_refused(self, finished, ended_of):
        ended = ended_of(["serve", finished.folder, finished.folder])
        assert (ended.code, "NAME=MODEL" in ended.err) == (2, True)

    def test_a_tflite_needs_no_tensorflow(self, finished, photo, tmp_path):
        shutil.copy(finished.folder / "retrained_graph.tflite", tmp_path / "f.tflite")
        (tmp_path / "tensorflow.py").write_text("raise SystemExit('imported')\n")
        path = {"PYTHONPATH": str(tmp_path)}
        with serving(tmp_path / "f.tflite", environment=path) as server:
            reply = server.post("/v1/models/f:predict", data=photo)
            assert reply.status_code == 200


class TestToken:
    @pytest.fixture(scope="class")
    def guarded(self, finished, tmp_path_factory):
        path = tmp_path_factory.mktemp("token") / "token"
        path.write_text("s3cret-token\n")
        words = [f"flowers={finished.folder}", "--processes=1", "--access_log"]
        with serving(*words, f"--token_file={path}") as server:
            yield server
        assert "s3cret-token" not in "".join(server.lines)

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic s3cret-token"},
            {"Authorization": "Bearer"},
        ],
    )
    def test_http_needs_it(self, guarded, photo, headers):
        for path in (PREDICT, "/metrics", "/about"):
            reply = guarded.post(path, data=photo, headers=headers)
            assert reply.status_code == 401
            assert reply.headers["www-authenticate"] == "Bearer"

    def test_http_takes_it(self, guarded, photo):
        headers = {"Authorization": "Bearer s3cret-token"}
        assert guarded.post(PREDICT, data=photo, headers=headers).status_code == 200

    @pytest.mark.parametrize("path", ["/", "/v2/health/live", "/v2/health/ready"])
    def test_probes_and_the_page_need_none(self, guarded, path):
        assert guarded.get(path).status_code == 200

    @pytest.mark.parametrize(
        ("token", "code"),
        [("", "UNAUTHENTICATED"), ("wrong", "UNAUTHENTICATED"), ("s3cret-token", "OK")],
    )
    def test_grpc_needs_it(self, guarded, token, code):
        from tensorflow_serving.apis import get_model_status_pb2 as messages
        from tensorflow_serving.apis import model_service_pb2_grpc

        request = messages.GetModelStatusRequest()
        request.model_spec.name = "flowers"
        metadata = [("authorization", f"Bearer {token}")] if token else []
        with grpc.insecure_channel(guarded.grpc) as channel:
            service = model_service_pb2_grpc.ModelServiceStub(channel)
            found = "OK"
            try:
                service.GetModelStatus(request, TIMEOUT_S, metadata=metadata)
            except grpc.RpcError as error:
                found = error.code().name
        assert found == code

    @pytest.mark.parametrize("content", ["", "\n", "gr\u00fc\u00df"])
    def test_an_unusable_file_is_the_users_mistake(
        self, finished, tmp_path, content, ended_of
    ):
        path = tmp_path / "token"
        path.write_text(content)
        ended = ended_of(["serve", finished.folder, f"--token_file={path}"])
        assert (ended.code, f"--token_file={path}" in ended.err) == (2, True)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    return write_certificate(tmp_path_factory.mktemp("tls"))


class TestTLS:
    def test_both_ports_use_it(self, finished, photo, pair):
        chain, key = pair
        words = [f"flowers={finished.folder}", "--processes=1"]
        with serving(*words, f"--certificate={chain}", f"--key={key}") as server:
            assert server.url.startswith("https://")
            reply = server.post(PREDICT, data=photo, verify=str(chain))
            assert reply.status_code == 200
            credentials = grpc.ssl_channel_credentials(chain.read_bytes())
            with grpc.secure_channel(server.grpc, credentials) as channel:
                grpc.channel_ready_future(channel).result(TIMEOUT_S)

    def test_a_pair_that_does_not_belong_together_is_refused(
        self, finished, pair, ended_of
    ):
        chain, _ = pair
        words = ["serve", finished.folder, "--port=0", "--grpc_port=-1"]
        ended = ended_of([*words, f"--certificate={chain}", f"--key={chain}"])
        assert (ended.code, "belong together" in ended.err) == (2, True)


class TestLimits:
    @pytest.fixture(scope="class")
    def small(self, finished):
        words = [f"flowers={finished.folder}", "--processes=1", "--max_queue=4"]
        with serving(*words, "--max_body_mb=1") as server:
            yield server

    def test_a_long_body_is_refused_before_it_is_read(self, small):
        with socket.create_connection(address(small), TIMEOUT_S) as connection:
            head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n"
            connection.sendall(f"{head}\r\n".encode())
            assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")

    def test_a_long_body_in_pieces_is_refused_while_it_is_read(self, small):
        reply = small.post(PREDICT, data=(bytes(1 << 16) for _ in range(100)))
        assert (reply.status_code, "1048576 bytes" in reply.text) == (413, True)

    def test_a_long_message_is_refused_by_grpc(self, small, photo):
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

        request = predict_pb2.PredictRequest()
        request.inputs["image"].string_val.append(bytes(2 << 20))
        with grpc.insecure_channel(small.grpc) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.Predict(request, TIMEOUT_S)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED

    def test_more_pictures_than_may_wait_are_refused(self, small, photo):
        row = {"b64": base64.b64encode(photo).decode()}
        reply = small.post(PREDICT, json={"instances": [row] * 5})
        assert (reply.status_code, "queue of 4" in reply.text) == (429, True)
        assert small.post(PREDICT, json={"instances": [row] * 4}).status_code == 200
        assert "poets_rejected_total 1.0" in small.get("/metrics").text

    def test_a_decompression_bomb_is_refused(self, small):
        reply = small.post(PREDICT, data=png_of(20_000, 20_000))
        assert (reply.status_code, "bomb" in reply.text) == (400, True)

    @pytest.mark.parametrize("length", ["-1", "x", "1e9"])
    def test_a_wrong_length_is_refused(self, small, length):
        with socket.create_connection(address(small), TIMEOUT_S) as connection:
            head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n"
            connection.sendall(f"{head}\r\n".encode())
            assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")


def address(server):
    host, port = re.fullmatch(r"http://(.+):(\d+)", server.url).groups()
    return host, int(port)


def test_the_time_for_an_answer_begins_after_the_body():
    settings = run.Settings([], "", 0, None, 1, 1, 100, timeout_s=0.5)
    arriving = iter([(0, True), (0.7, False)])
    sent = []

    async def receive():
        pause_s, more = next(arriving)
        await asyncio.sleep(pause_s)
        return {"type": "http.request", "body": b"x", "more_body": more}

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        while (await receive())["more_body"]:
            pass
        await asyncio.sleep(0.01)  # the scores
        await send({"type": "http.response.start", "status": 200, "headers": []})

    scope = {"type": "http", "method": "POST", "path": "/v1/models/m:predict"}
    scope["headers"] = [(b"content-length", b"2")]
    asyncio.run(Guard(app, settings, Telemetry())(scope, receive, send))
    assert sent[0]["status"] == 200


class TestSlowClients:
    @pytest.fixture(scope="class")
    def impatient(self, finished, tmp_path_factory):
        folder = tmp_path_factory.mktemp("impatient")
        (folder / "sitecustomize.py").write_text(
            "import os, sys\n"
            "if 'serve' in sys.orig_argv:\n"
            "    from poets.serve.server import http, run as server\n"
            "    http.HEAD_TIMEOUT_S, http.MAX_CONNECTIONS = 0.5, 20\n"
            "    original = server.Settings\n"
            "    server.Settings = lambda **g: original(body_timeout_s=0.5, **g)\n"
        )
        path = {"PYTHONPATH": f"{folder}:{sys.path[0]}"}
        words = [f"flowers={finished.folder}", "--processes=1"]
        with serving(*words, environment=path) as server:
            yield server

    @pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r"])
    def test_a_request_that_does_not_arrive_ends_its_connection(self, impatient, sent):
        with socket.create_connection(address(impatient), TIMEOUT_S) as connection:
            connection.sendall(sent)
            assert connection.recv(4096) == b""

    def test_also_on_a_connection_that_was_used(self, impatient):
        with socket.create_connection(address(impatient), TIMEOUT_S) as connection:
            connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\nGET")
            data = b""
            while part := connection.recv(4096):
                data += part
            assert data.endswith(b'{"live":true}')

    def test_a_body_that_does_not_arrive_is_refused(self, impatient):
        with socket.create_connection(address(impatient), TIMEOUT_S) as connection:
            head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1"
            connection.sendall(head.encode())
            assert connection.recv(4096).startswith(b"HTTP/1.1 408 ")

    def test_a_flood_of_connections_leaves_the_server_answering(self, impatient):
        flood = [socket.create_connection(address(impatient)) for _ in range(60)]
        try:
            for connection in flood:
                connection.settimeout(TIMEOUT_S)
                assert connection.recv(1) == b""
        finally:
            for connection in flood:
                connection.close()
        assert impatient.get("/v2/health/ready").status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_the_last_answers(finished, photo, number):
    with serving(f"flowers={finished.folder}", "--processes=1") as server:
        row = {"b64": base64.b64encode(photo).decode()}
        body = json.dumps({"instances": [row] * 60})
        server.post(PREDICT, data=photo)
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            asked = [threads.submit(server.post, PREDICT, data=body) for _ in range(2)]
            metrics = requests.Session()
            while (
                'poets_batch_pictures_bucket{le="1.0"} 1.0'
                not in (
                    text := metrics.get(server.url + "/metrics", timeout=TIMEOUT_S).text
                )
                or 'le="+Inf"} 1.0' in text
            ):
                pass  # until the pictures are being scored
            code = server.stop(number)
            replies = [each.result(TIMEOUT_S) for each in asked]
        assert code == 0
        assert [reply.status_code for reply in replies] == [200, 200]
        assert [len(reply.json()["predictions"]) for reply in replies] == [60, 60]
        with pytest.raises(requests.ConnectionError):
            server.get("/v2/health/live")


def test_metrics_and_the_access_log_have_each_request(finished, photo):
    words = [f"flowers={finished.folder}", "--processes=1", "--access_log"]
    with serving(*words) as server:
        server.post(f"{PREDICT}?token=hidden", data=photo)
        server.post(PREDICT, data=b"{")
        text = server.get("/metrics").text
        assert 'poets_requests_total{interface="http",status="200"} 1.0' in text
        assert 'poets_requests_total{interface="http",status="400"} 1.0' in text
        assert 'poets_model_version{model="flowers"} 1.0' in text
        assert "poets_request_seconds_bucket" in text
        server.stop()
    lines = [line for line in server.lines if "|poets.access|" in line]
    logged = [json.loads(line.partition("]: ")[2]) for line in lines]
    assert [entry["status"] for entry in logged] == ["200", "400", "200"]
    assert logged[0]["path"] == PREDICT
    assert "hidden" not in "".join(server.lines)
