"""Scores of images by heads that were trained without them."""

import numpy as np
import pytest

from poets.head import held_out
from poets.head.examples import Examples
from poets.head.held_out import held_out_probabilities
from poets.head.standardizer import Standardizer
from tests.report.evidence import clusters


def examples_of(counts, **options):
    bottlenecks, label_indices = clusters(counts, **options)
    return Examples(bottlenecks.astype(np.float32), label_indices.astype(np.int32))


def test_scores_are_those_of_heads_trained_without_the_image():
    examples = examples_of([7, 8, 9], spread=1.0)
    [(_, found)] = held_out_probabilities(examples, 3, seed=0)
    rows = held_out.unit_rows_with_bias(Standardizer.of(examples), examples)
    wanted = np.eye(3)[examples.label_indices]
    penalty = held_out.RIDGE * len(rows) * np.eye(rows.shape[1])
    for row in range(len(rows)):
        others = np.arange(len(rows)) != row
        squares = rows[others].T @ rows[others] + penalty
        weights = np.linalg.solve(squares, rows[others].T @ wanted[others])
        differences = np.log(found[row]) - np.log(found[row]).mean()
        expected = rows[row] @ weights
        expected -= expected.mean()
        factor = differences @ expected / (expected @ expected)  # the temperature
        assert differences == pytest.approx(factor * expected, rel=1e-2, abs=1e-2)


@pytest.mark.parametrize("sample", [10, 50, 119, 120, 1000])
def test_every_image_is_scored_once(monkeypatch, sample):
    monkeypatch.setattr(held_out, "SAMPLE", sample)
    examples = examples_of([100, 17, 3])
    parts = list(held_out_probabilities(examples, 3, seed=0))
    rows = np.concatenate([rows for rows, _ in parts])
    assert sorted(rows) == list(range(120))
    found = np.concatenate([found for _, found in parts])
    assert found.sum(axis=1) == pytest.approx(1, rel=1e-5)
    assert len(parts[0][0]) <= max(sample, 3)


def test_labels_have_equal_shares_of_the_sample(monkeypatch):
    monkeypatch.setattr(held_out, "SAMPLE", 30)
    examples = examples_of([100, 17, 3])
    rows, _ = next(held_out_probabilities(examples, 3, seed=0))
    assert np.bincount(examples.label_indices[rows]).tolist() == [10, 10, 3]


def test_equal_bottlenecks_give_equal_probabilities():
    examples = Examples(np.ones((6, 4), np.float32), np.arange(6, dtype=np.int32) % 2)
    [(_, found)] = held_out_probabilities(examples, 2, seed=0)
    assert np.isfinite(found).all()
    assert found == pytest.approx(0.5, abs=0.4)
