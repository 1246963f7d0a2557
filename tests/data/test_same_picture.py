"""Two files show the same picture, or they do not."""

import numpy as np
import pytest

from poets.data.images import decode
from poets.data.same_picture import SAME, SIDE_PX, similarity, small_gray
from tests.photographs import COPIES, as_jpeg, photograph


def gray(data):
    return small_gray(decode(data))


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("seed", range(4))
def test_a_copy_shows_the_same_picture(kind, seed):
    original = photograph(seed)
    pair = gray(as_jpeg(original)), gray(COPIES[kind](original))
    assert similarity(*pair) >= SAME
    assert similarity(*reversed(pair)) == pytest.approx(similarity(*pair), abs=1e-5)


def test_other_pictures_do_not():
    grays = [gray(as_jpeg(photograph(seed))) for seed in range(8)]
    pairs = [(one, other) for one in range(8) for other in range(one)]
    assert max(similarity(grays[one], grays[other]) for one, other in pairs) < SAME


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_pictures_are_like_no_other(level):
    flat = np.full((SIDE_PX, SIDE_PX), level, np.uint8)
    assert similarity(flat, flat) < SAME
    assert similarity(flat, gray(as_jpeg(photograph(0)))) < SAME


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (300, 2), (48, 48)])
def test_every_size_has_a_small_gray(shape):
    found = small_gray(np.zeros((*shape, 3), np.uint8))
    assert (found.shape, found.dtype) == ((SIDE_PX, SIDE_PX), np.uint8)
