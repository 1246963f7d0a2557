"""Calls to a storage's server, with a deadline and retries.

    call(client.mkdirs, path, what="making the folder", url=url)

      ├─ an answer, or an error of the request ──────────────────> returned, raised
      ├─ ConnectionError ── wait 0.1, 0.2, .. 8 s, try again ──┐
      │        └────────────────────── until the deadline ─────┘──> ConnectionError
      └─ silence until the deadline ─────────────────────────────> TimeoutError

The deadline covers all tries together. It is `POETS_STORAGE_TIMEOUT_S` (120 s), or
what `deadline` sets for a block.

The type of an error decides about a retry. ConnectionRefusedError means that the
request was not carried out (nothing listens, safe mode, a standby). After any other
ConnectionError, it may have been. A request that must not be carried out twice is made
with `repeat=False`, and is retried only after a ConnectionRefusedError.
"""

import contextlib
import errno
import logging
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

from poets.errors import ConfigError
from poets.system.deadline import run_with_deadline

TIMEOUT_VARIABLE = "POETS_STORAGE_TIMEOUT_S"
DEFAULT_TIMEOUT_S = 120.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 8.0
LOGGED_PAUSE_S = 0.5  # shorter pauses are not worth a warning

T = TypeVar("T")

_log = logging.getLogger(__name__)
_shortened: ContextVar[float | None] = ContextVar("timeout_s", default=None)


def call(
    function: Callable[..., T], *args: Any, what: str, url: str, repeat: bool = True
) -> T:
    """Returns `function(*args)`, called with a deadline and retries.

    Args:
      function: may block for ever; raises the built-ins that `poets.errors` describes.
      what: what it does, for messages, such as "listing the folder".
      url: what it accesses, for messages.
      repeat: whether it may be carried out twice.

    Raises:
      TimeoutError: without an answer by the deadline.
      ConnectionError: the last one, if every try until the deadline fails.
      ConfigError: if POETS_STORAGE_TIMEOUT_S is not a positive number.
      OSError: any other error of `function`, without a retry.
    """
    timeout_s = allowed_s()
    begin = time.monotonic()
    tries, pause_s = 0, FIRST_PAUSE_S
    last: ConnectionError | None = None
    function = partial(function, *args)
    while True:
        tries += 1
        left_s = begin + timeout_s - time.monotonic()
        try:
            return run_with_deadline(function, left_s)
        except TimeoutError as error:
            if error.errno is not None:  # raised by the function itself
                raise
            if last is not None:
                raise _after(last, tries, timeout_s, url) from last.__cause__
            raise TimeoutError(
                errno.ETIMEDOUT,
                f"{what} took more than {timeout_s:g} s: the server does not answer; "
                "check whether it is up and not overloaded, and whether a firewall "
                f"drops the packets ({TIMEOUT_VARIABLE} gives more time)",
                url,
            ) from None
        except ConnectionError as error:
            last = error
            pause_s = min(pause_s, LONGEST_PAUSE_S) * random.uniform(0.5, 1)
            spent_s = time.monotonic() - begin
            known = isinstance(error, ConnectionRefusedError)
            if not (known or repeat) or spent_s + pause_s >= timeout_s:
                raise _after(error, tries, spent_s, url) from error.__cause__
            if pause_s >= LOGGED_PAUSE_S:
                _log.warning("%s: %s: %s; trying again", url, what, error.strerror)
        time.sleep(pause_s)
        pause_s = FIRST_PAUSE_S * 2 ** min(tries, 10)


def allowed_s() -> float:
    """Returns the deadline of one call, in seconds.

    Raises:
      ConfigError: if POETS_STORAGE_TIMEOUT_S is not a positive number.
    """
    given = os.environ.get(TIMEOUT_VARIABLE)
    try:
        timeout_s = float(given) if given else DEFAULT_TIMEOUT_S
    except ValueError:
        timeout_s = math.nan
    if not timeout_s > 0:
        raise ConfigError(
            f"cannot set the storage's deadline: {TIMEOUT_VARIABLE} is {given!r}; "
            "give a number of seconds above 0"
        )
    shortened = _shortened.get()
    return timeout_s if shortened is None else min(timeout_s, shortened)


@contextlib.contextmanager
def deadline(timeout_s: float) -> Iterator[None]:
    """Limits each call of a block to `timeout_s` seconds, or less if less is set."""
    outer = _shortened.get()
    shorten(timeout_s if outer is None else min(outer, timeout_s))
    try:
        yield
    finally:
        shorten(outer)


def shorten(timeout_s: float | None) -> None:
    """Limits each call of this thread to `timeout_s` seconds, from now on."""
    _shortened.set(timeout_s)


@contextlib.contextmanager
def threads(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Yields threads whose calls have the deadline of this one.

    The end of the block does not wait for them: Ctrl-C ends a call to a silent server.
    """
    pool = ThreadPoolExecutor(count, name, initializer=shorten, initargs=(allowed_s(),))
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _after(error: ConnectionError, tries: int, spent_s: float, url: str) -> OSError:
    """Returns the last error, with the number of tries in its text."""
    text = error.strerror or str(error)
    if tries > 1:
        text += f" (tried {tries} times in {spent_s:.0f} s)"
    return type(error)(error.errno or errno.EIO, text, error.filename or url)
