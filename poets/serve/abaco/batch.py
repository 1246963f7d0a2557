"""Sends many messages to an actor, some at a time, and gathers the labels.

messages ──> send ──> wait ──> logs ──> {"message": ..., "labels": [...]}   a line each
                                   └──> {"message": ..., "error": "..."}
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from poets.serve.abaco.client import Abaco, AbacoError

LINE = re.compile(r"(.+) \(score = (\d\.\d{5})\)")
HOPELESS = (401, 403, 404)
"""HTTP statuses that every other message would get, too."""


def label_messages(
    abaco: Abaco, actor: str, messages: Iterable[str], parallel: int, timeout_s: float
) -> Iterator[dict[str, Any]]:
    """Yields the result of each message, as they are done.

    Args:
      abaco, actor: the platform, and the actor's id.
      messages: URLs, dicts as text, or paths of image files, which are sent as bytes.
      parallel: the most messages that wait or run at once.
      timeout_s: how long one may wait and run.

    Raises:
      AbacoError: if the platform refuses the token, or does not know the actor.
    """
    threads = ThreadPoolExecutor(parallel)
    try:
        running = [
            threads.submit(_label, abaco, actor, message, timeout_s)
            for message in messages
        ]
        for done in as_completed(running):
            yield done.result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _label(abaco: Abaco, actor: str, message: str, timeout_s: float) -> dict[str, Any]:
    result: dict[str, Any] = {"message": message}
    try:
        execution = abaco.send(actor, _content(message))
        result["execution"] = execution
        ended = abaco.wait(actor, execution, timeout_s)
    except AbacoError as error:
        if error.status in HOPELESS:
            raise
        return {**result, "error": str(error)}
    except (OSError, UnicodeError) as error:  # a file, or a name that is not UTF-8
        return {**result, "error": f"cannot send it: {error}"}
    lines = ended.logs.strip().splitlines()
    labels = [
        {"label": found[1], "score": float(found[2])}
        for found in map(LINE.fullmatch, lines)
        if found
    ]
    if labels and not ended.exit_code:
        return {**result, "labels": labels}
    why = lines[-1] if lines else "it printed nothing"
    return {**result, "error": f"exit code {ended.exit_code}: {why}"}


def _content(message: str) -> str | bytes:
    """Returns what to send: the content of a file, else the message itself."""
    if "://" in message or not os.path.isfile(message):
        return message
    return Path(message).read_bytes()


def labelled_in(path: str) -> set[str]:
    """Returns the messages that an earlier run's file of results has labels for."""
    found = set()
    if os.path.exists(path):
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    result = json.loads(line)
                    if result["labels"]:
                        found.add(str(result["message"]))
                except (ValueError, KeyError, TypeError):
                    continue  # an error, or half a line of a run that was killed
    return found
