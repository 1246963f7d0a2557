"""Pixels at the size of the network: TensorFlow's bilinear resize."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from poets.data.images import resize
from tests.data.encoded import picture


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
