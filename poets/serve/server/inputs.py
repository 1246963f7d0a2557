"""Reads pictures out of HTTP requests, and writes JSON.

curl --data-binary @rose.jpg URL        a picture by itself
curl -F image=@rose.jpg URL             a form: files, and URLs if they are allowed
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response

from poets.data.image_files import is_image
from poets.serve.server.errors import PictureError, RequestError
from poets.system.hosts import Hosts

MAX_PICTURES = 1000
"""In one form."""

FETCH_S = 10.0
"""How long a picture at a URL may take: its sender waits."""


class _Parser(MultiPartParser):
    """Keeps files in memory: a container's root may be read-only."""

    spool_max_size = 1 << 40


class Inputs:
    """What a server takes besides JSON.

    Attributes:
      fetches_urls: whether a form may hold URLs.
    """

    def __init__(self, allowed: Hosts | None = None) -> None:
        """Sets the hosts whose URLs are fetched; None for none."""
        self._allowed = allowed
        self.fetches_urls = allowed is not None

    async def pictures(self, request: Request) -> Sequence[bytes] | None:
        """Returns the pictures of a form or a raw body, None for any other body.

        Raises:
          RequestError: if a form is damaged or empty, or a URL cannot be fetched.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].lower()
        if kind == "multipart/form-data":
            return await self._form(request)
        body = await request.body()
        if kind.startswith("image/") or is_image(body):
            return [body]
        return None

    async def _form(self, request: Request) -> Sequence[bytes]:
        try:
            form = await _Parser(
                request.headers,
                request.stream(),
                max_files=MAX_PICTURES,
                max_fields=MAX_PICTURES,
            ).parse()
        except (MultiPartException, KeyError) as error:
            reason = getattr(error, "message", error)
            raise RequestError(f"cannot read the form: {reason}") from error
        pictures = []
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                pictures.append(await value.read())
            elif name == "url":
                pictures.append(await self._fetched(value))
            else:
                raise RequestError(f"the form's field {name!r} is neither file nor url")
        if not pictures:
            raise RequestError(
                "the form holds no picture; give curl -F image=@rose.jpg"
            )
        return pictures

    async def _fetched(self, url: str) -> bytes:
        if self._allowed is None:
            raise RequestError(
                "this server fetches no URLs: send the picture itself, or start the "
                "server with --allow_urls",
                "FAILED_PRECONDITION",
            )
        return await asyncio.to_thread(_fetch, url, self._allowed)


def _fetch(url: str, allowed: Hosts) -> bytes:
    # These import requests and NumPy, which few servers need in this process.
    from poets.classifier.fetch import fetch_content
    from poets.data.image_files import ImageError
    from poets.data.images import MAX_BYTES
    from poets.system.http import Limits

    limits = Limits(FETCH_S, FETCH_S, FETCH_S, MAX_BYTES)
    try:
        return fetch_content(url, allowed, limits)
    except ImageError as error:
        raise PictureError(str(error)) from error


def parsed_json(body: bytes) -> Any:
    """Returns the value of a JSON text.

    Raises:
      RequestError: with TensorFlow Serving's texts.
    """
    if not body:
        raise RequestError("JSON Parse error: The document is empty")
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        raise RequestError(
            f"JSON Parse error: Invalid value. at offset: {error.pos}"
        ) from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise RequestError(
            f"JSON Parse error: {type(error).__name__}; it must be UTF-8, without deep "
            "nesting"
        ) from error


def decimal(score: float) -> float:
    """Returns a float32 as the double with the fewest digits that reads back as it."""
    return float(f"{score:.9g}")


def json_response(value: Any, status: int = 200) -> Response:
    """Returns a response with a JSON body."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Response(
        body.encode(errors="replace"), status, media_type="application/json"
    )
