"""Drawn pictures in many formats, for the tests of decoding and resizing."""

import io
import struct
import zlib

import numpy as np
import PIL.Image


def picture(height=37, width=53, seed=0) -> np.ndarray:
    """Returns uint8 [H, W, 3] with slopes, edges and a little noise."""
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    planes = [
        rows * 255 / height,
        columns * 255 / width,
        128 + 100 * np.sign(np.sin(rows / 5) * np.cos(columns / 7)),
    ]
    noise = np.random.default_rng(seed).normal(0, 6, (height, width, 3))
    return np.clip(np.stack(planes, -1) + noise, 0, 255).astype(np.uint8)


def saved(image, kind: str, **options) -> bytes:
    """Returns a picture, an array or Pillow's, in a format."""
    if isinstance(image, np.ndarray):
        image = PIL.Image.fromarray(image)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def converted(mode: str) -> PIL.Image.Image:
    return PIL.Image.fromarray(picture()).convert(mode)


def with_alpha(mode: str) -> PIL.Image.Image:
    """Returns the picture with an alpha that goes from 0 to 255."""
    image = converted(mode)
    slope = np.linspace(0, 255, image.width).astype(np.uint8)
    image.putalpha(PIL.Image.fromarray(np.tile(slope, (image.height, 1))))
    return image


def png(pixels: np.ndarray, color_type: int, depth: int) -> bytes:
    """Returns a PNG written by hand, for what Pillow cannot write: 16-bit colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    height, width = pixels.shape[:2]
    rows = [b"\0" + row.tobytes() for row in pixels.astype(f">u{depth // 8}")]
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(b"".join(rows))),
            chunk(b"IEND", b""),
        ]
    )


def deep(channels: int) -> np.ndarray:
    """Returns uint16 [37, 53, channels] whose lower bytes are not zero."""
    random = np.random.default_rng(3)
    return random.integers(0, 2**16, (37, 53, channels), np.uint16)


JPEGS = {
    "colour": saved(picture(), "JPEG"),
    "best": saved(picture(), "JPEG", quality=100, subsampling=0),
    "worst": saved(picture(), "JPEG", quality=5),
    "4:2:2": saved(picture(), "JPEG", subsampling=1),
    "4:2:0": saved(picture(), "JPEG", subsampling=2),
    "progressive": saved(picture(), "JPEG", progressive=True),
    "gray": saved(converted("L"), "JPEG"),
    "one pixel": saved(picture(1, 1), "JPEG"),
    "one row": saved(picture(1, 99), "JPEG"),
    "one column": saved(picture(99, 1), "JPEG"),
    "odd": saved(picture(17, 31), "JPEG"),
    "more behind": saved(picture(), "JPEG") + b"trailing",
    "ICC profile": saved(picture(), "JPEG", icc_profile=bytes(70_000)),
}
PNGS = {
    "RGB": saved(picture(), "PNG"),
    "RGBA": saved(with_alpha("RGB"), "PNG"),
    "gray": saved(converted("L"), "PNG"),
    "gray and alpha": saved(with_alpha("L"), "PNG"),
    "palette": saved(converted("P"), "PNG"),
    "palette of 16": saved(converted("RGB").quantize(16), "PNG"),
    "palette, one transparent": saved(converted("P"), "PNG", transparency=3),
    "palette, all transparent": saved(
        converted("P"), "PNG", transparency=bytes(range(256))
    ),
    "gray, one transparent": saved(converted("L"), "PNG", transparency=7),
    "black and white": saved(converted("1"), "PNG"),
    "16-bit gray": png(deep(1), 0, 16),
    "16-bit gray and alpha": png(deep(2), 4, 16),
    "16-bit RGB": png(deep(3), 2, 16),
    "16-bit RGBA": png(deep(4), 6, 16),
    "one pixel": saved(picture(1, 1), "PNG"),
}
ODD = {
    "CMYK JPEG": saved(converted("CMYK"), "JPEG"),
    "turned JPEG": saved(picture(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1"
                         b"\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"),
    "WebP": saved(picture(), "WEBP"),
    "BMP": saved(picture(), "BMP"),
    "GIF": saved(picture(), "GIF"),
    "text": b"no image at all",
    "empty": b"",
    "damaged JPEG": JPEGS["colour"][:900] + bytes(200) + JPEGS["colour"][1100:],
    "half a JPEG": JPEGS["colour"][: len(JPEGS["colour"]) // 2],
}  # fmt: skip
