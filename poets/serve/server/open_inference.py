"""The Open Inference Protocol, version 2, as clients of KServe and Triton speak it.

    GET  /v2, /v2/health/live, /v2/health/ready
    GET  /v2/models/M[/versions/V][/ready]
    POST /v2/models/M[/versions/V]/infer     image_bytes: BYTES [N]

Inputs and outputs are JSON, or follow it as raw bytes (the binary tensor data
extension): there, each element of BYTES has its length before it. In JSON, pictures
are Base64.
"""

import binascii
import json
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import pybase64
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poets import __version__
from poets.serve.server.errors import RequestError
from poets.serve.server.inputs import Inputs, decimal, json_response, parsed_json
from poets.serve.server.models import Model, Models, Version
from poets.serve.server.signatures import BYTES, SIGNATURES, Answer, answer

INPUT = SIGNATURES[BYTES].input_name
JSON_LENGTH = "Inference-Header-Content-Length"
OUTPUTS = {"prediction": "FP32", "classes": "BYTES"}
"""Name -> type, in the order of an answer."""


def routes(models: Models, inputs: Inputs) -> list[Route]:
    """Returns the routes of this interface."""

    def find(request: Request) -> tuple[Model, Version]:
        given = request.path_params
        number = str(given.get("version", ""))
        if number and not re.fullmatch(r"[0-9]{1,19}", number):
            raise RequestError(f"version {number!r} is not a number")
        model = models.find(given["model"])
        return model, model.version(int(number) if number else None)

    async def server(request: Request) -> Response:
        about = {"name": "poets", "version": __version__}
        return json_response({**about, "extensions": ["binary_tensor_data"]})

    async def live(request: Request) -> Response:
        return json_response({"live": True})

    async def ready(request: Request) -> Response:
        are_ready = all(model.serving for model in models)
        return json_response({"ready": are_ready}, 200 if are_ready else 503)

    async def model_ready(request: Request) -> Response:
        model, _ = find(request)
        return json_response({"name": model.name, "ready": True})

    async def about_model(request: Request) -> Response:
        return json_response(_described(*find(request)))

    async def infer(request: Request) -> Response:
        find(request)  # refused before the body is read
        body, raw = _parts(request.headers.get(JSON_LENGTH), await request.body())
        pictures = _pictures(body, raw)
        wanted = _wanted(body)
        model, version = find(request)
        found = await answer(version, BYTES, pictures)
        head = {
            "model_name": model.name,
            "model_version": str(found.version),
            **({"id": body["id"]} if "id" in body else {}),
        }
        return _response(head, found, wanted)

    place = "/v2/models/{model}"
    return [
        Route("/v2", server),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
        *(
            Route(f"{where}{path}", function, methods=methods)
            for where in (place, place + "/versions/{version}")
            for path, function, methods in (
                ("", about_model, ["GET"]),
                ("/ready", model_ready, ["GET"]),
                ("/infer", infer, ["POST"]),
            )
        ),
    ]


def _described(model: Model, version: Version) -> dict[str, Any]:
    shape = [-1, len(version.labels)]
    return {
        "name": model.name,
        "versions": [str(n) for n, each in model.versions.items() if each.scorer],
        "platform": "poets",
        "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": name, "datatype": datatype, "shape": shape}
            for name, datatype in OUTPUTS.items()
        ],
    }


def _parts(json_length: str | None, body: bytes) -> tuple[dict[str, Any], bytes]:
    """Returns the JSON object of a request, and the bytes after it."""
    end = len(body)
    if json_length is not None:
        if not (json_length.isdecimal() and int(json_length) <= end):
            raise RequestError(
                f"{JSON_LENGTH}: {json_length!r} is not a length within the body of "
                f"{end} bytes"
            )
        end = int(json_length)
    value = parsed_json(body[:end])
    if not isinstance(value, dict):
        raise RequestError("the request is not a JSON object")
    return value, body[end:]


