"""What every HTTP request passes through: token, limits, errors as JSON, counters."""

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from poets.serve.server.errors import HTTP_STATUS, RequestError
from poets.serve.server.inputs import json_response
from poets.serve.server.telemetry import Telemetry

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

OPEN = ("/", "/v2/health/live", "/v2/health/ready")
"""Paths that need no token: the page asks for it, and probes have none."""


class Guard:
    """Wraps the application of a server.

    Args:
      app: the application.
      telemetry: counts requests.
      token: the bearer token that requests must carry; "" for none.
      max_body_bytes: the longest body.
      body_timeout_s: how long a body may take to arrive.
      timeout_s: how long an answer may take.
    """

    def __init__(
        self,
        app: App,
        telemetry: Telemetry,
        token: str,
        max_body_bytes: int,
        body_timeout_s: float,
        timeout_s: float,
    ) -> None:
        self._app, self._telemetry = app, telemetry
        self._token = token.encode()
        self._max_body_bytes = max_body_bytes
        self._body_timeout_s, self._timeout_s = body_timeout_s, timeout_s

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Receive, send: Send
    ) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            return  # uvicorn's lifespan is off
        started, status = time.monotonic(), 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self._check(scope)
            scope["app"] = self._app  # has the router raise what it cannot answer
            limited = self._limited(receive, started)
            await asyncio.wait_for(self._app(scope, limited, sent), self._timeout_s)
        except ClientDisconnect:
            status = 499
        except Exception as error:
            code, message = _reply(
                error, scope["method"], scope["path"], self._timeout_s
            )
            if not status:
                response = json_response({"error": message}, code)
                if code in (408, 413):  # what is left of the body is not read
                    response.headers["connection"] = "close"
                if code == 401:
                    response.headers["www-authenticate"] = "Bearer"
                await response(scope, receive, sent)
        self._telemetry.request(
            "http", scope["method"], scope["path"], str(status), started
        )

    def _check(self, scope: MutableMapping[str, Any]) -> None:
        headers = Headers(scope=scope)
        if self._token and scope["path"] not in OPEN:
            kind, _, given = headers.get("authorization", "").partition(" ")
            right = hmac.compare_digest(given.strip().encode(), self._token)
            if kind.lower() != "bearer" or not right:
                raise RequestError(
                    "no valid token; send the header Authorization: Bearer TOKEN",
                    "UNAUTHENTICATED",
                )
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            raise HTTPException(400, f"Content-Length {length!r} is not a number")
        self._check_length(int(length))

    def _check_length(self, length: int) -> None:
        if length > self._max_body_bytes:
            raise HTTPException(
                413, f"the body is longer than {self._max_body_bytes} bytes"
            )

    def _limited(self, receive: Receive, started: float) -> Receive:
        """Returns `receive` with limits on the length and time of the body."""
        length, complete = 0, False

        async def limited() -> Message:
            nonlocal length, complete
            if complete:
                return await receive()
            left_s = started + self._body_timeout_s - time.monotonic()
            try:
                message = await asyncio.wait_for(receive(), max(left_s, 0))
            except asyncio.TimeoutError:
                raise HTTPException(
                    408, f"the body did not arrive within {self._body_timeout_s:g} s"
                ) from None
            length += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            self._check_length(length)
            return message

        return limited


def _reply(
    error: Exception, method: str, path: str, timeout_s: float
) -> tuple[int, str]:
    """Returns the status and the message for an error."""
    if isinstance(error, RequestError):
        return HTTP_STATUS[error.code], str(error)
    if isinstance(error, HTTPException):
        known = error.status_code not in (404, 405)
        return (
            error.status_code,
            error.detail if known else f"Malformed request: {method} {path}",
        )
    if isinstance(error, asyncio.TimeoutError):
        return 504, f"no answer within {timeout_s:g} s"
    logger.error("a fault of the server on %s", path, exc_info=error)
    return 500, "a fault of the server; its log has more"
