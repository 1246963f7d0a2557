"""The OpenWhisk action as the platform uses it: real HTTP to the real process."""

import asyncio
import base64
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

import poets
from poets.serve import openwhisk
from tests.command import run_python
from tests.serve.action import SENTINEL, TIMEOUT_S, Platform, draw_digit

pytest_plugins = ["tests.finished", "tests.serve.action"]

NO_ARGUMENT = "The action did not receive a dictionary or array as an argument."
NOT_INITIALIZED = (
    "The action failed to generate or locate a binary. See logs for details."
)
LOOPBACK = "*,127.0.0.0/8"


def as_value(picture):
    return {"image": base64.b64encode(picture).decode()}


@pytest.fixture(scope="module")
def action(run_action, digit_model):
    """An action with the digit model, from its own environment, not initialized."""
    with run_action(PATH_TO_ONNX_MODEL=digit_model, POETS_ALLOW_URLS=LOOPBACK) as made:
        yield made


def ends(action):
    """Returns how many activations each stream has seen the end of."""
    out, err = action.logs
    return [log.count(SENTINEL) for log in (out, err)]


# The platform's sequence.


def test_init_run_run_and_a_second_init(run_action, digit_model, web_server):
    for digit in (3, 6):
        web_server.files[f"/{digit}.png"] = draw_digit(digit)
    with run_action() as action:
        first = action.init(PATH_TO_ONNX_MODEL=digit_model, POETS_ALLOW_URLS=LOOPBACK)
        assert (first.status_code, first.text, ends(action)) == (200, "OK", [0, 0])
        for digit, count in ((3, 1), (6, 2)):
            answer = action.run({"url": web_server.url(f"/{digit}.png")})
            assert answer.status_code == 200
            assert answer.headers["Content-Type"] == "application/json"
            reply = answer.json()
            assert list(reply) == ["code", "res", "label", "scores"]
            assert (reply["code"], reply["res"]) == (200, digit)
            assert reply["label"] == next(iter(reply["scores"])) == str(digit)
            assert sorted(reply["scores"]) == list("0123456789")
            assert sum(reply["scores"].values()) == pytest.approx(1)
            assert ends(action) == [count, count]
        second = action.init(PATH_TO_ONNX_MODEL="other.onnx")
        assert second.status_code == 403
        assert second.json() == {
            "error": "Cannot initialize the action more than once."
        }
        assert ends(action) == [2, 2]
        assert action.run(as_value(draw_digit(1))).json()["res"] == 1


def test_a_second_init_may_be_allowed_and_loads_another_model(
    run_action, digit_model, finished
):
    graph = finished.folder / "retrained_graph.tflite"
    with run_action(PROXY_ALLOW_REINIT="1") as action:
        assert action.init(PATH_TO_ONNX_MODEL=digit_model).status_code == 200
        assert action.run(as_value(draw_digit(8))).json()["label"] == "8"
        again = action.init(PATH_TO_ONNX_MODEL="", MODEL=graph)
        assert (again.status_code, again.text) == (200, "OK")
        reply = action.run(as_value(draw_digit(8))).json()
        assert reply["label"] in finished.labels


def test_a_trained_model_answers_as_everywhere_and_without_tensorflow(
    run_action, finished
):
    picture = (finished.image_dir / finished.turned).read_bytes()
    (expected,) = poets.load(finished.saved_model).predict([picture])
    with run_action() as action:
        platform = Platform(action, MODEL=finished.folder / "retrained_graph.tflite")
        status, reply = platform.invoke(as_value(picture))
        maps = Path(f"/proc/{action.process.pid}/maps").read_text()
    assert status == 200
    assert reply["label"] == expected.label == finished.labels[reply["res"]]
    assert reply["scores"] == pytest.approx(dict(expected.scores), abs=1e-3)
    assert "ai_edge_litert" in maps
    assert "/tensorflow/" not in maps


def test_success_and_failure_as_callers_of_the_platform_see_them(
    run_action, digit_model
):
    good, bad = as_value(draw_digit(5)), as_value(b"no picture")
    with run_action(PATH_TO_ONNX_MODEL=digit_model) as action:
        platform = Platform(action)
        assert platform.activate(good).status == "success"
        failed = platform.activate(bad)
        assert failed.status == "application_error"
        assert failed.logs[1].startswith("cannot read the picture: not a JPEG, ")
        status, body = platform.invoke(bad)
        assert status == 502
        assert {"code": 500, "res": -1}.items() <= body["error"].items()
        status, body = platform.invoke_web(good)
        assert (status, body["code"], body["res"]) == (200, 200, 5)
        status, body = platform.invoke_web(bad)
        assert (status, body["code"], body["res"]) == (200, 500, -1)
        direct = action.run(bad).json()
        error = direct.pop("error")
        assert direct == {"code": 500, "res": -1}
        assert direct.items() < error.items()
        assert error["message"].startswith("cannot read the picture: not a JPEG, ")


