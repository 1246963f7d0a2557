"""Downloads that resume where they stopped, are checked, and appear whole.

    model_dir/.archive.tgz.download       the part so far; if model_dir is remote,
    /tmp/poets-downloads-<user>/...       it is here
    model_dir/archive.tgz                 appears once it is whole, for all workers

If several processes on a machine need a file, one downloads and the others wait.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from poets.errors import ModelError, StorageError
from poets.storage import (
    exists,
    is_local,
    open_storage,
    read_url,
    reason,
    storage_errors,
)
from poets.storage.publish import write_atomically
from poets.system import http
from poets.system.progress import track

logger = logging.getLogger(__name__)

ATTEMPTS = 4
PAUSE_S = 0.5
LIMITS = http.Limits(connect_s=10, silence_s=60)


def download(source_url: str, target_url: str, digest: str | None) -> bytes:
    """Downloads a file to any storage and returns its content.

    The part of a broken download is kept beside the target; the next one completes it.

    Args:
      source_url: http or https.
      target_url: where the file appears once it is whole and checked.
      digest: the expected SHA-256 or MD5, hex; None checks only the server's own data
        (length, and the MD5 of Google Cloud Storage's `x-goog-hash`).

    Raises:
      ModelError: if it cannot be downloaded, or has another digest.
      StorageError: if it cannot be written.
    """
    part = _part_path(target_url)
    with _locked(part) as waited:
        if waited and exists(target_url):
            return read_url(target_url)
        return _download(source_url, target_url, digest, part)


def _download(source_url: str, target_url: str, digest: str | None, part: str) -> bytes:
    logger.info("downloading %s", http.shown(source_url))
    try:
        headers = http.download(
            source_url,
            part,
            LIMITS,
            attempts=ATTEMPTS,
            pause_s=PAUSE_S,
            progress=partial(track, what="download", unit="bytes"),
        )
        data = Path(part).read_bytes()
        found = http.check_digest(data, digest, headers)
    except http.FetchError as error:
        if isinstance(error, http.DigestError):
            os.unlink(part)
        raise ModelError(
            f"cannot download {http.shown(source_url)!r}: {error}; put the file at "
            f"{target_url!r} by hand, give another --model_url, or use "
            "--architecture=efficientnet_lite0, which pip installs"
        ) from error
    except OSError as error:
        raise StorageError(f"cannot write {part!r}: {reason(error)}") from error
    logger.info("downloaded %d bytes, SHA-256 %s", len(data), found)
    write_atomically(target_url, data)
    os.unlink(part)
    return data


def _part_path(target_url: str) -> str:
    filesystem, path = open_storage(target_url)
    folder, name = os.path.split(path)
    part = f".{name}.download"
    with storage_errors(f"write {target_url!r}", "give another folder"):
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
    return os.path.join(folder, part)


@contextlib.contextmanager
def _locked(part: str) -> Iterator[bool]:
    """Lets one process at a time write a part; gives whether it waited for another."""
    with storage_errors(f"write {part!r}"):
        file = open(part, "ab")  # noqa: SIM115 - closed below
    with file:
        waited = False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waiting for the process that downloads %s", part)
            fcntl.flock(file, fcntl.LOCK_EX)  # released if its process dies
            waited = True
        yield waited
