"""Reads the message of an Abaco execution, in every form that clients send.

    MSG={'data_url': 'https://…', 'predictions': 3}    a Python literal, or JSON
    MSG=https://…                                      a URL alone
    MSG=classify data_url=https://… predictions=3      query parameters are variables
    /_abaco_binary_data                                a picture itself, without MSG

A parameter that the message lacks is taken from the query parameters.
"""

import ast
import json
import os
import posixpath
import re
import select
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from poets.data.image_files import ImageError
from poets.errors import ConfigError, listed, nearest

PARAMETERS = ("data_url", "data_name", "predictions", "reject")
NAME = "classify.img"
PREDICTIONS, PREDICTIONS_OF_A_URL = 3, 5

URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
HINT = "send {'data_url': 'https://...'} or the URL alone"

FIRST_BYTE_S = 60.0
QUIET_S = 0.5
"""A binary message is complete when no more bytes come for this long."""

MAX_BYTES = 500 * 2**20
"""Of a binary message: Abaco takes 500 MB."""

PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class Message:
    """A picture to classify.

    Attributes:
      picture: its URL, or the content of its file.
      name: its name in the result, without folders.
      predictions: the number of labels to answer, at least 1.
      reject: whether to answer (none) below the reject threshold of the model's run.
    """

    picture: str | bytes
    name: str
    predictions: int
    reject: bool = False


def read_message(environment: Mapping[str, str], fifo: str) -> Message:
    """Returns the message of an execution.

    It is in the variables of the container, or in a FIFO, which else does not exist.

    Raises:
      ConfigError: if there is no message, or it names no picture.
      ImageError: if the bytes of a binary message do not come, or are too many.
    """
    text = environment.get("MSG", "").strip()
    found = _parse(text)
    predictions = PREDICTIONS
    sent: dict[Any, Any] = {
        name: environment[name] for name in PARAMETERS if environment.get(name)
    }
    if isinstance(found, dict):
        sent |= {name: value for name, value in found.items() if value is not None}
        _check_url(sent.get("data_url"), found)
    elif isinstance(found, str) and URL.match(found):
        sent["data_url"] = found
        predictions = PREDICTIONS_OF_A_URL
    elif not text and os.path.exists(fifo):
        sent["data_url"] = read_fifo(fifo)
    if "data_url" not in sent:
        what = f"{len(text)} characters of another kind" if text else "nothing"
        raise ConfigError(  # as the original spells it
            f"MSG not set or interepretable as a dict object: found {what}; {HINT}"
        )
    return Message(
        sent["data_url"],
        posixpath.basename(str(sent.get("data_name", ""))) or NAME,
        _count(sent.get("predictions", predictions)),
        _yes(sent.get("reject", False)),
    )


def read_fifo(
    path: str, first_byte_s: float = FIRST_BYTE_S, quiet_s: float = QUIET_S
) -> bytes:
    """Returns the bytes of a binary message.

    Abaco writes them before the container starts, and keeps the FIFO open: there is no
    end of file, the message ends where no more bytes come. Other writers close it.

    Raises:
      ImageError: if no bytes come, or too many.
    """
    data, wait_s = bytearray(), first_byte_s
    source = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        ready = select.poll()
        ready.register(source, select.POLLIN)
        while ready.poll(wait_s * 1000):
            piece = os.read(source, PIECE_BYTES)
            if not piece:
                return bytes(data)
            data += piece
            if len(data) > MAX_BYTES:
                raise ImageError(f"longer than {MAX_BYTES} bytes")
            wait_s = quiet_s
    finally:
        os.close(source)
    if not data:
        raise ImageError(f"no bytes came through {path!r} in {first_byte_s:g} s")
    return bytes(data)


def _parse(text: str) -> object:
    """Returns the value of a Python literal or of JSON, else the text itself."""
    for read in (ast.literal_eval, json.loads):
        try:
            with warnings.catch_warnings():  # '\d' in a literal
                warnings.simplefilter("ignore")
                value = read(text)
            repr(value)  # cannot show an integer of thousands of digits, as 0xfff...
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        return _parse(value) if isinstance(value, str) else value
    return text


def _check_url(url: object, message: Mapping[object, object]) -> None:
    """Raises ConfigError unless a dict has a `data_url` that is text."""
    if not url:
        names = [str(name)[:40] for name in message if name != "data_url"]
        raise ConfigError(
            f"data_url was not defined: found {listed(names) or 'nothing else'}"
            f"{nearest('data_url', names)}; {HINT}"
        )
    if not isinstance(url, str):
        raise ConfigError(f"data_url is of type {type(url).__name__}, not text; {HINT}")


def _yes(value: Any) -> bool:
    """Returns a truth value, which may be text."""
    if str(value).lower() not in ("true", "false"):
        raise ConfigError(f"reject={value!r:.40}: must be true or false")
    return str(value).lower() == "true"


def _count(value: Any) -> int:
    """Returns a number of predictions, which may be text."""
    try:
        count = 0 if isinstance(value, bool) else int(value)
    except (TypeError, ValueError, OverflowError):
        count = 0
    if count < 1 or (count != value and not isinstance(value, str)):
        raise ConfigError(
            f"predictions={value!r:.40}: must be a whole number, at least 1"
        )
    return count
