"""What every HTTP request passes through: token, limits, errors as JSON, counters."""

import asyncio
import hmac
import logging
import sys
import time
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poets.serve.server.errors import HTTP_STATUS, RequestError
from poets.serve.server.inputs import json_response
from poets.serve.server.telemetry import Telemetry

if sys.version_info >= (3, 11):
    from asyncio import Timeout, timeout

    reschedule = Timeout.reschedule
else:
    from async_timeout import Timeout, timeout

    reschedule = Timeout.update

if TYPE_CHECKING:
    from poets.serve.server.run import Settings

logger = logging.getLogger(__name__)

OPEN = ("/", "/v2/health/live", "/v2/health/ready")
"""Paths that need no token: the page asks for it, and probes have none."""


class Guard:
    """Wraps the application of a server."""

    def __init__(
        self, app: ASGIApp, settings: "Settings", telemetry: Telemetry
    ) -> None:
        self._app, self._settings, self._telemetry = app, settings, telemetry
        self._token = settings.token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        settings, status, started = self._settings, 0, time.monotonic()
        headers = Headers(scope=scope)
        arriving = "content-length" in headers or "transfer-encoding" in headers
        length, loop = 0, asyncio.get_running_loop()

        async def limited() -> Message:
            """Receives a part of the body; after the last, the answer is due."""
            nonlocal arriving, length
            message = await receive()
            length += len(message.get("body", b""))
            self._check_length(length)
            if arriving and not message.get("more_body", False):
                arriving = False
                reschedule(deadline, loop.time() + settings.timeout_s)
            return message

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self._check(scope["path"], headers)
            scope["app"] = self._app  # has the router raise what it cannot answer
            limit_s = settings.body_timeout_s if arriving else settings.timeout_s
            async with timeout(limit_s) as deadline:
                await self._app(scope, limited, sent)
        except ClientDisconnect:
            status = 499
        except Exception as error:
            code, message = self._reply(error, scope, arriving)
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

    def _check(self, path: str, headers: Headers) -> None:
        if self._token and path not in OPEN:
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
        most = self._settings.max_body_bytes
        if length > most:
            raise HTTPException(413, f"the body is longer than {most} bytes")

    def _reply(self, error: Exception, scope: Scope, arriving: bool) -> tuple[int, str]:
        """Returns the status and the message for an error."""
        if isinstance(error, RequestError):
            return HTTP_STATUS[error.code], str(error)
        if isinstance(error, HTTPException):
            known = error.status_code not in (404, 405)
            malformed = f"Malformed request: {scope['method']} {scope['path']}"
            return error.status_code, error.detail if known else malformed
        if isinstance(error, asyncio.TimeoutError):
            if arriving:
                limit_s = self._settings.body_timeout_s
                return 408, f"the body did not arrive within {limit_s:g} s"
            return 504, f"no answer within {self._settings.timeout_s:g} s"
        logger.error("a fault of the server on %s", scope["path"], exc_info=error)
        return 500, "a fault of the server; its log has more"
