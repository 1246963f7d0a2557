"""TensorFlow Serving's gRPC services: PredictionService and ModelService."""

import asyncio
import hmac
import logging
import math
import sys
import time
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

from poets.errors import ConfigError
from poets.serve.server.errors import RequestError
from poets.serve.server.models import Models, Version
from poets.serve.server.signatures import (
    BYTES,
    METHOD,
    SIGNATURES,
    Answer,
    Tensor,
    answer,
    best_first,
    check_filter,
    pictures_in,
    pixel_tensor,
    signature_of,
)
from poets.serve.server.telemetry import Telemetry
from poets.serve.server.tf_protos import DT_FLOAT, DT_STRING, MESSAGES, STATES
from poets.serve.server.tf_rest import metadata_of, status_of

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

if TYPE_CHECKING:
    from poets.serve.server.run import Settings

logger = logging.getLogger(__name__)

SIGNATURE_DEF = "signature_def"
TYPE_URL = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
MAX_RPCS = 2000


class Rpc:
    """A gRPC server that does not answer yet.

    Args:
      settings: the server's.
      models: the models.
      telemetry: counts requests.

    Attributes:
      port: it listens on.

    Raises:
      ConfigError: if the port cannot be taken.
    """

    def __init__(
        self, settings: "Settings", models: Models, telemetry: Telemetry
    ) -> None:
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", settings.max_body_bytes),
                ("grpc.so_reuseport", 0),  # a port in use is an error
            ],
            maximum_concurrent_rpcs=MAX_RPCS,
        )
        calls = _Calls(settings, models, telemetry)
        for service, methods in (
            ("PredictionService", ("Predict", "Classify", "GetModelMetadata")),
            ("ModelService", ("GetModelStatus",)),
        ):
            handlers = {name: calls.handler(service, name) for name in methods}
            name = f"tensorflow.serving.{service}"
            self._server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(name, handlers),)
            )
        self.port = self._listen(settings)

    def _listen(self, settings: "Settings") -> int:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        address = f"{host}:{settings.grpc_port}"
        try:
            if not settings.certificate:
                return int(self._server.add_insecure_port(address))
            pair = (_read(settings.key), _read(settings.certificate))
            credentials = grpc.ssl_server_credentials([pair])
            return int(self._server.add_secure_port(address, credentials))
        except (RuntimeError, OSError) as error:
            raise ConfigError(
                f"cannot listen on --grpc_port={settings.grpc_port}: "
                f"{str(error).partition(';')[0]}; choose another, or -1 for none"
            ) from error

    async def start(self) -> None:
        """Starts answering."""
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Refuses new requests, and waits for the answers in progress."""
        await self._server.stop(grace_s)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


class _Calls:
    """The methods of both services."""

    def __init__(
        self, settings: "Settings", models: Models, telemetry: Telemetry
    ) -> None:
        self._models, self._telemetry = models, telemetry
        self._token, self._timeout_s = settings.token.encode(), settings.timeout_s

    def handler(self, service: str, name: str) -> grpc.RpcMethodHandler:
        """Returns the handler of a method: checks, limits, counters around it."""
        method = getattr(self, f"_{name.lower()}")
        prefix = "Classification" if name == "Classify" else name
        message, reply = MESSAGES[f"{prefix}Request"], MESSAGES[f"{prefix}Response"]

        async def called(data: bytes, context: Any) -> Any:
            started, status = time.monotonic(), "CANCELLED"
            try:
                self._check(context)
                request = message.FromString(data)  # here, so that we word its errors
                async with timeout(self._timeout_s):
                    answered = await method(request)
                status = "OK"
                return answered
            except RequestError as error:
                status, why = error.code, str(error)
            except DecodeError as error:
                status, why = "INVALID_ARGUMENT", str(error)
            except asyncio.TimeoutError:
                status, why = "DEADLINE_EXCEEDED", f"no answer in {self._timeout_s:g} s"
            except Exception:
                logger.exception("a fault of the server in %s", name)
                status, why = "INTERNAL", "a fault of the server; its log has more"
            finally:
                path = f"/tensorflow.serving.{service}/{name}"
                self._telemetry.request("grpc", "", path, status, started)
            await context.abort(getattr(grpc.StatusCode, status), why)

        return grpc.unary_unary_rpc_method_handler(
            called, response_serializer=reply.SerializeToString
        )

    def _check(self, context: Any) -> None:
        if not self._token:
            return
        given = dict(context.invocation_metadata() or ()).get("authorization", "")
        if isinstance(given, str):
            given = given.encode()
        if not hmac.compare_digest(given, b"Bearer " + self._token):
            raise RequestError(
                "no valid token; send the metadata authorization: Bearer TOKEN",
                "UNAUTHENTICATED",
            )

    async def _predict(self, request: Any) -> Any:
        spec = request.model_spec
        signature = signature_of(self._version(request), spec.signature_name)
        inputs = {
            name: _tensor(name, each, signature.dtype)
            for name, each in request.inputs.items()
        }
        pictures = pictures_in(signature, inputs)
        wanted = check_filter(list(request.output_filter))
        found = await answer(self._version(request), spec.signature_name, pictures)
        reply = MESSAGES["PredictResponse"]()
        _fill_spec(reply.model_spec, spec.name, found.version, found.signature)
        for name in wanted:
            _fill_output(reply.outputs[name], name, found)
        return reply

    async def _classify(self, request: Any) -> Any:
        self._version(request)
        given = request.input
        examples = [*given.example_list.examples]
        examples += given.example_list_with_context.examples
        if not examples:
            raise RequestError("Input is empty.")
        pictures = [_picture(example) for example in examples]
        found = await answer(self._version(request), BYTES, pictures)
        reply = MESSAGES["ClassificationResponse"]()
        name = request.model_spec.name
        _fill_spec(reply.model_spec, name, found.version, found.signature)
        for row in range(len(pictures)):
            classes = reply.result.classifications.add().classes
            for label, score in best_first(found, row):
                classes.add(label=label, score=score)
        return reply

    async def _getmodelmetadata(self, request: Any) -> Any:
        version = self._version(request)
        for field in request.metadata_field:
            if field != SIGNATURE_DEF:
                raise RequestError(f"Metadata field {field} is not supported")
        if not request.metadata_field:
            raise RequestError("GetModelMetadataRequest must specify metadata_field")
        model = self._models.find(request.model_spec.name)
        data = metadata_of(model, version.number, None)
        definitions = MESSAGES["SignatureDefMap"]()
        found = data["metadata"]["signature_def"]["signature_def"]
        for name, definition in found.items():
            target = definitions.signature_def[name]
            target.method_name = METHOD
            for side in ("inputs", "outputs"):
                for key, tensor in definition[side].items():
                    _fill_info(getattr(target, side)[key], tensor)
        reply = MESSAGES["GetModelMetadataResponse"]()
        _fill_spec(reply.model_spec, model.name, version.number, "")
        packed = reply.metadata[SIGNATURE_DEF]
        packed.type_url, packed.value = TYPE_URL, definitions.SerializeToString()
        return reply

    async def _getmodelstatus(self, request: Any) -> Any:
        spec = request.model_spec
        self._check_spec(request)
        number = spec.version.value or None  # 0 is the newest, as without a version
        label = spec.version_label or None
        reply = MESSAGES["GetModelStatusResponse"]()
        found = status_of(self._models, spec.name, number, label)
        for each in found["model_version_status"]:
            added = reply.model_version_status.add(version=int(each["version"]))
            added.state = STATES[each["state"]]
            added.status.error_message = each["status"]["error_message"]
            added.status.error_code = 2 if added.status.error_message else 0
        return reply

    def _check_spec(self, request: Any) -> None:
        if not request.HasField("model_spec"):
            raise RequestError("Missing ModelSpec")
        if not request.model_spec.name:
            raise RequestError("ModelSpec has no name")

    def _version(self, request: Any) -> Version:
        self._check_spec(request)
        spec = request.model_spec
        number = spec.version.value or None  # 0 is the newest, as without a version
        return self._models.find(spec.name).version(number, spec.version_label or None)


def _tensor(name: str, proto: Any, dtype: str) -> Tensor:
    """Returns the input in a TensorProto.

    Raises:
      RequestError: if it has another type, or not as many values as its shape says.
    """
    wanted = DT_FLOAT if dtype == "DT_FLOAT" else DT_STRING
    if proto.dtype != wanted:
        raise RequestError(
            f"input {name!r} has data type {proto.dtype}, expected {wanted} ({dtype})"
        )
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if wanted == DT_FLOAT:
        return pixel_tensor(proto.tensor_content or proto.float_val, shape)
    if math.prod(shape) != len(proto.string_val):
        raise RequestError(
            f"input {name!r} of shape {shape} has {len(proto.string_val)} strings in "
            "string_val"
        )
    return Tensor(shape, list(proto.string_val))


def _picture(example: Any) -> bytes:
    features = list(example.features.feature.values())
    if len(features) != 1 or len(features[0].bytes_list.value) != 1:
        raise RequestError(
            "an example must have one feature with one value, the bytes of a picture"
        )
    return bytes(features[0].bytes_list.value[0])


def _fill_spec(spec: Any, name: str, version: int, signature: str) -> None:
    spec.name, spec.signature_name = name, signature
    spec.version.value = version


def _fill_output(tensor: Any, name: str, found: Answer) -> None:
    """Fills an output as TensorFlow Serving does, with typed values."""
    rows, count = len(found.scores), len(found.labels)
    shape = [rows, count]
    if name == "prediction":
        tensor.dtype = DT_FLOAT
        for row in found.scores:
            tensor.float_val.extend(row)
    else:
        tensor.dtype = DT_STRING
        if not SIGNATURES[found.signature].rank:
            rows, shape = 1, [count]
        tensor.string_val.extend(label.encode() for label in [*found.labels] * rows)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)


def _fill_info(info: Any, tensor: dict[str, Any]) -> None:
    info.name = tensor["name"]
    info.dtype = DT_FLOAT if tensor["dtype"] == "DT_FLOAT" else DT_STRING
    info.tensor_shape.SetInParent()
    for dim in tensor["tensor_shape"]["dim"]:
        info.tensor_shape.dim.add(size=int(dim["size"]))
