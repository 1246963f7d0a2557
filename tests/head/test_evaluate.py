"""Accuracy, its interval, and where the errors are."""

import json
import math

import numpy as np
import pytest

from poets.head.evaluate import Accuracy, accuracy_of, confusion_of, per_label


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [  # worked out by hand from Wilson's formula with z = 1.96
        (5, 10, 0.2366, 0.7634),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (1, 1, 0.2065, 1.0),
        (300, 430, 0.6527, 0.7392),
    ],
)
def test_the_interval_is_wilsons(correct, n, low, high):
    assert Accuracy(n, correct).interval_95 == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize("n", [1, 7, 100, 100_000])
def test_the_interval_holds_the_share_and_stays_in_range(n):
    for correct in {0, 1, n // 3, n - 1, n}:
        accuracy = Accuracy(n, correct)
        low, high = accuracy.interval_95
        assert 0 <= low <= accuracy.share + 1e-12
        assert accuracy.share - 1e-12 <= high <= 1


def test_the_interval_covers_the_truth_in_95_percent():
    drawn = np.random.default_rng(0).binomial(200, 0.8, 2000)
    ends = np.array([Accuracy(200, int(correct)).interval_95 for correct in drawn])
    covered = (ends[:, 0] <= 0.8) & (ends[:, 1] >= 0.8)
    assert covered.mean() == pytest.approx(0.95, abs=0.02)


def test_no_images_are_no_accuracy_and_valid_json():
    nothing = accuracy_of(np.zeros(0, int), np.zeros(0, int))
    assert math.isnan(nothing.share)
    assert json.loads(json.dumps(nothing.to_json(), allow_nan=False)) == {
        "n": 0,
        "correct": 0,
        "accuracy": None,
        "interval_95": [0.0, 1.0],
    }


def test_accuracy_counts_right_answers():
    found = accuracy_of(np.array([0, 1, 2, 2]), np.array([0, 1, 1, 2]))
    assert found == Accuracy(4, 3)
    assert json.dumps(found.to_json())
    assert found.to_json()["accuracy"] == 0.75


def test_confusion_has_true_labels_in_rows():
    predicted, true = np.array([0, 1, 1, 2, 2]), np.array([0, 0, 1, 1, 1])
    confusion = confusion_of(predicted, true, 4)
    assert confusion.tolist() == [[1, 1, 0, 0], [0, 1, 2, 0], [0] * 4, [0] * 4]
    assert confusion.sum() == len(true)
    assert confusion.trace() == accuracy_of(predicted, true).correct


def test_each_label_has_precision_and_recall_or_none():
    confusion = np.array([[3, 1, 0], [1, 0, 0], [0, 0, 0]])
    assert per_label(("a", "b", "c"), confusion) == [
        {"label": "a", "n": 4, "precision": 0.75, "recall": 0.75},
        {"label": "b", "n": 1, "precision": 0.0, "recall": 0.0},
        {"label": "c", "n": 0, "precision": None, "recall": None},
    ]
