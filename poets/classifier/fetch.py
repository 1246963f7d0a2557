"""Downloads images from http(s) URLs, with limits on time and size."""

import contextlib
import os

from poets.data.images import MAX_BYTES, ImageError
from poets.system.hosts import Hosts
from poets.system.http import FetchError, Limits, download

LIMITS = Limits(connect_s=10, silence_s=30, total_s=120, max_bytes=MAX_BYTES)
HTML = ("text/html", "application/xhtml+xml")
HTML_BEGINS = (b"<!doctype html", b"<html")


def fetch_image(
    url: str, path: str, allowed: Hosts | None = None, limits: Limits = LIMITS
) -> None:
    """Downloads an image into a local file.

    Args:
      url: http or https.
      path: the file; an earlier one is replaced.
      allowed: the hosts that may be asked, for URLs of strangers. Proxies and `.netrc`
        are not used then. None allows all.
      limits: what the server may take.

    Raises:
      ImageError: if the download fails; the message is the reason without the URL.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # else it would be continued
    _fetch(url, path, allowed, limits)


def fetch_content(
    url: str, allowed: Hosts | None = None, limits: Limits = LIMITS
) -> bytes:
    """Returns the content of an image, without a folder to write in; see `fetch_image`.

    Raises:
      ImageError: if the download fails; the message is the reason without the URL.
    """
    with open(os.memfd_create("image"), "rb") as file:
        _fetch(url, f"/proc/self/fd/{file.fileno()}", allowed, limits)
        return file.read()


def _fetch(url: str, path: str, allowed: Hosts | None, limits: Limits) -> None:
    try:
        headers = download(url, path, limits, allowed=allowed)
    except FetchError as error:
        raise ImageError(f"cannot be fetched: {error}") from error
    with open(path, "rb") as file:
        begin = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in HTML or begin.startswith(HTML_BEGINS):
        raise ImageError("an HTML page, not a picture")
