"""Downloads over HTTP, with limits on time and size: `download`, `read`.

    url ──> at most 5 redirects ──> pieces ──> file, continued where it broke off
     └─ each connection: its host and address are checked, it ends at the deadline

Proxies, certificates and passwords are those of the environment and `.netrc`, except
for URLs from outside (`allowed`). Neither errors nor the log contain the login or the
query of a URL: a presigned URL has its key there.
"""

import base64
import contextlib
import hashlib
import http.client
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urljoin

import requests
import urllib3
from urllib3.util import Retry

from poets.system.connections import Guard, HostError, new_session
from poets.system.hosts import Hosts

logger = logging.getLogger(__name__)

MAX_REDIRECTS = 5
PIECE_BYTES = 1 << 16
DAY_S = 86_400.0


@dataclass(frozen=True)
class Limits:
    """The limits of a download.

    Attributes:
      connect_s: time to find the host, and again to connect.
      silence_s: time in which it sends nothing.
      total_s: time for the whole download, with all attempts.
      max_bytes: size of the content.
    """

    connect_s: float = 10.0
    silence_s: float = 60.0
    total_s: float = DAY_S
    max_bytes: int = 2 << 30


class FetchError(Exception):
    """A download failed; the text is the reason, without the URL.

    Attributes:
      is_passing: whether a later attempt may succeed.
    """

    def __init__(self, reason: str, is_passing: bool = False) -> None:
        super().__init__(reason)
        self.is_passing = is_passing


class NotAllowedError(FetchError):
    """The host of a URL, or of a redirect, may not be asked."""


def _no_progress(total: int) -> AbstractContextManager[Callable[[int], None]]:
    return contextlib.nullcontext(lambda count: None)


Progress = Callable[[int], AbstractContextManager[Callable[[int], None]]]


def shown(url: str) -> str:
    """Returns a URL without its login and query, which may be secrets."""
    place, mark, _ = re.sub(r"(?<=//)[^/?#]*@", "", url).partition("?")
    return f"{place}?…" if mark else place


def read(
    url: str, limits: Limits, allowed: Hosts | None = None
) -> tuple[bytes, Mapping[str, str]]:
    """Returns the content of a URL and the headers of the answer.

    Args:
      url: http or https.
      limits: what the server may take.
      allowed: the hosts that may be asked, also by a redirect; None allows all.

    Raises:
      FetchError: if the content does not arrive whole and within the limits.
    """
    deadline = time.monotonic() + limits.total_s
    with _answer(url, limits, deadline, allowed) as answer:
        return b"".join(_pieces(answer, limits.max_bytes)), answer.headers


def download(
    url: str,
    path: str,
    limits: Limits,
    *,
    attempts: int = 1,
    pause_s: float = 0.5,
    progress: Progress = _no_progress,
) -> Mapping[str, str]:
    """Downloads into a local file and returns the headers of the answer.

    Args:
      url: http or https.
      path: the file. What it contains already is continued: the beginning that an
        earlier download left.
      limits: what the server may take.
      attempts: how often to ask after failures that may pass.
      pause_s: the pauses between them are 0, 2, 4, 8, ... times this.
      progress: `track` with all arguments but the first, to show how far it is.

    Raises:
      FetchError: if the content does not arrive whole and within the limits.
      OSError: if the file cannot be written.
    """
    deadline = time.monotonic() + limits.total_s
    retries = Retry(attempts - 1, backoff_factor=pause_s)
    etag = ""
    while True:
        start = os.path.getsize(path) if os.path.exists(path) else 0
        ask = {"Range": f"bytes={start}-"} if start else {}
        if start and etag.startswith('"'):  # a weak one, W/"...", does not identify it
            ask["If-Range"] = etag
        try:
            with _answer(url, limits, deadline, ask=ask) as answer:
                if answer.status_code == 416:  # it is whole already, or too long
                    os.truncate(path, 0)
                    continue
                etag = answer.headers.get("ETag", "")
                _save(answer, path, start, limits.max_bytes, progress)
                return answer.headers
        except FetchError as error:
            retries = _left(retries, error, deadline)
            logger.warning("downloading %s again: %s", shown(url), error)
            retries.sleep()


class DigestError(FetchError):
    """The content differs from the published file."""


