"""Heads trained together are those that are trained alone, bit for bit."""

import numpy as np
import pytest

from poets.errors import ModelError
from poets.flags import config_from_args
from poets.head.examples import Examples
from poets.head.many import HeadPlan, stream_of, train_many
from poets.head.training import train_head


def examples(count, labels=3, dimensions=8, seed=0, spread=3.0):
    """Returns noisy blobs, one a label, in dimensions of unequal spread."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((labels, dimensions))
    indices = random.integers(0, labels, count).astype(np.int32)
    noise = spread * random.standard_normal((count, dimensions))
    scales = np.logspace(-2, 2, dimensions)
    matrix = ((centres[indices] + noise) * scales + 5).astype(np.float32)
    return Examples(matrix, indices)


class Recorded:
    """Takes the place of the event files and remembers."""

    def __init__(self):
        self.values = []

    def add(self, *values):
        self.values.append(values)


def config(**flags):
    flags = {"image_dir": "unused", "how_many_training_steps": 45, **flags}
    return config_from_args(flags)


def alone(train, validation, labels, config):
    """Returns what a run by itself leaves: head, steps, evaluations, stored heads."""
    recorded, stored = Recorded(), []
    head, steps, evaluations = train_head(
        train, validation, labels, config, recorded, lambda *it: stored.append(it)
    )
    return head, steps, (recorded.values, evaluations), stored


def together(train, validation, labels, configs):
    """Returns the same for each of some runs, and their outcomes."""
    recorded = [Recorded() for _ in configs]
    stored = [[] for _ in configs]

    def plan(number):
        return HeadPlan(
            configs[number],
            lambda evaluation: evaluation.record(recorded[number]),
            lambda *it: stored[number].append(it),
        )

    order = sorted(range(len(configs)), key=lambda number: stream_of(configs[number]))
    outcomes = train_many(train, validation, labels, [plan(each) for each in order])
    found = dict(zip(order, outcomes, strict=True))
    return [
        (
            found[n].head,
            found[n].steps,
            (recorded[n].values, found[n].evaluations),
            stored[n],
        )
        for n in range(len(configs))
    ], [found[n] for n in range(len(configs))]


def assert_same(found, expected):
    for (head, steps, values, stored), other in zip(found, expected, strict=True):
        assert np.array_equal(head.weights, other[0].weights)
        assert np.array_equal(head.biases, other[0].biases)
        assert steps == other[1]
        assert values == other[2]
        assert [step for step, _ in stored] == [step for step, _ in other[3]]
        for (_, one), (_, another) in zip(stored, other[3], strict=True):
            assert np.array_equal(one.weights, another.weights)


RATES = [{"learning_rate": rate} for rate in (0.001, 0.01, 1.0, 0.01)]
BATCHES = [{"train_batch_size": size} for size in (1, 25, 100, 1000)]
MIXES = {
    "learning rates": RATES,
    "batch sizes": BATCHES,
    "rates by batch sizes": [a | b for a in RATES for b in BATCHES[1:]],
    "seeds": [{"seed": seed} for seed in range(3)],
    "label weights": [{"class_weights": each} for each in ("balanced", "none")],
    "validation samples": [
        {"validation_batch_size": size, "seed": seed}
        for size, seed in ((-1, 0), (7, 0), (7, 3), (60, 0), (500, 3))
    ],
    "patience": [
        {"patience": patience, "how_many_training_steps": 200, **more}
        for patience, more in (
            (0, {}),
            (1, {}),
            (1, {"validation_batch_size": 5}),
            (3, {"learning_rate": 1.0}),
        )
    ],
    "intermediate heads": [
        {"intermediate_store_frequency": 7, "learning_rate": rate}
        for rate in (0.1, 0.2)
    ],
    "few steps": [
        {"how_many_training_steps": 1, "learning_rate": rate} for rate in (0.1, 0.2)
    ],
    "all of it": [
        {
            "learning_rate": 0.1 / (1 + n),
            "train_batch_size": (10, 33, 60)[n % 3],
            "seed": n % 2,
            "class_weights": ("none", "balanced")[n % 2],
            "patience": (0, 2)[n % 2],
            "validation_batch_size": (100, 9)[n % 2],
        }
        for n in range(6)
    ],
}


@pytest.mark.parametrize(
    "mix",
    [
        pytest.param(mix, marks=pytest.mark.soak if " by " in mix else [])
        for mix in MIXES
    ],
)
def test_each_is_bit_for_bit_as_it_is_alone(mix):
    train, validation = examples(300), examples(60, seed=1)
    configs = [config(**flags) for flags in MIXES[mix]]
    found, _ = together(train, validation, 3, configs)
    assert_same(found, [alone(train, validation, 3, each) for each in configs])


SHAPES = [(2, 1), (5, 1001), (17, 333), (33, 64), (101, 257)]
BATCH_SIZES = [1, 33, 100]


@pytest.mark.parametrize(
    ("labels", "dimensions", "batch"),
    [  # each shape, and each batch size; the other pairs in the soak
        pytest.param(*shape, batch, marks=[] if (n - m) % 3 == 0 else pytest.mark.soak)
        for n, shape in enumerate(SHAPES)
        for m, batch in enumerate(BATCH_SIZES)
    ],
)
def test_and_so_in_any_shape(labels, dimensions, batch):
    """Tails of vectors and blocks of products are where sums could round otherwise."""
    train = examples(400, labels, dimensions)
    validation = examples(50, labels, dimensions, seed=1)
    configs = [
        config(learning_rate=rate, train_batch_size=batch, how_many_training_steps=21)
        for rate in (0.01, 0.3, 1.0)
    ]
    found, _ = together(train, validation, labels, configs)
    assert_same(found, [alone(train, validation, labels, each) for each in configs])


def test_a_choice_of_rows_is_trained_on_as_alone():
    every = examples(400)
    train, validation = every.choose(np.arange(0, 400, 2)), every.choose(np.arange(99))
    configs = [config(learning_rate=rate) for rate in (0.1, 0.2)]
    found, _ = together(train, validation, 3, configs)
    assert_same(found, [alone(train, validation, 3, each) for each in configs])


def test_one_that_diverges_fails_alone_and_the_others_are_as_without_it():
    train, validation = examples(300), examples(60, seed=1)
    flags = {"how_many_training_steps": 300, "eval_step_interval": 50}
    good = [config(learning_rate=rate, **flags) for rate in (0.01, 0.1)]
    bad = config(learning_rate=1e6, **flags)
    found, outcomes = together(train, validation, 3, [good[0], bad, good[1]])
    assert_same(
        [found[0], found[2]], [alone(train, validation, 3, each) for each in good]
    )
    assert outcomes[1].head is None
    assert outcomes[1].failure == (
        "training diverged by step 50: weights are not finite; lower "
        "--learning_rate=1e+06"
    )
    with pytest.raises(ModelError, match="training diverged by step 50: "):
        alone(train, validation, 3, bad)


def test_when_all_have_ended_no_more_steps_are_run():
    hard, validation = examples(40), examples(40, seed=3)
    configs = [
        config(patience=2, how_many_training_steps=100_000_000, learning_rate=rate)
        for rate in (0.1, 0.2)
    ]
    _, outcomes = together(hard, validation, 3, configs)
    assert all(outcome.stopped for outcome in outcomes)
    assert max(outcome.steps for outcome in outcomes) < 5_000
