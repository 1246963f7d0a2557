"""An OpenWhisk action that classifies pictures: `python -m poets.serve.openwhisk`.

    POST /init  {"value": {"env": {"MODEL": ...}}}       once; loads the model
    POST /run   {"value": {"url": "https://..."}, ...}   or {"image": "<base64>"}

    {"code": 200, "res": 2, "label": "roses", "scores": {"roses": 0.98, ...}}
    {"code": 200, "res": null, "label": "(none)", ...}   a run with "reject": true
    {"code": 500, "res": -1, "error": {"code": 500, "res": -1, "message": "cannot ..."}}

A failed run is HTTP 200, too. The platform then stores `error` alone, records a failure
and gives callers of a web action what is below `error`; direct callers of `/run` see
`code` and `res` at the top. All other statuses and texts are those of the platform's
own proxy. Environment, also that of `/init`:

    MODEL               what `poets.classifier` loads, on any storage
    PATH_TO_ONNX_MODEL  instead: a `.onnx` file, also that of `poets.classifier.digits`
    POETS_ALLOW_URLS    where pictures may be, see `poets.system.hosts`; default "*"
    FLASK_PROXY_PORT    where it listens, default 8080
    PROXY_ALLOW_REINIT  1 takes a second /init
"""

import asyncio
import base64
import contextlib
import importlib
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from poets.classifier import NONE, Classifier, load_classifier
from poets.classifier.fetch import fetch_content
from poets.data.image_files import ImageError
from poets.errors import ConfigError, PoetsError
from poets.report.threshold import reject_threshold, run_metrics
from poets.system.hosts import Hosts
from poets.system.http import Limits, NotAllowedError, shown

logger = logging.getLogger(__name__)

SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
"""The platform reads both streams up to this line."""

MAX_BYTES = 48 * 2**20
"""The longest body, and the longest picture at a URL: a container has little memory."""

BODY_TIMEOUT_S = 30
"""The platform sends a body at once."""

URL_TIMEOUT_S = 10
"""As the original."""

BAD_PICTURE, NO_VALUE, NO_MODEL = -1, -2, -3  # `res` of failed runs

INITIALIZED = "Cannot initialize the action more than once."
NOT_INITIALIZED = (
    "The action failed to generate or locate a binary. See logs for details."
)
NO_ARGUMENT = "The action did not receive a dictionary or array as an argument."


class RunError(Exception):
    """A run failed: `res` of its reply, and the reason."""

    def __init__(self, res: int, reason: str) -> None:
        super().__init__(reason)
        self.res = res


