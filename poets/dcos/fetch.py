"""Puts the job's file into a task's sandbox, like the Mesos fetcher.

https://host/poets-1.0.0.zip ──> download ──┬──> sandbox/poets-1.0.0/
dist/poets-1.0.0.tgz, file:///… ────────────┘
job.py ──> sandbox/job.py
"""

import base64
import http.client
import logging
import os
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult, unquote, urlsplit

from poets.dcos.unpack import ARCHIVES, CHUNK_BYTES, is_archive, unpack
from poets.errors import ConfigError, StorageError

log = logging.getLogger(__name__)

ATTEMPTS = 3
SILENCE_S = 30.0
DEADLINE_S = 900.0
MAX_DOWNLOAD_BYTES = 2 * 2**30
TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)


def fetch(job_url: str, folder: Path) -> Path:
    """Returns a local file with the content of `job_url`.

    Args:
      job_url: http(s) address, `file://` address or path.
      folder: where to put a download; created if absent.

    Raises:
      ConfigError: if it is empty, has an unknown scheme or suffix, or is not a file.
      StorageError: if it cannot be downloaded.
    """
    if not job_url:
        raise ConfigError(
            "service.job_url is empty: the package would start its own examples, which "
            "are not part of poets; give the address of a zip (python build_zip.py "
            "builds one)"
        )
    parts = urlsplit(job_url)
    name = PurePosixPath(unquote(parts.path)).name
    if not is_archive(name) and not name.endswith(".py"):
        raise ConfigError(
            f"cannot use service.job_url {shown(parts)!r}: the name {name!r} has no "
            f"known suffix; use {', '.join(ARCHIVES)} or .py"
        )
    if parts.scheme in ("http", "https"):
        folder.mkdir(parents=True, exist_ok=True)
        return download(parts, folder / name)
    if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost"):
        raise ConfigError(
            f"cannot fetch service.job_url {shown(parts)!r}: use http://, https://, "
            "file:/// or a path"
        )
    path = Path(unquote(parts.path) if parts.scheme else job_url)
    if not path.is_file():
        found = "it is a folder" if path.is_dir() else "there is no such file"
        raise ConfigError(
            f"cannot fetch service.job_url {job_url!r}: {found}; give a file, relative "
            f"to {os.getcwd()!r}"
        )
    return path.resolve()


def place(job_file: Path, sandbox: Path) -> None:
    """Puts a fetched file into a sandbox; unpacks archives, copies other files.

    Raises:
      ConfigError: if the archive is broken or unsafe.
    """
    sandbox.mkdir(parents=True, exist_ok=True)
    if is_archive(job_file.name):
        unpack(job_file, sandbox)
    else:
        shutil.copyfile(job_file, sandbox / job_file.name)


def download(
    url: SplitResult,
    place: Path,
    silence_s: float = SILENCE_S,
    deadline_s: float = DEADLINE_S,
    pause_s: float = 1.0,
) -> Path:
    """Downloads a file. `place` appears only when the download is complete.

    Args:
      url: a parsed http(s) address; its name and password are sent as a login.
      place: the file to create.
      silence_s: how long the server may send nothing.
      deadline_s: limit for all attempts together.
      pause_s: the pause before the second attempt; twice that before the third.

    Raises:
      StorageError: after `ATTEMPTS` attempts, or at once for errors that would recur,
        such as 404.
    """
    deadline = time.monotonic() + deadline_s
    part = place.with_name(f"{place.name}.part")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(_request(url), timeout=silence_s) as answer:
                _receive(answer, part, deadline)
        except (OSError, http.client.HTTPException, ValueError) as error:
            part.unlink(missing_ok=True)
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # the error is also the response and holds the connection
            final = isinstance(error, TooMuchError) or (
                isinstance(error, urllib.error.HTTPError)
                and error.code not in TRY_AGAIN
            )
            late = time.monotonic() + pause_s > deadline
            if final or late or attempt == ATTEMPTS:
                raise StorageError(
                    f"cannot download {shown(url)!r}: {_reason(error)}"
                    f"{'' if final else f', attempt {attempt} of {ATTEMPTS}'}"
                ) from None  # the cause contains the address with its secrets
            log.warning("downloading %s again: %s", shown(url), _reason(error))
            time.sleep(pause_s * attempt)
        else:
            os.replace(part, place)
            return place
    raise AssertionError("the last attempt returns or raises")


def shown(url: SplitResult) -> str:
    """Returns the address without login and query, which may hold secrets."""
    host = url.netloc.rpartition("@")[2]
    return url._replace(netloc=host, query="…" if url.query else "").geturl()


class TooMuchError(OSError):
    """The download is larger than any job."""


def _request(url: SplitResult) -> urllib.request.Request:
    login, _, host = url.netloc.rpartition("@")
    request = urllib.request.Request(url._replace(netloc=host).geturl())
    request.add_header("User-Agent", "poets")
    if login:
        token = base64.b64encode(unquote(login).encode()).decode()
        # Unredirected, so that no other host gets the password.
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


def _receive(answer: http.client.HTTPResponse, part: Path, deadline: float) -> None:
    length = answer.headers.get("Content-Length")
    received = 0
    with part.open("wb") as sink:
        while chunk := answer.read1(CHUNK_BYTES):
            received += len(chunk)
            if received > MAX_DOWNLOAD_BYTES:
                raise TooMuchError(f"more than {MAX_DOWNLOAD_BYTES:,} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError(f"not done in time, received {received:,} bytes")
            sink.write(chunk)
    if length is not None and received != int(length):
        raise ConnectionError(f"broke off after {received:,} of {length} bytes")


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__
