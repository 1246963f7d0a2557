"""Downloads that resume where they stopped, are checked, and appear whole.

    model_dir/.archive.tgz.download       the part so far; if model_dir is remote,
    /tmp/poets-downloads-<user>/...       it is here
    model_dir/archive.tgz                 appears once it is whole, for all workers

If several processes on a machine need a file, one downloads and the others wait.
"""

import base64
import contextlib
import fcntl
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator

import requests

from poets.errors import ModelError, StorageError
from poets.storage import exists, is_local, open_storage, read_url, reason
from poets.storage.publish import write_atomically
from poets.system.progress import track

logger = logging.getLogger(__name__)

ATTEMPTS = 4
PAUSE_S = 0.5  # before the second attempt; doubled before each further one
TIMEOUT_S = (10, 60)  # to connect; between two pieces
PIECE_BYTES = 1 << 16


def download(source_url: str, target_url: str, sha256: str | None) -> bytes:
    """Downloads a file to any storage and returns its content.

    The part of a broken download is kept beside the target; the next one completes it.

    Args:
      source_url: http or https.
      target_url: where the file appears once it is whole and checked.
      sha256: the expected digest, hex; None checks only the server's own data (length,
        and the MD5 of Google Cloud Storage's `x-goog-hash`).

    Raises:
      ModelError: if it cannot be downloaded, or has another digest.
      StorageError: if it cannot be written.
    """
    part = _part_path(target_url)
    with _locked(part) as waited:
        if waited and exists(target_url):
            return read_url(target_url)
        return _download(source_url, target_url, sha256, part)


def _download(source_url: str, target_url: str, sha256: str | None, part: str) -> bytes:
    logger.info("downloading %s", source_url)
    for attempt in range(ATTEMPTS):
        try:
            expected = _fetch(source_url, part)
            break
        except requests.HTTPError as error:
            refused = error.response is not None and error.response.status_code < 500
            if refused or attempt == ATTEMPTS - 1:
                raise ModelError(
                    f"cannot download {source_url!r}: {error}; put the file at "
                    f"{target_url!r} by hand"
                ) from error
        except (requests.RequestException, OSError) as error:
            if attempt == ATTEMPTS - 1:
                raise ModelError(
                    f"cannot download {source_url!r}: {_short(error)}; without a "
                    f"network, put the file at {target_url!r}"
                ) from error
        time.sleep(PAUSE_S * 2**attempt)
    with open(part, "rb") as file:
        data = file.read()
    _check(data, sha256, expected, source_url, part)
    write_atomically(target_url, data)
    os.unlink(part)
    return data


def _part_path(target_url: str) -> str:
    filesystem, path = open_storage(target_url)
    folder, name = os.path.split(path)
    part = f".{name}.download"
    try:
        if not is_local(filesystem):
            folder = os.path.join(
                tempfile.gettempdir(), f"poets-downloads-{os.getuid()}"
            )
            os.makedirs(folder, mode=0o700, exist_ok=True)
            if os.lstat(folder).st_uid != os.getuid():
                raise StorageError(
                    f"cannot download to {folder!r}: it is another user's; remove it, "
                    "or set TMPDIR to another temporary folder"
                )
            digest = hashlib.sha256(target_url.encode()).hexdigest()
            part = f".{name}.{digest[:12]}.download"
        os.makedirs(folder, exist_ok=True)
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"cannot write {target_url!r}: {reason(error)}; give another folder"
        ) from error
    return os.path.join(folder, part)


@contextlib.contextmanager
def _locked(part: str) -> Iterator[bool]:
    """Lets one process at a time write a part; gives whether it waited for another."""
    try:
        file = open(part, "ab")  # noqa: SIM115 - closed below
    except OSError as error:
        raise StorageError(f"cannot write {part!r}: {reason(error)}") from error
    with file:
        waited = False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waiting for the process that downloads %s", part)
            fcntl.flock(file, fcntl.LOCK_EX)  # released if its process dies
            waited = True
        yield waited


def _fetch(source_url: str, part: str) -> str | None:
    """Completes `part`; returns the base64 MD5 that the server sends, if any."""
    have = os.path.getsize(part) if os.path.exists(part) else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with requests.get(
        source_url, headers=headers, stream=True, timeout=TIMEOUT_S
    ) as response:
        if response.status_code == 416:  # the part is whole already, or too long
            os.truncate(part, 0)
            return _fetch(source_url, part)
        response.raise_for_status()
        resumed = response.status_code == 206
        length = int(response.headers.get("Content-Length", 0))
        with (
            open(part, "ab" if resumed else "wb") as file,
            track(length, "download", "bytes") as advance,
        ):
            got = 0
            for piece in response.iter_content(PIECE_BYTES):
                file.write(piece)
                got += len(piece)
                advance(len(piece))
        if got < length:
            raise requests.ConnectionError(f"received {got} of {length} bytes")
        hashes = response.headers.get("x-goog-hash", "")
    values = dict(item.strip().split("=", 1) for item in hashes.split(",") if item)
    return values.get("md5")


def _check(
    data: bytes, sha256: str | None, md5: str | None, source_url: str, part: str
) -> None:
    found = hashlib.sha256(data).hexdigest()
    found_md5 = base64.b64encode(
        hashlib.md5(data, usedforsecurity=False).digest()
    ).decode()
    if (sha256 and found != sha256) or (md5 and found_md5 != md5):
        os.unlink(part)
        raise ModelError(
            f"the download from {source_url!r} is not the published file: SHA-256 "
            f"{found}, expected {sha256 or 'MD5 ' + str(md5)}; try again, or give "
            "another --model_url"
        )
    logger.info("downloaded %d bytes, SHA-256 %s", len(data), found)


def _short(error: Exception) -> str:
    """Returns the innermost reason of a requests error, without object addresses."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return str(error) or type(error).__name__
