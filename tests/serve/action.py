"""The OpenWhisk action as a process, and what the platform does with its container.

    with run_action(MODEL=...) as action:       a process; its variables
        action.run({"url": ...})                POST /run, as a direct caller
        platform = Platform(action)             POST /init
        platform.invoke({"url": ...})           what a blocking caller gets
        platform.invoke_web({"url": ...})       what a caller of the web action gets

It is a plugin for pytest: `pytest_plugins = ["tests.serve.action"]`.
"""

import base64
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from tests.command import OURS, ROOT

SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"
TIMEOUT_S = 60

RunAction = Callable[..., AbstractContextManager["RunningAction"]]


class RunningAction:
    """A process of the action; `port` is set once it listens.

    Attributes:
      process: the process.
      port: where it listens.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
        self._streams = (folder / "stdout", folder / "stderr")
        with open(self._streams[0], "wb") as out, open(self._streams[1], "wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "poets.serve.openwhisk"],
                cwd=ROOT,
                env={**kept, "FLASK_PROXY_PORT": "0", **environment},
                stdout=out,
                stderr=err,
            )
        self.port = 0

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def logs(self) -> tuple[str, str]:
        """What it has written to stdout and to stderr."""
        out, err = (stream.read_text() for stream in self._streams)
        return out, err

    @property
    def ends(self) -> list[int]:
        """How many activations stdout and stderr have seen the end of."""
        return [log.count(SENTINEL) for log in self.logs]

    def listens(self) -> bool:
        """Returns whether it has started; it must not have ended."""
        assert self.process.poll() is None, self.logs
        if found := re.search(r"listening on port (\d+)\n", self.logs[1]):
            self.port = int(found[1])
        return bool(found)

    def post(self, path: str, body: Any) -> requests.Response:
        """Sends bytes, or an object as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return requests.post(self.url + path, data, timeout=TIMEOUT_S)

    def init(self, **environment: object) -> requests.Response:
        """Sends `/init` with variables."""
        env = {name: str(value) for name, value in environment.items()}
        value = {"name": "mnist", "main": "main", "binary": False, "env": env}
        return self.post("/init", {"value": value})

    def run(self, value: Any, **context: Any) -> requests.Response:
        """Sends `/run` with parameters."""
        return self.post("/run", {"value": value, **context})


@pytest.fixture(scope="session")
def run_action(
    wait_until: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> RunAction:
    """Runs the action with the given variables until the end of the body.

    It must print nothing but log lines, no traceback, and end by SIGTERM.
    """

    @contextmanager
    def run(**environment: object) -> Iterator[RunningAction]:
        folder = tmp_path_factory.mktemp("action")
        variables = {name: str(value) for name, value in environment.items()}
        action = RunningAction(folder, variables)
        try:
            wait_until(action.listens, TIMEOUT_S)
            yield action
        finally:
            action.process.terminate()
            action.process.wait(TIMEOUT_S)
        out, err = action.logs
        assert out.replace(SENTINEL, "") == ""
        assert "Traceback" not in err

    return run


@dataclass(frozen=True)
class Activation:
    """The platform's record of an activation.

    Attributes:
      status: as in the platform's interface.
      result: what it stores.
      logs: what the action wrote to stdout and to stderr.
    """

    status: str
    result: Any
    logs: tuple[str, str]


class Platform:
    """What OpenWhisk does with a container, by its published contract."""

    def __init__(self, action: RunningAction, **environment: object) -> None:
        self._action = action
        own = {"__OW_NAMESPACE": "guest", "__OW_ACTION_NAME": "/guest/mnist"}
        answer = action.init(**own, **environment)
        assert answer.status_code == 200, answer.text

    def activate(self, parameters: Mapping[str, Any]) -> Activation:
        """Runs the action and returns the record."""
        starts = list(map(len, self._action.logs))
        answer = self._action.run(
            parameters,
            namespace="guest",
            action_name="/guest/mnist",
            action_version="0.0.1",
            activation_id="0123456789abcdef0123456789abcdef",
            transaction_id="0123456789abcdef0123456789abcdef",
            deadline="9999999999999",
            api_key="guest:key",
        )
        logs = self._logs(starts)
        try:
            result = answer.json()
        except ValueError:
            result = None
        if answer.status_code != 200 or not isinstance(result, dict | list):
            return Activation("action_developer_error", result, logs)
        if "error" in result:
            return Activation("application_error", {"error": result["error"]}, logs)
        return Activation("success", result, logs)

    def invoke(self, parameters: Mapping[str, Any]) -> tuple[int, Any]:
        """Returns HTTP status and body of a blocking invocation."""
        found = self.activate(parameters)
        return (200 if found.status == "success" else 502), found.result

    def invoke_web(self, parameters: Mapping[str, Any]) -> tuple[int, Any]:
        """Returns HTTP status and body of the web action `mnist.json`."""
        request = {"__ow_method": "post", "__ow_path": "", "__ow_headers": {"a": "b"}}
        found = self.activate({**parameters, **request})
        if found.status == "success":
            return 200, found.result
        if isinstance(error := found.result.get("error"), dict | list):
            return 200, error
        return 400, "Response is not valid 'application/json'."

    def _logs(self, starts: Sequence[int]) -> tuple[str, str]:
        """Returns what an activation wrote; both streams end with the sentinel.

        It is there before the response.
        """
        found = zip(self._action.logs, starts, strict=True)
        out, err = (log[start:] for log, start in found)
        for log in (out, err):
            assert log.endswith(SENTINEL)
            assert log.count(SENTINEL.strip()) == 1
        return out.removesuffix(SENTINEL), err.removesuffix(SENTINEL)


def write_digits(path: Path) -> Path:
    """Writes a network with the inputs and outputs of the original digit model.

    Output k is the sum of the columns from 2.8 k on, 2.8 of them; the picture is black
    elsewhere if its score is high.
    """
    onnx = pytest.importorskip("onnx")
    weights = np.zeros((28, 28, 10), np.float32)
    for column in range(28):
        weights[:, column, int(column / 2.8)] = 0.2
    float_ = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Flatten", ["input_0"], ["flat"]),
            onnx.helper.make_node("MatMul", ["flat", "weights"], ["output_0"]),
        ],
        "digits",
        [onnx.helper.make_tensor_value_info("input_0", float_, ["N", 1, 28, 28])],
        [onnx.helper.make_tensor_value_info("output_0", float_, ["N", 10])],
        [onnx.numpy_helper.from_array(weights.reshape(784, 10), "weights")],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


def draw_digit(digit: int, **save: Any) -> bytes:
    """Returns a picture that `write_digits` takes for the digit: a white bar, a PNG."""
    pixels = np.zeros((210, 280), np.uint8)
    pixels[:, 28 * digit : 28 * (digit + 1)] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **{"format": "PNG"} | save)
    return file.getvalue()


def as_value(picture: bytes) -> dict[str, str]:
    """Returns the parameters of a run on a picture."""
    return {"image": base64.b64encode(picture).decode()}


@pytest.fixture(scope="session")
def digit_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of `write_digits`."""
    return write_digits(tmp_path_factory.mktemp("digits") / "digits.onnx")
