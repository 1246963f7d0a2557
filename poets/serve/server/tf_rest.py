"""TensorFlow Serving's REST interface, also for raw pictures and forms.

    POST /v1/models/M[/versions/V | /labels/L]:predict      rows, columns or pictures
    POST /v1/models/M[...]:classify[?reject=true]           [[label, score], ...]
    GET  /v1/models/M[/versions/V | /labels/L]              states of versions
    GET  /v1/models/M[...]/metadata                         signatures

The texts of errors are TensorFlow Serving's, because its clients compare them.
"""

import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pybase64
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poets.errors import ModelError
from poets.serve.server.errors import RequestError
from poets.serve.server.inputs import Inputs, decimal, json_response, parsed_json
from poets.serve.server.models import Model, Models, Version
from poets.serve.server.signatures import (
    BYTES,
    METHOD,
    SIGNATURES,
    Answer,
    Signature,
    Tensor,
    answer,
    best_first,
    pictures_in,
    pixel_tensor,
    signature_of,
    signatures_of,
)

PLACE = r"/v1/models/([^/:]+)(?:/versions/(\d{1,19})|/labels/([^/:]+))?"
CALL = re.compile(rf"{PLACE}:(classify|regress|predict)", re.IGNORECASE)
LOOK = re.compile(rf"{PLACE}(/metadata)?", re.IGNORECASE)


def routes(models: Models, inputs: Inputs) -> list[Route]:
    """Returns the routes of this interface."""

    async def call(request: Request) -> Response:
        path = request.scope["path"]
        if request.method == "POST" and (found := CALL.fullmatch(path)):
            name, number, label, method = found.groups()
            model = models.find(name)

            def version() -> Version:
                return model.version(_number(number), label)

            version()  # refused before the body is read
            done = await METHODS[method.lower()](version, inputs, request)
            return json_response(done)
        if request.method == "GET" and (found := LOOK.fullmatch(path)):
            name, number, label, metadata = found.groups()
            chosen = _number(number)
            if metadata:
                return json_response(metadata_of(models.find(name), chosen, label))
            return json_response(status_of(models, name, chosen, label))
        raise RequestError(f"Malformed request: {request.method} {path}")

    return [Route("/v1/{rest:path}", call, methods=["GET", "POST", "PUT", "DELETE"])]


def _number(text: str | None) -> int | None:
    """Returns the version in a path; 0 is the newest, as clients of OpenVINO ask."""
    return int(text or 0) or None


async def _predict(
    version: Callable[[], Version], inputs: Inputs, request: Request
) -> dict[str, Any]:
    pictures = await inputs.pictures(request)
    if pictures is not None:
        return _rows(await answer(version(), BYTES, pictures))
    body = _object(await request.body())
    name = body.get("signature_name", "")
    if not isinstance(name, str):
        raise RequestError("'signature_name' key must be a string value.")
    as_rows = "instances" in body
    if as_rows and "inputs" in body:
        raise RequestError(
            "Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist"
        )
    if as_rows:
        name = name or BYTES  # the outputs of serving_default cannot be rows
        signature = signature_of(version(), name)
        given = _instances(body["instances"], signature)
        if not signature.rank:
            raise RequestError(
                "Tensor name: classes has inconsistent batch size: "
                f"{len(version().labels)} expecting: 1; use {BYTES}"
            )
    elif "inputs" in body:
        signature = signature_of(version(), name)
        given = _inputs(body["inputs"], signature)
    else:
        raise RequestError("Missing 'inputs' or 'instances' key")
    found = await answer(version(), name, pictures_in(signature, given))
    return _rows(found) if as_rows else {"outputs": outputs_of(found)}


async def _classify(
    version: Callable[[], Version], inputs: Inputs, request: Request
) -> dict[str, Any]:
    pictures = await inputs.pictures(request)
    if pictures is None:
        examples = _object(await request.body()).get("examples")
        if not isinstance(examples, list) or not examples:
            raise RequestError(
                "When method is classify, key 'examples' is expected as an array with "
                "at least one example"
            )
        pictures = [_example(each) for each in examples]
    chosen = version()
    reject_below = _reject_below(chosen, request)
    found = await answer(chosen, BYTES, pictures)
    best = [best_first(found, row, reject_below) for row in range(len(pictures))]
    return {
        "results": [[[label, decimal(score)] for label, score in each] for each in best]
    }


def _reject_below(version: Version, request: Request) -> float:
    """Returns the score below which a request with `?reject=true` gets (none)."""
    asked = request.query_params.get("reject", "false").lower()
    if asked not in ("true", "false"):
        raise RequestError(f"reject={asked}: must be true or false")
    try:
        return version.threshold if asked == "true" else 0.0
    except ModelError as error:
        raise RequestError(str(error), "FAILED_PRECONDITION") from error


async def _regress(
    version: Callable[[], Version], inputs: Inputs, request: Request
) -> dict[str, Any]:
    raise RequestError(
        "Expected regression signature method_name to be tensorflow/serving/regress. "
        f"Was: {METHOD}"
    )


METHODS = {"predict": _predict, "classify": _classify, "regress": _regress}


def outputs_of(found: Answer) -> dict[str, Any]:
    """Returns the outputs of a signature as nested lists, by their names."""
    scores = [[decimal(score) for score in row] for row in found.scores]
    classes: Sequence[Any] = list(found.labels)
    if SIGNATURES[found.signature].rank:
        classes = [classes] * len(scores)
    return {"classes": classes, "prediction": scores}


