"""Image bytes as pixels: bit for bit what TensorFlow sees, upright, never a bomb."""

import io
import struct
import zlib

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tensorflow as tf

from poets.data.images import (
    MAX_PIXELS,
    ORIENTATION,
    ImageError,
    decode,
    is_plain,
    orientation,
    resize,
)


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
    "JPEG": saved(picture(200, 300), "JPEG"),
    "PNG": saved(picture(200, 300), "PNG"),
    "WEBP": saved(picture(200, 300), "WEBP"),
    "BMP": saved(picture(200, 300), "BMP"),
    "GIF": saved(picture(200, 300), "GIF"),
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
    outcomes = set()
    for _ in range(60):
        data = bytearray(whole)
        for place in random.integers(0, len(data), 5):
            data[place] = random.integers(256)
        try:
            pixels = decode(bytes(data))
        except ImageError:
            outcomes.add("refused")
        else:
            assert pixels.ndim == 3
            assert pixels.shape[2] == 3
            outcomes.add("decoded")
    assert outcomes


@pytest.mark.parametrize("size_px", [1, 2, 31, 128, 224, 299])
@pytest.mark.parametrize(
    ("height", "width"),
    [
        (128, 128),
        (224, 224),
        (37, 53),
        (500, 333),
        (1, 1),
        (1, 300),
        (300, 1),
        (2, 1000),
    ],
)
def test_resize_is_tensorflows_bilinear(height, width, size_px):
    pixels = picture(height, width)
    resized = resize(pixels, size_px)
    expected = tf.compat.v1.image.resize_bilinear(
        pixels[None].astype(np.float32), [size_px, size_px]
    )[0].numpy()
    assert resized.shape == (size_px, size_px, 3)
    np.testing.assert_allclose(resized, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("size_px", [1, 2, 15, 96, 128, 224, 299])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 7), (313, 500), (97, 31)])
def test_resize_gives_the_bits_of_three_channels(height, width, size_px):
    """Features that are stored stay valid: the fourth channel changes no bit."""
    pixels = picture(height, width)
    of_three = cv2.warpAffine(
        pixels.astype(np.float32),
        np.array([[width / size_px, 0, 0], [0, height / size_px, 0]]),
        (size_px, size_px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
        hint=cv2.ALGO_HINT_ACCURATE,
    )
    np.testing.assert_array_equal(resize(pixels, size_px), of_three)


def test_resize_leaves_a_picture_of_the_right_size_alone():
    pixels = picture(64, 64)
    assert resize(pixels, 64) is pixels


def test_resize_stays_in_range():
    pixels = (picture(61, 61) > 127).astype(np.uint8) * 255
    resized = resize(pixels, 100)
    assert resized.dtype == np.float32
    assert resized.min() >= 0
    assert resized.max() <= 255


def test_the_photographs_are_what_tensorflow_decodes(photographs):
    paths = sorted(photographs.rglob("*.jpg"))[::60]
    assert len(paths) > 50
    for path in paths:
        data = path.read_bytes()
        assert is_plain(data)
        np.testing.assert_array_equal(decode(data), tf_jpeg(data))
