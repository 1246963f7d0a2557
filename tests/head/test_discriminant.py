"""`--head=best`: discriminant analysis, its shrinkage, and what is kept."""

from dataclasses import replace

import numpy as np
import pytest

from poets.config import RetrainConfig
from poets.head import Head, discriminant
from poets.head.discriminant import clearly_better
from poets.head.examples import Examples
from poets.head.many import HeadPlan, train_many

CONFIG = RetrainConfig(image_dir="unused", how_many_training_steps=200, head="best")


def blobs(count, labels=3, dimensions=30, seed=0, distance=1.0, scales=None):
    """Returns examples whose labels differ in directions of little variance."""
    shape = np.random.default_rng(7)
    mixing = np.linalg.qr(shape.standard_normal((dimensions, dimensions)))[0]
    spread = np.logspace(-1, 1, dimensions)
    centres = distance * shape.standard_normal((labels, dimensions)) * spread[0]
    random = np.random.default_rng(seed)
    indices = np.arange(count, dtype=np.int32) % labels
    points = centres[indices] + random.standard_normal((count, dimensions)) * spread
    matrix = (points @ mixing).astype(np.float32)
    return Examples(matrix if scales is None else matrix * scales, indices)


def accuracy(head, of):
    return (head.answers(of.matrix())[0] == of.labels()).mean()


def test_the_head_is_the_textbooks(monkeypatch):
    monkeypatch.setattr(discriminant, "SHRINKAGES", (0.1,))
    train = blobs(90)
    head = discriminant.discriminant(train, 3, CONFIG)
    x, y = train.bottlenecks.astype(float), train.label_indices
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    means = np.stack([x[y == label].mean(axis=0) for label in range(3)])
    within = np.cov((x - means[y]).T, bias=True)
    shrunk = 0.9 * within + 0.1 * np.trace(within) / 30 * np.eye(30)
    inverse = np.linalg.inv(shrunk)
    expected = np.stack(
        [
            -0.5 * np.einsum("ni,ij,nj->n", x - mean, inverse, x - mean)
            for mean in means
        ],
        axis=1,
    )
    found = head.logits(train.bottlenecks)
    differences = (found - found[:, :1]) - (expected - expected[:, :1])
    np.testing.assert_allclose(differences, 0, atol=1e-3 * np.abs(found).max())


def test_it_beats_the_steps_where_labels_differ_in_directions_of_little_variance():
    train, validation, test = blobs(300), blobs(90, seed=1), blobs(600, seed=2)
    heads = [
        train_many(train, validation, 3, [plan(replace(CONFIG, head=name))])[0].head
        for name in ("sgd", "best")
    ]
    steps, best = (accuracy(head, test) for head in heads)
    assert best > steps + 0.1


def plan(config):
    return HeadPlan(config, lambda evaluation: None, lambda step, head: None)


def test_scale_does_not_matter():
    scales = np.logspace(-3, 3, 30).astype(np.float32)
    plain = discriminant.discriminant(blobs(120), 3, CONFIG)
    scaled = discriminant.discriminant(blobs(120, scales=scales), 3, CONFIG)
    test = blobs(300, seed=3)
    expected = plain.answers(test.bottlenecks)[0]
    assert (scaled.answers(test.bottlenecks * scales)[0] == expected).mean() > 0.99


def test_it_is_bit_for_bit_the_same_again_and_beside_others():
    train, validation = blobs(120), blobs(30, seed=1)
    configs = [
        replace(CONFIG, seed=seed, head=head, how_many_training_steps=20)
        for seed, head in ((0, "best"), (0, "sgd"), (3, "best"))
    ]
    together = train_many(train, validation, 3, [plan(each) for each in configs])
    for config, outcome in zip(configs, together, strict=True):
        (alone,) = train_many(train, validation, 3, [plan(config)])
        np.testing.assert_array_equal(outcome.head.weights, alone.head.weights)
        np.testing.assert_array_equal(outcome.head.biases, alone.head.biases)
    assert (together[0].head.weights != together[1].head.weights).any()


