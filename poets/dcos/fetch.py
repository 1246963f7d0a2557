"""Puts the job's file into a task's sandbox, like the Mesos fetcher.

https://host/poets-1.0.0.zip ──> download ──┬──> sandbox/poets-1.0.0/
dist/poets-1.0.0.tgz, file:///… ────────────┘
job.py ──> sandbox/job.py
"""

import os
import shutil
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from poets.dcos.unpack import is_archive, unpack
from poets.errors import ConfigError, StorageError
from poets.system import http

LIMITS = http.Limits(connect_s=30, silence_s=30, total_s=900, max_bytes=2 * 2**30)


def fetch(job_url: str, folder: Path) -> Path:
    """Returns a local file with the content of `job_url`.

    Args:
      job_url: http(s) address, `file://` address or path, as `poets.dcos.validate`
        has accepted it.
      folder: where to put a download; created if absent.

    Raises:
      ConfigError: if it has an unknown scheme, or is not a file.
      StorageError: if it cannot be downloaded.
    """
    parts = urlsplit(job_url)
    if parts.scheme in ("http", "https"):
        folder.mkdir(parents=True, exist_ok=True)
        return download(job_url, folder / PurePosixPath(unquote(parts.path)).name)
    if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost"):
        raise ConfigError(
            f"cannot fetch service.job_url {http.shown(job_url)!r}: use http://, "
            "https://, file:/// or a path"
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
    url: str,
    place: Path,
    limits: http.Limits = LIMITS,
    attempts: int = 3,
    pause_s: float = 1.0,
) -> Path:
    """Downloads a file; `place` appears only when the download is complete.

    The other arguments are those of `poets.system.http.download`.

    Raises:
      StorageError: after all attempts, or at once for errors that would recur, such as
        404; also if the file cannot be written.
    """
    part = place.with_name(f"{place.name}.part")
    try:
        http.download(url, str(part), limits, attempts=attempts, pause_s=pause_s)
        os.replace(part, place)
    except http.FetchError as error:
        raise StorageError(f"cannot download {http.shown(url)!r}: {error}") from None
    except OSError as error:
        raise StorageError(f"cannot write {str(place)!r}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return place