def _rows(found: Answer) -> dict[str, Any]:
    outputs = outputs_of(found)
    rows = zip(outputs["classes"], outputs["prediction"], strict=True)
    return {
        "predictions": [
            {"classes": classes, "prediction": scores} for classes, scores in rows
        ]
    }


def _object(body: bytes) -> dict[str, Any]:
    value = parsed_json(body)
    if not isinstance(value, dict):
        raise RequestError("JSON Value: Is not object")
    return value


def _instances(instances: Any, signature: Signature) -> dict[str, Tensor]:
    """Returns the input of rows: {"b64": ...}, pixels, or either by its name."""
    input_name = signature.input_name
    if not isinstance(instances, list):
        raise RequestError("Excepting 'instances' to be an list/array")
    if not instances:
        raise RequestError("No values in 'instances' array")
    rows = []
    for position, each in enumerate(instances):
        if isinstance(each, dict) and not _is_base64(each):
            if set(each) != {input_name}:
                raise RequestError(
                    f"Failed to process element: {position} of 'instances' list. JSON "
                    f"object: keys must be equal to: {input_name}"
                )
            each = each[input_name]
        rows.append(each)
    return {input_name: _tensor_of(rows, signature)}


def _inputs(inputs: Any, signature: Signature) -> dict[str, Tensor]:
    """Returns the input of columns: by its name, or without."""
    name = signature.input_name
    if isinstance(inputs, dict) and not _is_base64(inputs):
        if name not in inputs:
            raise RequestError(f"Missing named input: {name} in 'inputs' object.")
        inputs = inputs[name]
    return {name: _tensor_of(inputs, signature)}


def _tensor_of(value: Any, signature: Signature) -> Tensor:
    if signature.dtype == "DT_FLOAT":
        return pixel_tensor(value)
    name = signature.input_name
    if isinstance(value, list):
        return Tensor([len(value)], [_bytes(each, name) for each in value])
    return Tensor([], [_bytes(value, name)])


def _example(example: Any) -> bytes:
    """Returns the picture of a tf.Example in JSON, its only feature of bytes."""
    if not isinstance(example, Mapping):
        raise RequestError("Example must be JSON object")
    features = list(example.values())
    if len(features) != 1:
        raise RequestError(
            f"an example has {len(features)} features {sorted(example)}; give one, the "
            'bytes of a picture: {"image": {"b64": "..."}}'
        )
    value = features[0]
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return _bytes(value, f"feature {next(iter(example))!r}")


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"b64"}


def _bytes(value: Any, what: str) -> bytes:
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    if not (_is_base64(value) and isinstance(value["b64"], str)):
        raise RequestError(
            f'{what} is not of expected type: string; give {{"b64": "..."}}'
        )
    try:
        return pybase64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(f"Unable to base64 decode {what}: {error}") from error


def status_of(
    models: Models, name: str, number: int | None, label: str | None
) -> dict[str, Any]:
    """Returns the states of a model's versions, or of one.

    Raises:
      RequestError: NOT_FOUND if there is none.
    """
    try:
        model = models.find(name)
    except RequestError:
        raise RequestError(
            f"Could not find any versions of model {name}", "NOT_FOUND"
        ) from None
    if label is not None:
        number = model.version(label=label).number
    if number not in (None, *model.versions):
        raise RequestError(
            f"Could not find version {number} of model {name}", "NOT_FOUND"
        )
    return {
        "model_version_status": [
            {
                "version": str(version.number),
                "state": version.state,
                "status": {
                    "error_code": "UNKNOWN" if version.error else "OK",
                    "error_message": version.error,
                },
            }
            for _, version in sorted(model.versions.items(), reverse=True)
            if number in (None, version.number)
        ]
    }


def metadata_of(model: Model, number: int | None, label: str | None) -> dict[str, Any]:
    """Returns the signatures of a version, as protobuf's JSON mapping has them."""
    version = model.version(number, label)
    return {
        "model_spec": {
            "name": model.name,
            "signature_name": "",
            "version": str(version.number),
        },
        "metadata": {
            "signature_def": {
                "signature_def": {
                    name: _definition(signature, version)
                    for name, signature in signatures_of(version).items()
                }
            }
        },
    }


def _definition(signature: Signature, version: Version) -> dict[str, Any]:
    run, labels = version.description.metrics.get("model", {}), len(version.labels)
    side_px = run.get("image_size_px", 0)
    inputs = {
        0: ("DecodeJpeg/contents", []),
        1: ("image_bytes", [-1]),
        4: (run.get("input_name", "input"), [-1, side_px, side_px, 3]),
    }
    tensor, shape = inputs[signature.rank]
    batch, classes = ([-1], "Tile") if signature.rank else ([], "classes")
    final = run.get("final_tensor_name", "final_result")
    return {
        "inputs": {
            signature.input_name: _tensor(signature.dtype, f"{tensor}:0", shape)
        },
        "outputs": {
            "prediction": _tensor("DT_FLOAT", f"{final}:0", [-1, labels]),
            "classes": _tensor("DT_STRING", f"{classes}:0", [*batch, labels]),
        },
        "method_name": METHOD,
        "defaults": {},
    }


def _tensor(dtype: str, name: str, shape: Sequence[int]) -> dict[str, Any]:
    return {
        "dtype": dtype,
        "name": name,
        "tensor_shape": {
            "dim": [{"size": str(size), "name": ""} for size in shape],
            "unknown_rank": False,
        },
    }
