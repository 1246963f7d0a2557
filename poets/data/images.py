"""Decodes and resizes images, with the same pixels on every machine.

    bytes ──> decode: uint8 [H, W, 3], upright ──> resize: float32 [S, S, 3], 0..255

libjpeg-turbo with the accurate DCT decodes JPEG, bit for bit as TensorFlow's
`decode_jpeg(dct_method="INTEGER_ACCURATE")` in the exported graph does. Pillow decodes
the JPEGs that it refuses (CMYK, damaged but readable) and all other formats. `resize`
is the bilinear interpolation of TensorFlow 1.x (corner at 0, no antialiasing), which
the exported graphs and the clients of old graphs use.
"""

import io

import cv2
import numpy as np
import PIL.Image
import simplejpeg

from poets.data.image_files import ImageError as ImageError
from poets.data.image_files import pointer_in

MAX_BYTES = 256 * 2**20
"""A longer file is not a photograph; it is refused before it is read."""

MAX_PIXELS = 100_000_000
"""A larger picture is taken for a decompression bomb (300 MB of pixels)."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
ORIENTATION = 0x0112  # EXIF tag 274, values 1 to 8 (CIPA DC-008, section 4.6.4)

PIL.Image.MAX_IMAGE_PIXELS = None  # MAX_PIXELS is checked here, and without a warning


def decode(data: bytes) -> np.ndarray:
    """Returns the upright picture in image bytes.

    As TensorFlow's decoders do, it drops alpha and the lower 8 of 16 bits. Of an
    animation it returns the first frame.

    Args:
      data: JPEG, PNG, WebP, BMP or GIF.

    Returns:
      uint8 [H, W, 3], RGB.

    Raises:
      ImageError: if the bytes are not such an image, are damaged or too large.
    """
    return _decode(data)


def orientation(data: bytes) -> int:
    """Returns the EXIF orientation of image bytes, 1 (upright) to 8."""
    if not _has_exif(data):
        return 1
    try:
        with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as image:
            value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - broken EXIF is no reason to lose the picture
        return 1
    return value if value in range(1, 9) else 1


def _has_exif(data: bytes) -> bool:
    """Returns whether there may be EXIF data, in 2 us; Pillow takes 100."""
    if data[:2] != b"\xff\xd8":
        return b"eXIf" in data or b"EXIF" in data  # the chunks of PNG and of WebP
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":
        if data[at + 4 : at + 8] == b"Exif":
            return True
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")  # a segment
    return False


def is_plain(data: bytes) -> bool:
    """Returns whether TensorFlow's decoder gives the same pixels as `decode`.

    This holds for upright JPEGs that libjpeg-turbo takes and for 8-bit PNGs.
    """
    if orientation(data) != 1:
        return False
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return data[24:25] == b"\x08"  # IHDR: bit depth
    try:
        return data[:2] == b"\xff\xd8" and _decode_jpeg(data) is not None
    except ImageError:
        return False


def resize(pixels: np.ndarray, size_px: int) -> np.ndarray:
    """Returns a picture at the size a backbone reads.

    Args:
      pixels: uint8 [H, W, 3].
      size_px: S.

    Returns:
      [S, S, 3] in 0..255: float32, or `pixels` itself if it has that size.
    """
    height, width = pixels.shape[:2]
    if height == width == size_px:
        return pixels
    return sample(pixels, size_px, width / size_px, height / size_px, 0, 0)


def sample(
    pixels: np.ndarray, size_px: int, step_x: float, step_y: float, x: float, y: float
) -> np.ndarray:
    """Returns the pixels at a grid of points, interpolated bilinearly.

    Args:
      pixels: uint8 [H, W, 3].
      size_px: points a side, S.
      step_x: columns from one point to the next; `step_y` rows.
      x: column of the first point; `y` its row.

    Returns:
      float32 [S, S, 3] in 0..255.
    """
    # Four channels and both conversions take 70 to 80 % of the time of three channels,
    # which cannot be loaded as one vector; the values are the same.
    four = cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA)
    sampled = cv2.warpAffine(
        four.astype(np.float32),
        np.array([[step_x, 0, x], [0, step_y, y]], np.float64),
        (size_px, size_px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
        hint=cv2.ALGO_HINT_ACCURATE,  # the default rounds positions to 1/32 pixel
    )
    return cv2.cvtColor(sampled, cv2.COLOR_RGBA2RGB)


def thumbnail(data: bytes, side_px: int) -> tuple[bytes, int, int]:
    """Returns a small upright JPEG of image bytes.

    A large JPEG is decoded at an eighth to one of its size, which takes a quarter of
    the time.

    Args:
      data: see `decode`.
      side_px: the longer side of the result; a smaller picture keeps its size.

    Returns:
      The JPEG, its width and its height.

    Raises:
      ImageError: see `decode`.
    """
    pixels = _decode(data, side_px)
    height, width = pixels.shape[:2]
    scale = min(1.0, side_px / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size != (width, height):
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    pixels = np.ascontiguousarray(pixels)
    return simplejpeg.encode_jpeg(pixels, 70, colorsubsampling="420"), *size


def _decode(data: bytes, least_px: int = 0) -> np.ndarray:
    """Returns an upright picture; if `least_px` > 0, smaller, with no side below it."""
    if not data:
        raise ImageError("empty file")
    pixels = _decode_jpeg(data, least_px) if data[:2] == b"\xff\xd8" else None
    if pixels is None:
        pixels = _decode_any(data)
    return _upright(pixels, orientation(data))


def _decode_jpeg(data: bytes, least_px: int = 0) -> np.ndarray | None:
    """Returns the pixels of a JPEG; None if Pillow has to decode it."""
    try:
        height, width, color_space, _ = simplejpeg.decode_jpeg_header(data)
        _check_pixels(width, height)
        if color_space in ("CMYK", "YCCK"):
            return None
        if least_px:
            return simplejpeg.decode_jpeg(
                data, min_height=least_px, min_width=least_px, min_factor=1
            )
        return simplejpeg.decode_jpeg(data)
    except ImageError:
        raise
    except ValueError:
        return None


def _decode_any(data: bytes) -> np.ndarray:
    try:
        with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_pixels(*image.size)
            if image.mode.startswith("I"):  # 16-bit grayscale
                high = (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
                return np.repeat(high[:, :, None], 3, axis=2)
            image.info.pop("transparency", None)  # Pillow warns before dropping it
            return np.asarray(image.convert("RGB"))
    except ImageError:
        raise
    except PIL.UnidentifiedImageError:
        why = pointer_in(data) or f"not a {', '.join(FORMATS)} image"
        if data.count(0) == len(data):
            why += ": only zeros, as in a cloud drive's placeholder or a failed copy"
        raise ImageError(why) from None
    except Exception as error:  # noqa: BLE001 - Pillow's plugins raise many kinds
        text = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"cannot be decoded: {text[:200]}") from error


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{width} x {height} pixels are more than {MAX_PIXELS:,}: refused as a "
            "decompression bomb"
        )


def _upright(pixels: np.ndarray, value: int) -> np.ndarray:
    if value == 1:
        return pixels
    if value >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if value in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if value in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
