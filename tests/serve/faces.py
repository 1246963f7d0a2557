"""Every face of a trained model, asked in one way, for the suite of test_contract.py.

A face is a row: how it is asked for the picture in bytes, and at a URL if it fetches.
"""

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import grpc
import requests

from tests.command import run_poets
from tests.serve.action import RunningAction
from tests.serve.actor import Delivery, Execution, run_actor
from tests.serving import TIMEOUT_S, Server

Scores = Mapping[str, float]


class RefusedError(Exception):
    """The face does not classify it; the text is its reason."""


class Face(ABC):
    """One way to use a model."""

    @abstractmethod
    def classify(self, picture: bytes) -> Scores:
        """Returns label -> score; raises RefusedError."""


class Rest(Face):
    """TensorFlow Serving's REST interface, with JSON."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def classify(self, picture: bytes) -> Scores:
        inputs = {"image": {"b64": base64.b64encode(picture).decode()}}
        reply = self.server.post("/v1/models/m:predict", json={"inputs": inputs})
        outputs = _body(reply)["outputs"]
        return dict(zip(outputs["classes"], outputs["prediction"][0], strict=True))


class Form(Face):
    """The same, with a form, as the page sends it."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def classify(self, picture: bytes) -> Scores:
        return self._ask({"image": ("rose.jpg", picture)})

    def classify_url(self, url: str) -> Scores:
        return self._ask({"url": (None, url)})

    def _ask(self, form: Mapping[str, object]) -> Scores:
        reply = self.server.post("/v1/models/m:classify", files=form)
        return dict(_body(reply)["results"][0])


class OpenInference(Face):
    """The Open Inference Protocol, with binary data."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def classify(self, picture: bytes) -> Scores:
        raw = len(picture).to_bytes(4, "little") + picture
        tensor = {"name": "image_bytes", "datatype": "BYTES", "shape": [1]}
        tensor["parameters"] = {"binary_data_size": len(raw)}
        head = json.dumps({"inputs": [tensor]}).encode()
        length = {"Inference-Header-Content-Length": str(len(head))}
        reply = self.server.post("/v2/models/m/infer", data=head + raw, headers=length)
        scores, labels = _body(reply)["outputs"]
        return dict(zip(labels["data"], scores["data"], strict=True))


class Grpc(Face):
    """TensorFlow Serving's gRPC interface."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def classify(self, picture: bytes) -> Scores:
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

        request = predict_pb2.PredictRequest()
        request.model_spec.name = "m"
        request.inputs["image"].dtype = 7
        request.inputs["image"].tensor_shape.SetInParent()
        request.inputs["image"].string_val.append(picture)
        options = [("grpc.max_send_message_length", 1 << 30)]
        with grpc.insecure_channel(self.server.grpc, options) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            try:
                outputs = stub.Predict(request, TIMEOUT_S).outputs
            except grpc.RpcError as error:
                raise RefusedError(error.details()) from error
        labels = [label.decode() for label in outputs["classes"].string_val]
        return dict(zip(labels, outputs["prediction"].float_val, strict=True))


class Abaco(Face):
    """A process of the Abaco actor a message."""

    def __init__(self, model: Path) -> None:
        self.model = model

    def classify(self, picture: bytes) -> Scores:
        return self._scores(run_actor(self.model, Delivery(None, picture)))

    def classify_url(self, url: str) -> Scores:
        hosts = "*,127.0.0.1"
        return self._scores(run_actor(self.model, Delivery(url), allow_urls=hosts))

    def _scores(self, done: Execution) -> Scores:
        if done.code:
            assert done.out == ""
            raise RefusedError(done.err)
        pairs = [
            line.removesuffix(")").split(" (score = ") for line in done.out.splitlines()
        ]
        return {label: float(score) for label, score in pairs}


class OpenWhisk(Face):
    """The OpenWhisk action, as a direct caller asks it."""

    def __init__(self, action: RunningAction) -> None:
        self.action = action

    def classify(self, picture: bytes) -> Scores:
        return self._ask({"image": base64.b64encode(picture).decode()})

    def classify_url(self, url: str) -> Scores:
        return self._ask({"url": url})

    def _ask(self, value: Mapping[str, str]) -> Scores:
        reply = self.action.run(value).json()
        if "error" in reply:
            error = reply["error"]
            raise RefusedError(error if isinstance(error, str) else error["message"])
        return reply["scores"]


class Label(Face):
    """`poets label`."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.model, self.folder = model, folder

    def classify(self, picture: bytes) -> Scores:
        (self.folder / "picture.jpg").write_bytes(picture)
        return self.classify_url(str(self.folder / "picture.jpg"))

    def classify_url(self, url: str) -> Scores:
        done = run_poets(["label", url, "--model", self.model, "--json"], {})
        if done.code:
            raise RefusedError(done.err)
        labels = json.loads(done.out)["labels"]
        return {each["label"]: each["score"] for each in labels}


def _body(reply: requests.Response) -> dict:
    body = reply.json()
    if "error" in body:
        assert 400 <= reply.status_code < 500
        raise RefusedError(body["error"])
    return body