@pytest.mark.parametrize(
    ("dimensions", "few", "expected"), [(200, 60, 0.3), (4, 2000, 0.1)]
)
def test_many_dimensions_and_few_images_are_shrunk_more(
    dimensions, few, expected, caplog
):
    caplog.set_level("INFO")
    discriminant.discriminant(blobs(few, dimensions=dimensions), 3, CONFIG)
    found = float(caplog.text.partition("shrinkage ")[2].partition(",")[0])
    assert found > expected if few == 60 else found <= expected


def test_balanced_labels_have_equal_priors():
    random = np.random.default_rng(0)
    indices = (random.random(400) < 0.05).astype(np.int32)
    matrix = random.standard_normal((400, 3)).astype(np.float32)
    matrix[:, 0] += indices
    train = Examples(matrix, indices)
    rare = {
        weights: discriminant.discriminant(
            train, 2, replace(CONFIG, class_weights=weights)
        )
        .answers(matrix)[0]
        .mean()
        for weights in ("none", "balanced")
    }
    assert rare["none"] < 0.05
    assert 0.3 < rare["balanced"] < 0.6


def test_copies_are_in_the_fold_of_their_image():
    images = np.concatenate([np.arange(50), np.repeat(np.arange(10, 50), 4)])
    train = Examples(
        np.zeros((210, 2), np.float32),
        np.zeros(210, np.int32),
        rows=np.arange(10, 210),
        copied=images,
    )
    folds = discriminant._folds(train, seed=0)
    assert len(folds) == 200
    for image in range(10, 50):
        assert len({*folds[images[10:] == image]}) == 1
    counts = np.bincount(folds)
    assert len(counts) == discriminant.FOLDS
    assert counts.max() - counts.min() <= 5


def test_only_some_of_many_examples_are_held_out(monkeypatch):
    monkeypatch.setattr(discriminant, "MAX_HELD_OUT", 50)
    folds = discriminant._folds(blobs(1000), seed=0)
    assert (folds >= 0).sum() == 50
    assert accuracy(discriminant.discriminant(blobs(1000), 3, CONFIG), blobs(90)) > 0.5


@pytest.mark.parametrize("count", [3, 4, 7])
def test_a_few_images_are_enough(count):
    head = discriminant.discriminant(blobs(count), 3, CONFIG)
    assert np.isfinite(head.weights).all()
    assert np.isfinite(head.biases).all()


def test_a_constant_dimension_is_ignored():
    train = blobs(60)
    train.bottlenecks[:, 5] = 3
    head = discriminant.discriminant(train, 3, CONFIG)
    assert not head.weights[5].any()


def test_a_head_must_be_better_by_more_than_a_standard_error():
    labels = np.zeros(20, np.int32)
    matrix = np.arange(20, dtype=np.float32)[:, None]

    def right_up_to(row):
        return Head(np.array([[0, 1]], np.float32), np.array([row - 0.5, 0], "f4"))

    examples = Examples(matrix, labels)
    assert clearly_better(right_up_to(20), right_up_to(18), examples)
    assert not clearly_better(right_up_to(20), right_up_to(19), examples)
    assert not clearly_better(right_up_to(20), right_up_to(20), examples)
    assert not clearly_better(right_up_to(18), right_up_to(20), examples)


def test_a_head_of_the_steps_that_is_clearly_better_is_kept(monkeypatch):
    wrong = Head(np.zeros((30, 3), np.float32), np.array([0, 0, 9], np.float32))
    monkeypatch.setattr("poets.head.many.discriminant", lambda *_: wrong)
    train, validation = blobs(90, distance=30), blobs(60, seed=1, distance=30)
    (outcome,) = train_many(train, validation, 3, [plan(CONFIG)])
    assert accuracy(outcome.head, validation) > 0.8