def _pictures(body: Mapping[str, Any], raw: bytes) -> list[bytes]:
    """Returns the pictures of the only input."""
    given = body.get("inputs")
    if not (isinstance(given, list) and len(given) == 1 and isinstance(given[0], dict)):
        raise RequestError(f"'inputs' must be a list of one tensor, {INPUT!r}")
    tensor = given[0]
    if (tensor.get("name"), tensor.get("datatype")) != (INPUT, "BYTES"):
        raise RequestError(
            f"input {tensor.get('name')!r} of {tensor.get('datatype')}: the model "
            f"takes {INPUT!r} of BYTES"
        )
    size = _parameters(tensor).get("binary_data_size")
    if size is None:
        data = tensor.get("data")
        if not isinstance(data, list):
            raise RequestError(f"input {INPUT!r} has no 'data'")
        pictures = list(map(_decoded, data))
    else:
        if size != len(raw):
            raise RequestError(
                f"binary_data_size of {INPUT!r} is {size}, and {len(raw)} bytes follow"
            )
        pictures = _elements(raw)
    shape = tensor.get("shape")
    if shape not in ([len(pictures)], [len(pictures), 1]):
        raise RequestError(
            f"input {INPUT!r} has shape {shape} and {len(pictures)} elements"
        )
    if not pictures:
        raise RequestError(f"input {INPUT!r} is empty")
    return pictures


def _decoded(text: Any) -> bytes:
    """Returns the picture in an element of a list [N] or [N, 1]."""
    if isinstance(text, list) and len(text) == 1:
        (text,) = text
    try:
        return pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise RequestError(
            f"an element of {INPUT!r} is not Base64: {error}; send pictures as Base64, "
            "or as binary data"
        ) from error


def _elements(raw: bytes) -> list[bytes]:
    """Returns the elements of a BYTES tensor."""
    found, at = [], 0
    while at < len(raw):
        start = at + 4
        at = start + int.from_bytes(raw[at:start], "little")
        if at > len(raw):
            raise RequestError(f"the binary data of {INPUT!r} ends within an element")
        found.append(raw[start:at])
    return found


def _wanted(body: Mapping[str, Any]) -> dict[str, bool]:
    """Returns output -> whether it is sent as binary data, in the order asked for."""
    default = bool(_parameters(body).get("binary_data_output", False))
    asked = body.get("outputs") or [{"name": name} for name in OUTPUTS]
    if not (isinstance(asked, list) and all(isinstance(each, dict) for each in asked)):
        raise RequestError("'outputs' must be a list of objects with a name")
    wanted = {}
    for each in asked:
        if each.get("name") not in OUTPUTS:
            raise RequestError(
                f"unknown output {each.get('name')!r}; the model has "
                f"{', '.join(map(repr, OUTPUTS))}"
            )
        wanted[each["name"]] = bool(_parameters(each).get("binary_data", default))
    return wanted


def _parameters(of: Mapping[str, Any]) -> Mapping[str, Any]:
    found = of.get("parameters")
    return found if isinstance(found, dict) else {}


def _response(
    head: dict[str, Any], found: Answer, wanted: Mapping[str, bool]
) -> Response:
    scores = [score for row in found.scores for score in row]
    labels = [*found.labels] * len(found.scores)
    shape = [len(found.scores), len(found.labels)]
    tail, outputs = [], []
    for name, binary in wanted.items():
        is_scores = name == "prediction"
        output: dict[str, Any] = {
            "name": name,
            "datatype": OUTPUTS[name],
            "shape": shape,
        }
        if binary:
            packed = _packed_floats(scores) if is_scores else _packed_texts(labels)
            output["parameters"] = {"binary_data_size": len(packed)}
            tail.append(packed)
        else:
            output["data"] = list(map(decimal, scores)) if is_scores else labels
        outputs.append(output)
    value = {**head, "outputs": outputs}
    if not tail:
        return json_response(value)
    text = json.dumps(value).encode()
    return Response(
        b"".join((text, *tail)),
        headers={JSON_LENGTH: str(len(text))},
        media_type="application/octet-stream",
    )


def _packed_floats(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def _packed_texts(values: Sequence[str]) -> bytes:
    texts = [value.encode() for value in values]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)
