"""The sections on scores: calibration and the reject threshold."""

import numpy as np
import pytest

from poets.head.examples import Examples
from poets.report.findings import calibration, reject_threshold
from tests.report.scored import evidence_of, logit_head, split


def calibrated(count, labels=4):
    """Returns logits, and labels drawn with the probabilities that they give."""
    rng = np.random.default_rng(3)
    logits = (2 * rng.standard_normal((count, labels))).astype(np.float32)
    chances = logit_head(labels).probabilities(logits).cumsum(axis=1)
    true = (rng.random((count, 1)) > chances).sum(axis=1).clip(max=labels - 1)
    return Examples(logits, true.astype(np.int32))


@pytest.fixture(scope="module")
def run():
    """A run whose head was three times too sure before calibration."""
    every = calibrated(60_000)
    return evidence_of(every, split(60_000), logit_head(4), temperature=3.0)


def test_the_error_is_shown_before_and_after(run):
    found = calibration.compute(run)
    assert found.temperature == 3.0
    assert found.error_before > 0.1
    assert found.error_after < 0.02
    assert 0.5 * found.error_by_chance < found.error_after < 2.5 * found.error_by_chance


@pytest.mark.parametrize("when", ["before", "after"])
def test_bins_have_every_test_image_once_and_their_own_scores(run, when):
    found = calibration.compute(run)
    bins = getattr(found, when)
    assert (
        sum(each.n for each in bins) == found.n == (run.answers.splits == "test").sum()
    )
    assert [each.low for each in bins] == [k / 10 for k in range(10)]
    for each in bins:
        assert (each.score is None) == (each.accuracy is None) == (each.n == 0)
        assert not each.n or each.low <= each.score <= each.high


def test_without_test_images_nothing_is_shown():
    def run_in(split):
        return evidence_of(calibrated(50), np.array([split] * 50), logit_head(4))

    assert calibration.compute(run_in("train")) is None
    assert reject_threshold.compute(run_in("test")) is None


def test_the_threshold_and_its_curve_are_those_of_validation(run):
    found = reject_threshold.compute(run)
    scores, right = run.answers.scored("validation")
    kept = scores >= found.threshold
    assert found.wanted_accuracy == 0.95
    assert found.validation.n == kept.sum()
    assert found.validation.accuracy == pytest.approx(right[kept].mean(), abs=1e-6)
    coverage = [each.coverage for each in found.curve]
    assert coverage[0] == 1
    assert coverage == sorted(coverage, reverse=True)
    assert all(each.accuracy is not None for each in found.curve)


def test_a_threshold_that_does_not_exist_leaves_the_curve():
    wrong = calibrated(400)
    never = Examples(wrong.bottlenecks, wrong.bottlenecks.argmin(1).astype(np.int32))
    found = reject_threshold.compute(evidence_of(never, split(400), logit_head(4)))
    assert (found.threshold, found.validation, found.test) == (None, None, None)
    assert found.curve
