"""Downloads images from http(s) URLs, with limits on time and size."""

import time

import requests

from poets.data.images import MAX_BYTES, ImageError

TIMEOUT_S = (10, 30)  # to connect, and between two pieces
TOTAL_S = 120
PIECE_BYTES = 1 << 16


def fetch_image(url: str, path: str) -> None:
    """Downloads an image into a local file.

    Raises:
      ImageError: if the download fails; the message is the reason without the URL.
    """
    deadline = time.monotonic() + TOTAL_S
    try:
        with requests.get(url, stream=True, timeout=TIMEOUT_S) as response:
            if not response.ok:
                raise ImageError(f"HTTP {response.status_code} {response.reason}")
            size = 0
            with open(path, "wb") as file:
                for piece in response.iter_content(PIECE_BYTES):
                    size += len(piece)
                    if size > MAX_BYTES:
                        raise ImageError(f"longer than {MAX_BYTES} bytes")
                    if time.monotonic() > deadline:
                        raise ImageError(f"not complete after {TOTAL_S} s")
                    file.write(piece)
    except requests.RequestException as error:
        raise ImageError(f"cannot be fetched: {type(error).__name__}") from error
