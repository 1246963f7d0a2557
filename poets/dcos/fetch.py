"""The job's file into a task's sandbox, as the Mesos fetcher does it.

https://host/poets-1.0.0.zip ──> download, whole or not at all ──> sandbox/poets-1.0.0/
dist/poets-1.0.0.tgz, file:///… ─────────────────────────────────┘
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
    """Returns a local file with what `job_url` names.

    Args:
      job_url: http(s) address, `file://` address or path.
      folder: where a download is put; made if absent.

    Raises:
      ConfigError: if it is empty, of an unknown scheme or kind, or no file.
      StorageError: if it cannot be downloaded.
    """
    if not job_url:
        raise ConfigError(
            "service.job_url is empty: the package would start its own examples, which "
            "are not part of poets; give the address of a zip (python build_zip.py "
            "makes one)"
        )
    parts = urlsplit(job_url)
    name = PurePosixPath(unquote(parts.path)).name
    if not is_archive(name) and not name.endswith(".py"):
        raise ConfigError(
            f"cannot use service.job_url {shown(parts)!r}: the name {name!r} tells no "
            f"kind of file; use {', '.join(ARCHIVES)} or .py"
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
            f"cannot fetch service.job_url {job_url!r}: {found}; give a file, seen "
            f"from {os.getcwd()!r}"
        )
    return path.resolve()


def place(job_file: Path, sandbox: Path) -> None:
    """Puts a fetched file into a sandbox: archives unpacked, others as they are.

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
    """Downloads a file that appears whole or not at all.

    Args:
      url: a parsed http(s) address; a name and password in it are sent as such.
      place: the file to make.
      silence_s: how long the server may send nothing.
      deadline_s: how long it may take in all, further attempts included.
      pause_s: how long to wait before a second attempt; twice as long before a third.

    Raises:
      StorageError: after `ATTEMPTS` attempts, or at once where another one is of no
        use, as for 404.
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
                error.close()  # it is the answer, with the connection
            final = isinstance(error, TooMuchError) or (
                isinstance(error, urllib.error.HTTPError)
                and error.code not in TRY_AGAIN
            )
            late = time.monotonic() + pause_s > deadline
            if final or late or attempt == ATTEMPTS:
                raise StorageError(
                    f"cannot download {shown(url)!r}: {_reason(error)}"
                    f"{'' if final else f', attempt {attempt} of {ATTEMPTS}'}"
                ) from None  # the cause shows the address with its secrets
            log.warning("downloading %s again: %s", shown(url), _reason(error))
            time.sleep(pause_s * attempt)
        else:
            os.replace(part, place)
            return place
    raise AssertionError("the last attempt returns or raises")


def shown(url: SplitResult) -> str:
    """Returns the address without password and query, which may hold secrets."""
    host = url.netloc.rpartition("@")[2]
    return url._replace(netloc=host, query="…" if url.query else "").geturl()


class TooMuchError(OSError):
    """The server sends more than any job has."""


def _request(url: SplitResult) -> urllib.request.Request:
    login, _, host = url.netloc.rpartition("@")
    request = urllib.request.Request(url._replace(netloc=host).geturl())
    request.add_header("User-Agent", "poets")
    if login:
        token = base64.b64encode(unquote(login).encode()).decode()
        # Unredirected: another host does not get the password.
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
                raise TimeoutError(f"not done in time, {received:,} bytes came")
            sink.write(chunk)
    if length is not None and received != int(length):
        raise ConnectionError(f"broke off after {received:,} of {length} bytes")


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__
