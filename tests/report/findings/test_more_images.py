"""Learning curves foretell what more images bring."""

import numpy as np
import pytest

from poets.data.split import Splits
from poets.head.examples import Examples
from poets.head.growing import growing_heads
from poets.report.findings import more_images
from poets.report.findings.more_images import MAX_TRAIN, compute
from tests.report.scored import blobs, evidence_of, split

DIMENSIONS = 60


@pytest.fixture(scope="module")
def found():
    every = blobs(2500, dimensions=DIMENSIONS, spread=6)
    return compute(evidence_of(every, split(2500)))


def test_from_half_of_the_images_the_accuracy_at_all_of_them_is_predicted():
    errors = []
    for seed in range(5):
        half, test = (
            blobs(count, dimensions=DIMENSIONS, seed=[seed, count], spread=6)
            for count in (600, 3000)
        )
        more = blobs(1200, dimensions=DIMENSIONS, seed=[seed, 600], spread=6)
        every = Examples(
            np.concatenate([half.bottlenecks, test.bottlenecks]),
            np.concatenate([half.label_indices, test.label_indices]),
        )
        splits = Splits.of(["train"] * 600 + ["test"] * 3000)
        foretold = compute(evidence_of(every, splits)).every.with_twice
        (head,) = growing_heads(more, 3, [1200], np.random.default_rng(0))
        right = head.answers(test.bottlenecks)[0] == test.label_indices
        errors.append(foretold - right.mean())
    assert abs(np.mean(errors)) < 0.02


def test_a_curve_rises_to_the_accuracy_of_the_head(found):
    points = found.every.points
    assert points[-1].images == found.trained_on == 2000
    assert [each.images for each in points] == [200, 400, 800, 1400, 2000]
    assert points[0].accuracy + 0.02 < points[-1].accuracy <= found.every.with_twice
    for each in points:
        assert each.low <= each.accuracy <= each.high


def test_the_law_passes_through_the_points(found):
    law = found.every
    for each in law.points:
        error = law.a * each.images**-law.b + law.c
        assert 1 - error == pytest.approx(each.accuracy, abs=0.02)


def test_labels_that_gain_most_come_first(found):
    gains = [each.with_twice - each.points[-1].accuracy for each in found.by_label]
    assert gains == sorted(gains, reverse=True)
    assert {each.label for each in found.by_label} == {"label 0", "label 1", "label 2"}


def test_the_last_point_is_the_test_accuracy_of_the_exported_head():
    every = blobs(600, spread=6)
    run = evidence_of(every, split(600))
    _, right = run.answers.scored("test")
    assert compute(run).every.points[-1].accuracy == pytest.approx(
        right.mean(), abs=1e-6
    )


@pytest.mark.parametrize("count", [3, 60, 120])
def test_too_few_images_show_nothing(count):
    assert compute(evidence_of(blobs(count), split(count))) is None


def test_a_label_with_one_training_image_and_one_without_test_images():
    every = blobs(400, labels=2)
    labels = every.label_indices.copy()
    splits = split(400)
    labels[np.flatnonzero(splits == "train")[0]] = 2
    labels[np.flatnonzero(splits == "test")[0]] = 2
    labels[np.flatnonzero(splits == "train")[1:4]] = 3
    run = evidence_of(Examples(every.bottlenecks, labels), splits)
    assert {each.label for each in compute(run).by_label} == {
        "label 0",
        "label 1",
        "label 2",
    }


def test_of_very_many_images_a_sample_is_used(monkeypatch):
    monkeypatch.setattr(more_images, "MAX_TRAIN", 200)
    monkeypatch.setattr(more_images, "MAX_HELD_OUT", 100)
    assert MAX_TRAIN > 200
    every = blobs(2500, dimensions=DIMENSIONS, spread=6)
    found = compute(evidence_of(every, split(2500)))
    assert (found.trained_on, found.tested_on) == (200, 100)
    assert found.every.points[-1].images == 2000


def test_the_same_run_gives_the_same_curve(found):
    every = blobs(2500, dimensions=DIMENSIONS, spread=6)
    assert compute(evidence_of(every, split(2500))) == found
