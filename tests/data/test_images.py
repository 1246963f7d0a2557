"""Image bytes as pixels: bit for bit what TensorFlow sees, and upright."""

import io
import struct

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tensorflow as tf

from poets.data.images import ORIENTATION, ImageError, decode, is_plain, orientation
from tests.data.encoded import (
    JPEGS,
    ODD,
    PNGS,
    converted,
    picture,
    saved,
    with_alpha,
)


def tf_jpeg(data: bytes) -> np.ndarray:
    return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE").numpy()


def tf_png(data: bytes) -> np.ndarray:
    return tf.io.decode_png(data, channels=3).numpy()


@pytest.mark.parametrize("data", JPEGS.values(), ids=JPEGS)
def test_jpegs_are_what_tensorflow_decodes(data):
    np.testing.assert_array_equal(decode(data), tf_jpeg(data))


@pytest.mark.parametrize("data", PNGS.values(), ids=PNGS)
def test_pngs_are_what_tensorflow_decodes(data):
    np.testing.assert_array_equal(decode(data), tf_png(data))


@pytest.mark.parametrize(
    "data", [*JPEGS.values(), *PNGS.values(), *ODD.values()], ids=[*JPEGS, *PNGS, *ODD]
)
def test_a_plain_image_is_one_that_tensorflow_sees_alike(data):
    if not is_plain(data):
        return
    decoder = tf_png if data.startswith(b"\x89PNG") else tf_jpeg
    np.testing.assert_array_equal(decode(data), decoder(data))


def test_usual_images_are_plain_and_odd_ones_are_not():
    plain = {name for name, data in {**JPEGS, **ODD}.items() if is_plain(data)}
    assert plain >= JPEGS.keys()
    assert not plain & (ODD.keys() - {"damaged JPEG"})
    assert {name for name, data in PNGS.items() if is_plain(data)} >= {"RGB", "gray"}


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_lossless_formats_keep_every_pixel(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    pixels = decode(saved(picture(), kind, **options))
    np.testing.assert_array_equal(pixels, picture())
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize(
    ("kind", "tolerance"), [("JPEG", 12), ("WEBP", 14), ("GIF", 25)]
)
def test_lossy_formats_come_near(kind, tolerance):
    pixels = decode(saved(picture(), kind)).astype(float)
    assert pixels.shape == picture().shape
    assert np.abs(pixels - picture()).mean() < tolerance


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "1", "CMYK", "I;16"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "GIF", "JPEG", "TIFF"])
def test_any_mode_of_any_format_has_three_channels(kind, mode):
    if mode == "I;16":
        image = PIL.Image.fromarray(picture()[..., 0].astype(np.uint16) * 257)
    else:
        image = with_alpha(mode[:-1]) if mode in ("RGBA", "LA") else converted(mode)
    try:
        data = saved(image, kind)
    except (OSError, ValueError):
        return  # this format has no such mode
    if kind == "TIFF":
        with pytest.raises(ImageError, match="not a JPEG, PNG, WEBP, BMP, GIF image"):
            decode(data)
        return
    pixels = decode(data)
    assert (pixels.shape, pixels.dtype) == ((37, 53, 3), np.uint8)
    gray = decode(saved(picture(), "PNG")).mean(-1)
    if mode in ("RGBA", "CMYK", "P"):  # a picture like the one that was saved
        assert np.corrcoef(pixels.mean(-1).ravel(), gray.ravel())[0, 1] > 0.9


def test_cmyk_is_converted_as_pillow_does():
    data = ODD["CMYK JPEG"]
    expected = PIL.Image.open(io.BytesIO(data)).convert("RGB")
    np.testing.assert_array_equal(decode(data), np.asarray(expected))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_counts(kind):
    frames = [PIL.Image.fromarray(np.full((20, 30, 3), i, np.uint8)) for i in (250, 9)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (decode(data) == 250).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("value", range(1, 9))
def test_exif_turns_pictures_upright(kind, value):
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = value
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(picture(), kind, exif=exif, **options)
    assert orientation(data) == value
    upright = PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(data)))
    tolerance = 3 if kind == "JPEG" else 0  # Pillow's JPEG decoder is another build
    difference = decode(data).astype(int) - np.asarray(upright.convert("RGB"))
    assert np.abs(difference).max() <= tolerance
    assert decode(data).flags.c_contiguous


def test_exif_is_found_behind_other_metadata():
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = 6
    plain = saved(picture(), "JPEG", exif=exif)
    segment = b"\xff\xed" + struct.pack(">H", 60_002) + bytes(60_000)
    data = plain[:2] + segment + plain[2:]
    assert orientation(data) == 6
    np.testing.assert_array_equal(decode(data), decode(plain))


@pytest.mark.parametrize("value", [0, 9, 300])
def test_an_orientation_that_does_not_exist_is_upright(value):
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = value
    assert orientation(saved(picture(), "JPEG", exif=exif)) == 1


@pytest.mark.parametrize(
    "broken", [b"Exif\0\0", b"Exif\0\0MM\0*", b"Exif\0\0" + b"x" * 99]
)
def test_broken_exif_does_not_lose_the_picture(broken):
    data = saved(picture(), "JPEG", exif=broken)
    np.testing.assert_array_equal(decode(data), tf_jpeg(data))


def test_the_photographs_are_what_tensorflow_decodes(photographs):
    paths = sorted(photographs.rglob("*.jpg"))[::60]
    assert len(paths) > 50
    for path in paths:
        data = path.read_bytes()
        assert is_plain(data)
        np.testing.assert_array_equal(decode(data), tf_jpeg(data))
