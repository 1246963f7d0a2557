"""Drawn pictures with structure at all scales, like photographs, and their copies."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance


def photograph(seed: int, width_px: int = 160, height_px: int = 120) -> Image.Image:
    """Returns a picture of coloured noise in octaves, with some ellipses."""
    random = np.random.default_rng(seed)
    levels = np.zeros((height_px, width_px, 3))
    for octave in range(1, 6):
        noise = random.normal(0, 90 / octave, (2**octave, 2**octave, 3))
        for channel in range(3):
            layer = Image.fromarray(noise[:, :, channel].astype(np.float32))
            layer = layer.resize((width_px, height_px), Image.Resampling.BICUBIC)
            levels[:, :, channel] += np.asarray(layer)
    image = Image.fromarray(np.clip(128 + levels, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = random.uniform(0, width_px), random.uniform(0, height_px)
        w, h = random.uniform(4, 40, 2)
        colour = tuple(random.integers(0, 256, 3).tolist())
        draw.ellipse((x, y, x + w, y + h), fill=colour)
    return image


def as_jpeg(image: Image.Image, quality: int = 90) -> bytes:
    """Returns the bytes of a JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _recompressed(image: Image.Image) -> bytes:
    return as_jpeg(image, 60)


def _cropped(image: Image.Image) -> bytes:
    width, height = image.size
    return as_jpeg(
        image.crop((width // 20, height // 6, width * 17 // 20, height * 29 // 30))
    )


def _halved(image: Image.Image) -> bytes:
    return as_jpeg(image.resize((image.width // 2, image.height // 2)))


def _mirrored(image: Image.Image) -> bytes:
    return as_jpeg(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))


def _brighter(image: Image.Image) -> bytes:
    return as_jpeg(ImageEnhance.Brightness(image).enhance(1.2))


def _captioned(image: Image.Image) -> bytes:
    image = image.copy()
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, image.height * 7 // 8, *image.size), fill=(0, 0, 0))
    draw.text((4, image.height - 13), "a photograph, 2016", fill=(255, 255, 255))
    return as_jpeg(image)


COPIES = {
    "recompressed": _recompressed,
    "cropped to 80 %": _cropped,
    "half the size": _halved,
    "mirrored": _mirrored,
    "brighter by 20 %": _brighter,
    "captioned": _captioned,
}
"""Kind of copy -> what makes the bytes of one."""