# Bodies.


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"null", b"[]", b"3", b'"text"', b"\xff\xfe\x00"),
        *(b'{"value": null}', b'{"value": "text"}', b'{"value": 3}'),
        *(b"[" * 100_000, b"1" * 5_000),
    ],
)
def test_a_body_that_is_not_the_platforms_is_refused(action, body):
    before = ends(action)
    answer = action.post("/run", body)
    assert (answer.status_code, answer.json()) == (404, {"error": NO_ARGUMENT})
    assert ends(action) == [count + 1 for count in before]


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
    before, logged = ends(action), len(action.logs[1])
    answer = action.post("/init", {"value": value})
    assert (answer.status_code, answer.json()) == (502, {"error": NOT_INITIALIZED})
    assert ends(action) == [count + 1 for count in before]
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
    before = ends(action)
    with socket.create_connection(("127.0.0.1", action.port), TIMEOUT_S) as caller:
        caller.sendall(b"POST /run HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
    wait_until(lambda: ends(action) == [count + 1 for count in before], TIMEOUT_S)
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


# One run at a time.


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


# The model.


@pytest.fixture(scope="module")
def any_action(run_action):
    """An action that may be initialized again and again."""
    with run_action(PROXY_ALLOW_REINIT="1") as made:
        yield made


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "no model; set MODEL to a trained model, such as a .tflite"),
        ({"MODEL": "a", "PATH_TO_ONNX_MODEL": "b"}, "MODEL and PATH_TO_ONNX_MODEL are"),
        ({"MODEL": "absent.tflite"}, "no model at 'absent.tflite'; give "),
        ({"MODEL": "{broken}"}, "'{broken}'"),
        ({"MODEL": "gopher://x/a.tflite"}, "no storage for 'gopher://x/a.tflite'"),
        ({"PATH_TO_ONNX_MODEL": "absent.onnx"}, "'absent.onnx'"),
        ({"PATH_TO_ONNX_MODEL": "{broken}"}, "'{broken}'"),
        (
            {"MODEL": "x", "POETS_ALLOW_URLS": "a b"},
            "cannot use the list of hosts 'a b'",
        ),
    ],
)
def test_a_model_that_cannot_be_loaded(any_action, tmp_path, environment, message):
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no model")
    unset = {"MODEL": "", "PATH_TO_ONNX_MODEL": "", "POETS_ALLOW_URLS": ""}
    given = {name: text.format(broken=broken) for name, text in environment.items()}
    platform = Platform(any_action, **unset | given)
    found = platform.activate(as_value(draw_digit(1)))
    error = found.result["error"]
    assert (error["code"], error["res"]) == (500, -3)
    assert message.format(broken=broken) in error["message"]
    assert found.logs[1] == error["message"] + "\n"


@pytest.mark.parametrize("variable", ["MODEL", "PATH_TO_ONNX_MODEL"])
def test_any_classifier_in_an_onnx_file_is_taken(
    any_action, digit_model, tmp_path, variable
):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(digit_model)
    model.graph.input[0].name = model.graph.node[0].input[0] = "gray"
    softmax = onnx.helper.make_node("Softmax", ["output_0"], ["scores"])
    model.graph.node.append(softmax)
    model.graph.output[0].name = "scores"
    labels = "zero one two three four five six seven eight nine"
    properties = {
        "labels": labels.replace(" ", "\n"),
        "Image.NominalPixelRange": "Normalized_0_1",
    }
    onnx.helper.set_model_props(model, properties)
    onnx.save(model, tmp_path / "words.onnx")
    unset = {"MODEL": "", "PATH_TO_ONNX_MODEL": "", "POETS_ALLOW_URLS": ""}
    platform = Platform(any_action, **unset | {variable: tmp_path / "words.onnx"})
    _, reply = platform.invoke(as_value(draw_digit(6)))
    assert (reply["code"], reply["res"], reply["label"]) == (200, 6, "six")


def test_a_model_that_comes_later_is_taken(any_action, digit_model, tmp_path):
    path = tmp_path / "late.onnx"
    platform = Platform(
        any_action, PATH_TO_ONNX_MODEL=path, MODEL="", POETS_ALLOW_URLS=""
    )
    assert platform.invoke(as_value(draw_digit(1)))[1]["error"]["res"] == -3
    path.write_bytes(digit_model.read_bytes())
    assert platform.invoke(as_value(draw_digit(1)))[1]["res"] == 1


# The process.


@pytest.mark.parametrize("port", ["eighty", "-1", "70000"])
def test_a_wrong_port_is_a_mistake(port):
    ended = run_python(["-m", "poets.serve.openwhisk"], {"FLASK_PROXY_PORT": port})
    assert ended.code == 2
    assert ended.err.startswith(f"cannot listen on FLASK_PROXY_PORT={port}: ")
    assert ended.err.endswith("; give a free port\n")


def test_a_port_in_use_is_named(action):
    port = str(action.port)
    ended = run_python(["-m", "poets.serve.openwhisk"], {"FLASK_PROXY_PORT": port})
    assert ended.code == 2
    assert f"FLASK_PROXY_PORT={port}: " in ended.err