class RefusedError(Exception):
    """A request is not the platform's: the HTTP status, and the text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Model(NamedTuple):
    """A loaded model, the hosts of its pictures, and metrics.json of its run."""

    classifier: Classifier
    hosts: Hosts
    url: str
    metrics: Mapping[str, Any]


class Action:
    """The action: one request at a time, from its body on; the platform sends one."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._initialized = False
        self._model: Model | None = None

    async def init(self, request: Request) -> Response:
        """Answers `/init`.

        It takes a model that cannot be loaded: each run tries again and reports it.
        """
        async with self._turn:
            if self._initialized and os.environ.get("PROXY_ALLOW_REINIT") != "1":
                return _json({"error": INITIALIZED}, 403)
            try:
                set_environment(await _message(request))
            except RefusedError as refused:
                return _ended({"error": str(refused)}, refused.status)
            self._initialized, self._model = True, None
            with contextlib.suppress(RunError):
                await run_in_threadpool(self._load)
            return Response("OK")

    async def run(self, request: Request) -> Response:
        """Answers `/run`."""
        async with self._turn:
            try:
                message = await _message(request)
                return _ended(await run_in_threadpool(self._classify, message))
            except RefusedError as refused:
                return _ended({"error": str(refused)}, refused.status)
            except RunError as error:
                _log(error)
                failure = {"code": 500, "res": error.res}
                return _ended(failure | {"error": failure | {"message": str(error)}})
            except Exception as error:  # the next run may succeed
                _log(reason := f"Internal error. {type(error).__name__}: {error}")
                return _ended({"error": reason}, 500)

    def _load(self) -> Model:
        if self._model is None:
            self._model = load_model(os.environ)
        return self._model

    def _classify(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the reply to a run; raises RefusedError or RunError."""
        if "value" not in message:
            raise RunError(NO_VALUE, 'no \'value\'; send {"value": {"url": ...}}')
        value = message["value"]
        if not isinstance(value, dict | list):
            raise RefusedError(404, NO_ARGUMENT)
        model = self._load()
        parameters = value if isinstance(value, dict) else {}
        least = _reject_below(parameters, model)
        timeout_s = _time_left_s(message.get("deadline"))
        picture = read_picture(parameters, model.hosts, timeout_s)
        try:
            scores = model.classifier.score(picture)
        except ImageError as error:
            reason = f"cannot read the picture: {error}"
            raise RunError(BAD_PICTURE, reason) from error
        best_first = np.argsort(-scores, kind="stable").tolist()
        labels, best = model.classifier.labels, best_first[0]
        is_none = float(scores[best]) < least
        return {
            "code": 200,
            "res": None if is_none else best,
            "label": NONE if is_none else labels[best],
            "scores": {labels[index]: float(scores[index]) for index in best_first},
        }


def set_environment(message: Mapping[str, Any]) -> None:
    """Sets the variables in the body of `/init`.

    Raises:
      RefusedError: if it is not such a body, or brings code to run.
    """
    value = message.get("value", {})
    if not isinstance(value, dict):
        raise RefusedError(404, NO_ARGUMENT)
    if value.get("code"):
        _log("this image takes no code; create the action with --docker IMAGE alone")
        raise RefusedError(502, NOT_INITIALIZED)
    variables = value.get("env") or {}
    try:
        for name, text in variables.items():
            os.environ[name] = text if isinstance(text, str) else json.dumps(text)
    except (AttributeError, ValueError) as error:
        _log(f"cannot set the variables in 'env': {error}; give an object of strings")
        raise RefusedError(502, NOT_INITIALIZED) from error


def load_model(environment: Mapping[str, str]) -> Model:
    """Loads the model that the environment names.

    Raises:
      RunError: if there is none or it cannot be loaded.
    """
    model, onnx = environment.get("MODEL"), environment.get("PATH_TO_ONNX_MODEL")
    if bool(model) == bool(onnx):
        raise RunError(
            NO_MODEL,
            "MODEL and PATH_TO_ONNX_MODEL are both set; unset one"
            if model
            else "no model; set MODEL to a trained model, such as a .tflite",
        )
    try:
        hosts = Hosts.parse(environment.get("POETS_ALLOW_URLS") or "*")
    except ConfigError as error:
        raise RunError(NO_MODEL, f"POETS_ALLOW_URLS: {error}") from error
    try:
        if onnx:
            digits = importlib.import_module("poets.classifier.digits")
            return Model(digits.load_digits(onnx), hosts, onnx, {})
        url = str(model)
        return Model(load_classifier(url), hosts, url, run_metrics(url))
    except (PoetsError, OSError) as error:
        raise RunError(NO_MODEL, str(error)) from error
    except Exception as error:  # an engine may raise anything, or not be installed
        reason = f"cannot load {model or onnx!r}: {type(error).__name__}: {error}"
        raise RunError(NO_MODEL, reason) from error


def read_picture(
    parameters: Mapping[str, Any], hosts: Hosts, timeout_s: float
) -> bytes:
    """Returns the content of the picture in the parameters of a run.

    Others than `url` and `image` are ignored: the platform adds some for a web action.

    Raises:
      RunError: if there is no picture.
    """
    url, image = parameters.get("url"), parameters.get("image")
    if isinstance(image, str) and image:
        try:
            return base64.b64decode(image, validate=True)
        except ValueError as error:
            reason = f"'image' is not base64: {error}"
            raise RunError(BAD_PICTURE, reason) from error
    if not (isinstance(url, str) and url):
        raise RunError(
            BAD_PICTURE, "no picture; give its address as 'url', or base64 as 'image'"
        )
    limits = Limits(timeout_s, timeout_s, timeout_s, MAX_BYTES)
    try:
        return fetch_content(url, hosts, limits)
    except ImageError as error:
        reason = f"cannot read {shown(url)!r}: {error}"
        if isinstance(error.__cause__, NotAllowedError):
            reason += "; POETS_ALLOW_URLS takes hosts and networks: *,10.0.0.0/8"
        raise RunError(BAD_PICTURE, reason) from error


def _reject_below(parameters: Mapping[str, Any], model: Model) -> float:
    """Returns the score below which a run with `"reject": true` answers (none)."""
    if str(parameters.get("reject")).lower() != "true":
        return 0.0
    try:
        return reject_threshold(model.metrics, model.url)
    except PoetsError as error:
        raise RunError(NO_MODEL, str(error)) from error


def _time_left_s(deadline: Any) -> float:
    """Returns a time limit for a download that leaves time to report its failure.

    The deadline of a run is in ms since 1970.
    """
    try:
        left_s = int(deadline) / 1000 - time.time() - 1
    except (TypeError, ValueError, OverflowError):
        return URL_TIMEOUT_S
    return min(max(left_s, 0.1), URL_TIMEOUT_S)


async def _message(request: Request) -> dict[str, Any]:
    """Returns the object in a request's body; raises RefusedError if it has none."""
    try:
        message = json.loads(await asyncio.wait_for(_body(request), BODY_TIMEOUT_S))
        if isinstance(message, dict):
            return message
    except asyncio.TimeoutError as error:
        text = f"The body was not complete after {BODY_TIMEOUT_S} s."
        raise RefusedError(408, text) from error
    except (ClientDisconnect, ValueError, RecursionError) as error:
        raise RefusedError(404, NO_ARGUMENT) from error
    raise RefusedError(404, NO_ARGUMENT)


async def _body(request: Request) -> bytes:
    """Returns the body; one that is too long is read to its end and dropped."""
    pieces, length = [], 0
    async for piece in request.stream():
        length += len(piece)
        if length <= MAX_BYTES:
            pieces.append(piece)
    if length > MAX_BYTES:
        text = f"The body has {length} bytes, more than {MAX_BYTES}."
        raise RefusedError(413, text)
    return b"".join(pieces)


def _json(value: Mapping[str, Any], status: int = 200) -> Response:
    """Returns a response in ASCII, which any text fits into."""
    text = json.dumps(value, allow_nan=False)
    return Response(text, status, media_type="application/json")


def _ended(value: Mapping[str, Any], status: int = 200) -> Response:
    """Ends the activation's log and returns the response."""
    response = _json(value, status)
    for stream in (sys.stdout, sys.stderr):
        print(SENTINEL, file=stream, flush=True)
    return response


def _log(reason: object) -> None:
    # A caller's text must not end the log.
    logger.error("%s", str(reason).replace(SENTINEL, "..."))


def main() -> int:
    """Serves until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    text = os.environ.get("FLASK_PROXY_PORT") or "8080"
    try:
        listener = socket.create_server(("", int(text)))
    except (OSError, ValueError, OverflowError) as error:
        _log(f"cannot listen on FLASK_PROXY_PORT={text}: {error}; give a free port")
        return 2
    with listener:
        logger.info("listening on port %d", listener.getsockname()[1])
        action = Action()
        app = Starlette(
            routes=[
                Route("/init", action.init, methods=["POST"]),
                Route("/run", action.run, methods=["POST"]),
            ]
        )
        config = uvicorn.Config(
            app, log_config=None, log_level="warning", access_log=False
        )
        uvicorn.Server(config).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
