"""What the OpenWhisk action answers to bodies, good and bad, one run at a time."""

import asyncio
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from poets.serve import openwhisk
from tests.serve.action import SENTINEL, TIMEOUT_S, Platform, as_value, draw_digit
from tests.serve.actor import LOOPBACK

pytest_plugins = ["tests.serve.action"]

NO_ARGUMENT = "The action did not receive a dictionary or array as an argument."
NOT_INITIALIZED = (
    "The action failed to generate or locate a binary. See logs for details."
)


@pytest.fixture(scope="module")
def action(run_action, digit_model):
    """An action with the digit model, from its own environment, not initialized."""
    with run_action(PATH_TO_ONNX_MODEL=digit_model, POETS_ALLOW_URLS=LOOPBACK) as made:
        yield made


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"null", b"[]", b"3", b'"text"', b"\xff\xfe\x00"),
        *(b'{"value": null}', b'{"value": "text"}', b'{"value": 3}'),
        *(b"[" * 100_000, b"1" * 5_000),
    ],
)
def test_a_body_that_is_not_the_platforms_is_refused(action, body):
    before = action.ends
    answer = action.post("/run", body)
    assert (answer.status_code, answer.json()) == (404, {"error": NO_ARGUMENT})
    assert action.ends == [count + 1 for count in before]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"value": null}', b'{"value": []}'])
def test_an_init_that_is_not_the_platforms_is_refused(action, body):
    answer = action.post("/init", body)
    assert (answer.status_code, answer.json()) == (404, {"error": NO_ARGUMENT})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"code": "UEsDBA==", "binary": True}, "this image takes no code; create the"),
        ({"env": ["MODEL"]}, "cannot set the variables in 'env': "),
        ({"env": {"A=B": "c"}}, "cannot set the variables in 'env': "),
        ({"env": {"A": "\ud800"}}, "cannot set the variables in 'env': "),
    ],
)
def test_an_init_that_cannot_be_followed_fails(action, value, reason):
    before, logged = action.ends, len(action.logs[1])
    answer = action.post("/init", {"value": value})
    assert (answer.status_code, answer.json()) == (502, {"error": NOT_INITIALIZED})
    assert action.ends == [count + 1 for count in before]
    assert action.logs[1][logged:].startswith(reason)


@pytest.mark.parametrize("path", ["/init", "/run"])
def test_only_post_is_taken(action, path):
    assert requests.get(action.url + path, timeout=TIMEOUT_S).status_code == 405


def failure(action, message):
    answer = action.post("/run", message)
    assert answer.status_code == 200
    reply = answer.json()
    error = reply.pop("error")
    assert reply.keys() == {"code", "res"}
    assert reply.items() < error.items()
    assert reply["code"] == 500
    return reply["res"], error["message"]


def test_a_body_without_value(action):
    res, message = failure(action, {"url": "http://127.0.0.1/a.png"})
    assert res == -2
    assert message.startswith("no 'value'; send ")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "no picture; give its address as 'url', or base64 as 'image'"),
        ([], "no picture; give its address as 'url', or base64 as 'image'"),
        ({"url": 3, "image": None}, "no picture; give its address as 'url'"),
        ({"image": "%%%"}, "'image' is not base64: "),
        ({"image": "QUI="}, "cannot read the picture: not a JPEG, PNG, WEBP, BMP, GIF"),
        ({"image": "☃"}, "'image' is not base64: "),
    ],
)
def test_parameters_without_a_picture(action, value, message):
    res, found = failure(action, {"value": value})
    assert (res, found[: len(message)]) == (-1, message)


def test_other_parameters_and_the_platforms_keys_are_ignored(action):
    web = {"__ow_method": "post", "__ow_headers": {"a": "b"}, "__ow_path": "/x"}
    value = {**as_value(draw_digit(4)), "snowman": "☃ \ud83d\ude00", **web}
    for deadline in ("soon", None, [], float("nan"), float("inf"), 10**400, -1):
        context = {"namespace": "☃", "api_key": None, "deadline": deadline}
        assert action.run(value, **context).json()["res"] == 4


def test_any_text_comes_back_in_an_error(action):
    # A lone surrogate, which UTF-8 has no bytes for.
    _, message = failure(action, b'{"value": {"url": "http://\\ud800.\\u2603/a"}}')
    assert "cannot read " in message


def test_a_picture_above_1_mb_is_taken(action):
    picture = draw_digit(7, compress_level=0) + bytes(3 * 2**20)
    assert action.run(as_value(picture)).json()["res"] == 7


def test_a_body_above_the_limit_is_refused_and_the_next_is_served(action):
    answer = action.post("/run", bytes(48 * 2**20 + 1))
    assert answer.status_code == 413
    assert answer.json() == {
        "error": "The body has 50331649 bytes, more than 50331648."
    }
    assert action.run(as_value(draw_digit(2))).json()["res"] == 2


def test_a_caller_that_goes_away_does_not_end_the_action(action, wait_until):
    before = action.ends
    with socket.create_connection(("127.0.0.1", action.port), TIMEOUT_S) as caller:
        caller.sendall(b"POST /run HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
    wait_until(lambda: action.ends == [count + 1 for count in before], TIMEOUT_S)
    assert action.run(as_value(draw_digit(2))).json()["res"] == 2


def test_a_body_that_does_not_arrive_is_given_up(monkeypatch):
    class Stalled:
        async def stream(self):
            yield b"{"
            await asyncio.sleep(TIMEOUT_S)

    monkeypatch.setattr(openwhisk, "BODY_TIMEOUT_S", 0.01)
    answer = asyncio.run(openwhisk.Action().run(Stalled()))
    assert answer.status_code == 408
    assert json.loads(answer.body) == {
        "error": "The body was not complete after 0.01 s."
    }


def test_a_fault_of_the_action_is_reported_and_ends_the_log(monkeypatch, capsys):
    class Request:
        async def stream(self):
            yield b'{"value": {"image": "QUI="}}'

    def fail(*args):
        raise KeyError("unforeseen")

    monkeypatch.setattr(openwhisk, "load_model", fail)
    answer = asyncio.run(openwhisk.Action().run(Request()))
    assert answer.status_code == 500
    assert json.loads(answer.body) == {
        "error": "Internal error. KeyError: 'unforeseen'"
    }
    streams = capsys.readouterr()
    assert (streams.out, streams.err) == (SENTINEL, SENTINEL)


def test_the_sentinel_in_a_parameter_does_not_end_the_log(run_action, digit_model):
    with run_action(PATH_TO_ONNX_MODEL=digit_model) as action:
        name = SENTINEL.strip()
        found = Platform(action).activate({"url": f"gopher://{name}/{name}"})
        assert "cannot read 'gopher://.../...': " in found.logs[1]


def test_runs_do_not_overlap(action):
    both = threading.Barrier(2)
    met = []

    class Picture(BaseHTTPRequestHandler):
        def do_GET(self):
            try:
                both.wait(0.5)
                met.append(True)
            except threading.BrokenBarrierError:
                both.reset()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(draw_digit(int(self.path[1:])))

        def log_message(self, *args):
            """Keeps the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Picture) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        url = f"http://127.0.0.1:{server.server_port}"
        with ThreadPoolExecutor(2) as callers:
            replies = callers.map(lambda n: action.run({"url": f"{url}/{n}"}), (1, 2))
            found = [reply.json()["res"] for reply in replies]
        server.shutdown()
        serving.join()
    assert (found, met) == ([1, 2], [])
