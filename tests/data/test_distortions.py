"""Distorted copies: seeded by content, spread as the flags say, never outside."""

import hashlib

import numpy as np
import pytest

from poets.config import RetrainConfig
from poets.data.distortions import Distortions
from poets.data.images import resize

SIZE_PX = 32
NOTHING = {
    "flip_left_right": False,
    "random_crop": 0,
    "random_scale": 0,
    "random_brightness": 0,
    "seed": 0,
}


def distortions(**flags) -> Distortions:
    return Distortions(**NOTHING | flags)


def digest_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def ramp(height=64, width=64) -> np.ndarray:
    """Returns a picture whose pixels hold their place: red row, green column."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, rows * 0 + 100], -1).astype(np.uint8)


def copies(made: Distortions, count: int, pixels=None) -> np.ndarray:
    """Returns float32 [count, S, S, 3]: one copy each of as many images."""
    pixels = ramp() if pixels is None else pixels
    return np.stack(
        [made.distort(pixels, SIZE_PX, digest_of(str(i)), 0) for i in range(count)]
    )


EVERYTHING = distortions(
    flip_left_right=True, random_crop=20, random_scale=30, random_brightness=40
)


@pytest.mark.parametrize("shape", [(32, 32), (64, 48), (20, 300), (1, 1)])
def test_where_nothing_varies_a_copy_is_the_resized_picture(shape):
    pixels = ramp(*shape)
    copy = distortions().distort(pixels, SIZE_PX, digest_of("x"), 3)
    np.testing.assert_array_equal(copy, resize(pixels, SIZE_PX))
    assert copy.dtype == np.float32


def test_a_copy_is_the_same_whenever_and_wherever_it_is_made():
    first = {
        (name, copy): EVERYTHING.distort(ramp(), SIZE_PX, digest_of(name), copy)
        for name in "abc"
        for copy in range(3)
    }
    for name, copy in sorted(first, key=str, reverse=True):
        again = EVERYTHING.distort(ramp(), SIZE_PX, digest_of(name), copy)
        np.testing.assert_array_equal(again, first[name, copy])
    flat = {picture.tobytes() for picture in first.values()}
    assert len(flat) == len(first)


def test_another_seed_makes_other_copies():
    other = Distortions(True, 20, 30, 40, seed=1)
    assert (copies(EVERYTHING, 3) != copies(other, 3)).any(axis=(1, 2, 3)).all()


def test_half_of_the_copies_are_flipped():
    made = copies(distortions(flip_left_right=True), 400)
    plain = resize(ramp(), SIZE_PX)
    flipped = (made == plain[:, ::-1]).all(axis=(1, 2, 3))
    assert ((made == plain).all(axis=(1, 2, 3)) ^ flipped).all()
    assert flipped.mean() == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("percent", [1, 25, 99])
def test_brightness_is_multiplied_evenly_around_one(percent):
    made = copies(distortions(random_brightness=percent), 400)
    factors = made[..., 2] / 100
    assert np.ptp(factors, axis=(1, 2)).max() < 1e-5  # one factor a copy
    factors = factors[:, 0, 0]
    assert factors.min() >= 1 - percent / 100 - 1e-6
    assert factors.max() <= 1 + percent / 100 + 1e-6
    assert factors.mean() == pytest.approx(1, abs=0.1 * percent / 100)
    assert factors.std() == pytest.approx(percent / 100 / np.sqrt(3), rel=0.1)


def test_brightness_may_leave_the_range_of_bytes():
    white = np.full((8, 8, 3), 255, np.uint8)
    made = copies(distortions(random_brightness=50), 50, white)
    assert made.max() > 300


@pytest.mark.parametrize("percent", [10, 50, 100, 400])
def test_a_crop_is_a_window_that_reaches_every_edge(percent):
    made = copies(distortions(random_crop=percent), 400)
    scaled_px = int((1 + percent / 100) * SIZE_PX)
    step = 64 / scaled_px
    tops, lefts = made[:, 0, 0, 0] / step, made[:, 0, 0, 1] / step
    for starts in (tops, lefts):
        np.testing.assert_allclose(starts, np.round(starts), atol=1e-3)
        assert set(np.round(starts).astype(int)) <= set(range(scaled_px - SIZE_PX + 1))
        assert starts.min() == pytest.approx(0, abs=1e-3)
    assert lefts.max() >= (scaled_px - SIZE_PX) * 0.9
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 0.15
    spans = made[:, 0, 10, 1] - made[:, 0, 0, 1]
    np.testing.assert_allclose(spans, 10 * step, atol=1e-3)


def test_scales_spread_from_one_to_the_percentage():
    made = copies(distortions(random_scale=100), 400)
    spans = made[:, 0, 10, 1] - made[:, 0, 0, 1]
    scales = 10 * (64 / SIZE_PX) / spans
    assert scales.min() == pytest.approx(1, abs=0.05)
    assert scales.max() == pytest.approx(2, abs=0.05)
    assert scales.mean() == pytest.approx(1.5, abs=0.05)


def test_crop_and_scale_multiply():
    made = copies(distortions(random_crop=100, random_scale=100), 400)
    spans = made[:, 0, 10, 1] - made[:, 0, 0, 1]
    scales = 10 * (64 / SIZE_PX) / spans
    assert scales.min() == pytest.approx(2, abs=0.1)
    assert scales.max() == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize("shape", [(64, 64), (40, 100), (3, 3)])
def test_no_copy_leaves_the_picture(shape):
    made = copies(distortions(random_crop=30, random_scale=30), 50, ramp(*shape))
    assert made[..., 0].min() >= 0
    assert made[..., 0].max() <= shape[0] - 1
    assert made[..., 1].max() <= shape[1] - 1


def test_the_flags_are_the_distortions():
    config = RetrainConfig(
        flip_left_right=True, random_crop=1, random_scale=2, random_brightness=3, seed=4
    )
    assert Distortions.of(config) == Distortions(True, 1, 2, 3, 4)


def test_whatever_changes_a_copy_changes_its_key():
    keys = {EVERYTHING.variant(0), EVERYTHING.variant(1), distortions().variant(0)}
    keys |= {distortions(**{flag: 1}).variant(0) for flag in NOTHING}
    assert len(keys) == 3 + len(NOTHING)
    assert "" not in keys  # the picture itself
