"""Bytes that are no image, damaged images and bombs: an ImageError names the reason."""

import struct
import zlib

import numpy as np
import pytest

from poets.data.images import MAX_PIXELS, ImageError, decode, is_plain, orientation
from tests.data.encoded import JPEGS, ODD, PNGS, picture, saved


def jpeg_header(width, height) -> bytes:
    start = JPEGS["colour"].index(b"\xff\xc0")
    size = struct.pack(">HH", height, width)
    return JPEGS["colour"][: start + 5] + size + JPEGS["colour"][start + 9 :]


def png_header(width, height) -> bytes:
    return PNGS["RGB"][:16] + struct.pack(">II", width, height) + PNGS["RGB"][24:]


def crc_corrected(data: bytes) -> bytes:
    return data[:29] + struct.pack(">I", zlib.crc32(data[12:29])) + data[33:]


LOSSLESS = saved(picture(), "WEBP", lossless=True)
BOMBS = {
    "JPEG": jpeg_header(65_000, 65_000),
    "PNG": crc_corrected(png_header(200_000, 200_000)),
    "GIF": ODD["GIF"][:6] + struct.pack("<HH", 65_000, 65_000) + ODD["GIF"][10:],
    "BMP": ODD["BMP"][:18] + struct.pack("<ii", 90_000, 90_000) + ODD["BMP"][26:],
    "WEBP": LOSSLESS[:21] + struct.pack("<I", 16_382 | 16_382 << 14) + LOSSLESS[25:],
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS)
def test_a_decompression_bomb_is_refused_by_its_header(data):
    with pytest.raises(
        ImageError,
        match=r"^\d+ x \d+ pixels are more than 100,000,000: refused as a "
        "decompression bomb$",
    ):
        decode(data)
    assert not is_plain(data) or data.startswith(b"\x89PNG")


def test_a_large_photograph_is_no_bomb():
    assert MAX_PIXELS > 8_192 * 12_000  # 98 megapixels
    with pytest.raises(ImageError, match="cannot be decoded"):
        decode(crc_corrected(png_header(8_192, 12_000)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"no image at all", "not a JPEG, PNG, WEBP, BMP, GIF image"),
        (b"<html>404 Not Found</html>", "not a JPEG, PNG, WEBP, BMP, GIF image"),
        (bytes(1000), "not a JPEG, PNG, WEBP, BMP, GIF image: only zeros, as in a cl"),
        (b"\xff\xd8", "not a JPEG, PNG, WEBP, BMP, GIF image"),
        (b"\xff\xd8\xff\xe0 a text", "cannot be decoded: "),
        (b"%PDF-1.4 \xff\xd8", "not a JPEG, PNG, WEBP, BMP, GIF image"),
    ],
)
def test_what_is_no_image_is_reported(data, reason):
    with pytest.raises(ImageError) as caught:
        decode(data)
    assert str(caught.value).startswith(reason)
    assert not is_plain(data)
    assert orientation(data) == 1


WHOLE = {
    kind: saved(picture(200, 300), kind)
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF")
}


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_image_is_reported(kind, share):
    data = WHOLE[kind][: int(len(WHOLE[kind]) * share)]
    with pytest.raises(ImageError) as caught:
        decode(data)
    text = str(caught.value)
    assert text.startswith(("cannot be decoded: ", "not a JPEG"))
    assert "\n" not in text


@pytest.mark.parametrize("kind", WHOLE)
def test_random_damage_gives_pixels_or_an_image_error(kind):
    whole = WHOLE[kind]
    random = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(whole)
        for place in random.integers(0, len(data), 5):
            data[place] = random.integers(256)
        try:
            pixels = decode(bytes(data))
        except ImageError:
            continue
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3
