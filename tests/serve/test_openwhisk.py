"""The OpenWhisk action as the platform uses it: its sequence, its model, its port."""

from pathlib import Path

import pytest

import poets
from tests.command import run_python, silent_server
from tests.serve.action import Platform, as_value, draw_digit
from tests.serve.actor import LOOPBACK

pytest_plugins = ["tests.finished", "tests.serve.action"]

UNSET = {"MODEL": "", "PATH_TO_ONNX_MODEL": "", "POETS_ALLOW_URLS": ""}


def test_init_run_run_and_a_second_init(run_action, digit_model, web_server):
    for digit in (3, 6):
        web_server.files[f"/{digit}.png"] = draw_digit(digit)
    with run_action() as action:
        first = action.init(PATH_TO_ONNX_MODEL=digit_model, POETS_ALLOW_URLS=LOOPBACK)
        assert (first.status_code, first.text, action.ends) == (200, "OK", [0, 0])
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
            assert action.ends == [count, count]
        second = action.init(PATH_TO_ONNX_MODEL="other.onnx")
        assert second.status_code == 403
        assert second.json() == {
            "error": "Cannot initialize the action more than once."
        }
        assert action.ends == [2, 2]
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
    given = {name: text.format(broken=broken) for name, text in environment.items()}
    platform = Platform(any_action, **UNSET | given)
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
    platform = Platform(any_action, **UNSET | {variable: tmp_path / "words.onnx"})
    _, reply = platform.invoke(as_value(draw_digit(6)))
    assert (reply["code"], reply["res"], reply["label"]) == (200, 6, "six")


def test_a_model_that_comes_later_is_taken(any_action, digit_model, tmp_path):
    path = tmp_path / "late.onnx"
    platform = Platform(any_action, **UNSET | {"PATH_TO_ONNX_MODEL": path})
    assert platform.invoke(as_value(draw_digit(1)))[1]["error"]["res"] == -3
    path.write_bytes(digit_model.read_bytes())
    assert platform.invoke(as_value(draw_digit(1)))[1]["res"] == 1


@pytest.mark.parametrize("port", ["eighty", "-1", "70000"])
def test_a_wrong_port_is_a_mistake(port):
    ended = run_python(["-m", "poets.serve.openwhisk"], {"FLASK_PROXY_PORT": port})
    assert ended.code == 2
    assert ended.err.startswith(f"cannot listen on FLASK_PROXY_PORT={port}: ")
    assert ended.err.endswith("; give a free port\n")


def test_a_port_in_use_is_named():
    with silent_server() as port:
        variables = {"FLASK_PROXY_PORT": str(port)}
        ended = run_python(["-m", "poets.serve.openwhisk"], variables)
    assert ended.code == 2
    assert f"FLASK_PROXY_PORT={port}: " in ended.err
