"""Downloads images from http(s) URLs, with limits on time and size."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from poets.data.image_files import ImageError
from poets.data.images import MAX_BYTES
from poets.storage import storage_errors
from poets.storage.reading import IN_FLIGHT
from poets.system.hosts import Hosts
from poets.system.http import FetchError, Limits, download, read

LIMITS = Limits(connect_s=10, silence_s=30, total_s=120, max_bytes=MAX_BYTES)
HTML = ("text/html", "application/xhtml+xml")
HTML_BEGINS = (b"<!doctype html", b"<html")


def fetch_images(urls: Sequence[str], folder: str) -> list[str | ImageError]:
    """Downloads images into a folder, many at once.

    Returns:
      The path of each image, or why there is none.

    Raises:
      StorageError: if a file cannot be written.
    """

    def fetch(row: int, url: str) -> str | ImageError:
        path = os.path.join(folder, str(row))
        try:
            fetch_image(url, path)
        except ImageError as error:
            return error
        return path

    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        return list(threads.map(fetch, range(len(urls)), urls))


def fetch_image(url: str, path: str) -> None:
    """Downloads an image from any host into a local file; replaces an earlier file.

    Raises:
      ImageError: if the download fails; the message is the reason without the URL.
      StorageError: if the file cannot be written.
    """
    with storage_errors(f"write {path!r}"):
        with contextlib.suppress(FileNotFoundError):
            os.truncate(path, 0)  # else it would be continued
        with _image_errors():
            headers = download(url, path, LIMITS)
        with open(path, "rb") as file:
            _refuse_page(file.read(512), headers)


def fetch_content(
    url: str, allowed: Hosts | None = None, limits: Limits = LIMITS
) -> bytes:
    """Returns the content of an image, without a folder to write in.

    Args:
      url: http or https.
      allowed: the hosts that may be asked, for URLs of strangers. Proxies and `.netrc`
        are not used then. None allows all.
      limits: what the server may take.

    Raises:
      ImageError: if the download fails; the message is the reason without the URL.
    """
    with _image_errors():
        data, headers = read(url, limits, allowed)
    _refuse_page(data[:512], headers)
    return data


@contextlib.contextmanager
def _image_errors() -> Iterator[None]:
    try:
        yield
    except FetchError as error:
        raise ImageError(f"cannot be fetched: {error}") from error


def _refuse_page(begin: bytes, headers: Mapping[str, str]) -> None:
    begin = begin.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in HTML or begin.startswith(HTML_BEGINS):
        raise ImageError("an HTML page, not a picture")
