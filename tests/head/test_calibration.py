"""Calibrated scores are probabilities, and the answers stay the same."""

import numpy as np
import pytest

from poets.head import Head
from poets.head.calibration import COLDEST, HOTTEST, MAX_SCORES, temperature_of
from poets.head.examples import Examples

LABELS = 4


def head(temperature=1.0, labels=LABELS):
    """Returns a head whose bottlenecks are its logits, times a temperature."""
    weights = np.eye(labels, dtype=np.float32) * np.float32(temperature)
    return Head(weights, np.zeros(labels, np.float32))


def examples(count, seed=0, labels=LABELS, spread=2.0):
    """Returns logits, and labels drawn from the probabilities that they are."""
    rng = np.random.default_rng(seed)
    logits = (spread * rng.standard_normal((count, labels))).astype(np.float32)
    chances = head(labels=labels).probabilities(logits).cumsum(axis=1)
    true = (rng.random((count, 1)) > chances).sum(axis=1).clip(max=labels - 1)
    return Examples(logits, true.astype(np.int32))


@pytest.mark.parametrize("temperature", [0.2, 1.0, 5.0])
def test_it_finds_the_temperature_of_scores_too_sure_or_not_sure_enough(temperature):
    found = temperature_of(head(temperature), examples(20_000))
    assert found == pytest.approx(temperature, rel=0.03)


def test_calibration_lowers_the_cross_entropy_and_keeps_the_order():
    raw, held_out = head(3.0), examples(2000, seed=1)
    calibrated = raw.with_temperature(temperature_of(raw, examples(2000)))
    before, after = (
        each.probabilities(held_out.bottlenecks) for each in (raw, calibrated)
    )
    rows = np.arange(len(held_out))
    likelihood = [
        np.log(each[rows, held_out.label_indices]).mean() for each in (before, after)
    ]
    assert likelihood[1] > likelihood[0] + 0.1
    np.testing.assert_array_equal(before.argsort(axis=1), after.argsort(axis=1))


def test_without_images_nothing_changes():
    assert temperature_of(head(), examples(0)) == 1


@pytest.mark.parametrize("count", [1, 5, 50, 5000])
def test_correct_answers_alone_give_no_extreme_temperature(count):
    """However many; the likelihood alone would take the lowest temperature."""
    right = examples(count)
    perfect = Examples(right.bottlenecks, right.bottlenecks.argmax(1).astype(np.int32))
    found = temperature_of(head(), perfect)
    assert COLDEST <= found < 1
    assert found > 0.5 or count > 5
    wrong = Examples(right.bottlenecks, right.bottlenecks.argmin(1).astype(np.int32))
    assert 1 < temperature_of(head(), wrong) <= HOTTEST


def test_few_images_move_it_little():
    found = [temperature_of(head(), examples(3, seed)) for seed in range(20)]
    assert 0.4 < min(found) <= max(found) < 2.5


def test_a_sample_of_many_images_is_enough():
    labels = 1000
    many = examples(3 * MAX_SCORES // labels, labels=labels)
    found = temperature_of(head(2.0, labels), many)
    assert found == pytest.approx(2.0, rel=0.05)


def test_extreme_logits_are_no_overflow():
    big = Examples(np.float32([[1e30, -1e30]] * 9), np.zeros(9, np.int32))
    assert COLDEST <= temperature_of(head(labels=2), big) <= 1