def check_digest(data: bytes, digest: str | None, headers: Mapping[str, str]) -> str:
    """Returns the SHA-256 of a content, hex.

    Args:
      data: the content.
      digest: the expected one, hex: SHA-256, or an MD5; None accepts any.
      headers: of the answer; they may have Google's `x-goog-hash`, with an MD5.

    Raises:
      DigestError: if one differs.
    """
    found = hashlib.sha256(data).hexdigest()
    md5 = hashlib.md5(data, usedforsecurity=False)
    sent = re.search(r"md5=([\w+/=]+)", headers.get("x-goog-hash", ""))
    as_sent = sent is None or sent[1] == base64.b64encode(md5.digest()).decode()
    if digest not in (None, found, md5.hexdigest()) or not as_sent:
        expected = digest or f"MD5 {sent and sent[1]}"
        raise DigestError(
            f"it is not the published file: SHA-256 {found}, MD5 {md5.hexdigest()}, "
            f"expected {expected}"
        )
    return found


def _left(retries: Retry, error: FetchError, deadline: float) -> Retry:
    """Returns the attempts that are left after an error, or raises it."""
    if not error.is_passing:
        raise error
    try:
        left = retries.increment(error=error)
    except urllib3.exceptions.MaxRetryError:
        count = len(retries.history) + 1
        text = f"{error}, attempt {count} of {count}" if count > 1 else str(error)
        raise FetchError(text, is_passing=True) from None
    if time.monotonic() + left.get_backoff_time() > deadline:
        raise error
    return left


def _save(
    answer: requests.Response, path: str, start: int, max_bytes: int, progress: Progress
) -> None:
    """Writes the content, or the rest of it from the byte `start` on."""
    if answer.status_code == 200:
        start = 0
    elif f" {start}-" not in answer.headers.get("Content-Range", ""):
        raise FetchError("the server sent the wrong part of the file")
    with (
        open(path, "ab" if start else "wb") as file,
        progress(_length(answer)) as advance,
    ):
        for piece in _pieces(answer, max_bytes, start):
            file.write(piece)
            advance(len(piece))


@contextlib.contextmanager
def _answer(
    url: str,
    limits: Limits,
    deadline: float,
    allowed: Hosts | None = None,
    ask: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[requests.Response]:
    """Yields the answer to a GET request, after redirects; `ask` has further headers.

    Raises:
      FetchError: if there is none, or not one of success; also if reading it fails in
        the block.
    """
    try:
        guard = Guard(deadline, limits.connect_s, allowed)
        with guard, new_session(guard) as session:
            for _ in range(MAX_REDIRECTS + 1):
                with session.get(
                    url,
                    headers=ask,
                    stream=True,
                    allow_redirects=False,  # requests would read their content
                    timeout=(limits.connect_s, limits.silence_s),
                ) as answer:
                    target = session.get_redirect_target(answer)
                    if target is None:
                        _check_status(answer.status_code, "Range" in ask)
                        yield answer
                        return
                    url = urljoin(url, target)
            raise FetchError(f"more than {MAX_REDIRECTS} redirects")
    except HostError as error:
        raise NotAllowedError(str(error)) from None
    except TimeoutError:
        raise FetchError(f"not complete after {limits.total_s:g} s") from None
    except (
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        ValueError,
    ) as error:
        raise _failure(error) from None  # not chained: their texts contain the URL


def _check_status(status: int, is_range: bool) -> None:
    if status != 200 and not (is_range and status in (206, 416)):
        phrase = http.client.responses.get(status, "")
        is_passing = status in (408, 425, 429) or status >= 500
        raise FetchError(f"the server answered {status} {phrase}".rstrip(), is_passing)


def _length(answer: requests.Response) -> int:
    """Returns the length of the content that the header states, or 0."""
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _pieces(
    answer: requests.Response, max_bytes: int, start: int = 0
) -> Iterator[bytes]:
    """Yields the content; raises FetchError if the whole file is too long."""
    too_long = FetchError(f"longer than {max_bytes:,} bytes")
    if start + _length(answer) > max_bytes:
        raise too_long
    for piece in answer.iter_content(PIECE_BYTES):
        start += len(piece)
        if start > max_bytes:
            raise too_long
        yield piece


def _failure(error: BaseException) -> FetchError:
    """Returns the error with the innermost reason, which has no URL."""
    if isinstance(error, ValueError):
        return FetchError("not an http or https address")
    causes = [error]
    while cause := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(cause)
    for cause in reversed(causes):
        if isinstance(cause, http.client.IncompleteRead):
            return FetchError("the connection broke", True)
        if isinstance(cause, TimeoutError):
            return FetchError("timed out", True)
        if isinstance(cause, OSError) and cause.strerror:
            return FetchError(cause.strerror[:1].lower() + cause.strerror[1:], True)
    return FetchError("the server does not answer as a web server does", True)
