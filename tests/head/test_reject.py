"""Answers at or above the reject threshold are as accurate as wanted."""

import numpy as np
import pytest

from poets.head.reject import answered, rejection_for, threshold_for


def drawn(count, seed=0):
    """Returns calibrated scores, and whether each is right."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.2, 1, count).astype(np.float32)
    return scores, rng.random(count) < scores


@pytest.mark.parametrize("wanted", [0.5, 0.7, 0.9, 0.95])
def test_the_promise_holds_on_other_images(wanted):
    """Of 40 promises, about 38 are in the interval of what is observed."""
    kept = 0
    for seed in range(40):
        found = rejection_for(wanted, drawn(400, seed), drawn(400, 1000 + seed))
        low, high = found.test.interval_95
        kept += low <= wanted <= high or low >= wanted
        assert found.validation.accuracy >= wanted
    assert kept >= 36


def test_it_answers_as_many_as_it_can():
    scores = np.float32([0.9, 0.8, 0.7, 0.6])
    right = np.array([True, True, True, False])
    assert threshold_for(0.79, scores, right) == pytest.approx(0.65)
    assert threshold_for(0.74, scores, right) == 0
    assert threshold_for(0.84, scores, right) == pytest.approx(0.75)


def test_equal_scores_are_answered_together():
    scores = np.float32([0.9, 0.9, 0.5])
    assert threshold_for(0.8, scores, np.array([True, False, False])) is None
    assert threshold_for(0.8, scores, np.array([True, True, False])) == pytest.approx(
        0.7
    )


@pytest.mark.parametrize("count", [0, 1, 5])
def test_no_threshold_is_none(count):
    wrong = np.full(count, 0.9, np.float32), np.zeros(count, bool)
    found = rejection_for(0.95, wrong, drawn(10))
    assert (found.threshold, found.validation, found.test) == (None, None, None)


def test_without_test_images_it_is_not_confirmed():
    found = answered(np.empty(0, np.float32), np.empty(0, bool), 0.5)
    assert (found.n, found.coverage, found.accuracy) == (0, 0, None)
    assert found.interval_95 == (0, 1)
