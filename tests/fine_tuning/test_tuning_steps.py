"""Gradients are those of the loss, and the order of examples is one's own choice."""

import numpy as np
import pytest

from poets.fine_tuning.steps import (
    BIASES,
    DECAY_1,
    STEP,
    WEIGHT_DECAY,
    WEIGHTS,
    TuningSteps,
    averaged,
    rows_of_step,
)
from tests.fine_tuning import network


def steps_of(inputs, **values):
    made = TuningSteps(
        inputs.tail,
        inputs.standard,
        inputs.label_weights,
        inputs.learning_rate,
        average_from=inputs.steps // 2,
    )
    made.start({**inputs.values, **values})
    return made


def run(inputs, steps, first, last):
    for step in range(first, last):
        rows = rows_of_step(step, inputs.batch_size, inputs.trained, inputs.seed)
        steps.run(inputs.features[rows], inputs.labels[rows])
    return steps.state()


def loss(made, values, batch):
    """Returns the loss at other values, by a step that is already compiled."""
    for name, value in values.items():
        made._state[f"value/{name}"].assign(value)
    return made.run(*batch)


@pytest.mark.parametrize("layers", [1, 3, 5])
def test_gradients_are_those_of_finite_differences(layers):
    """Through old normalisation, depthwise convolution, relu6 and a branch."""
    inputs = network.inputs(layers)
    rows = slice(0, 40)
    batch = inputs.features[rows], inputs.labels[rows]
    made = steps_of(inputs)
    made.run(*batch)
    after = made.state()
    rng = np.random.default_rng(layers)
    h = 1e-2
    for name, value in inputs.values.items():
        gradient = after[f"first/{name}"] / (1 - DECAY_1)
        if name == WEIGHTS:
            gradient = gradient - WEIGHT_DECAY * value
        assert np.abs(gradient).max() > 1e-4, name
        direction = rng.standard_normal(value.shape).astype(np.float32)
        direction *= h / np.linalg.norm(direction)
        above, below = (
            loss(made, {**inputs.values, name: value + sign * direction}, batch)
            for sign in (1, -1)
        )
        expected = (above - below) / 2
        assert expected == pytest.approx((gradient * direction).sum(), abs=2e-5), name


def test_the_loss_weighs_labels_and_begins_where_the_head_ended():
    inputs = network.inputs()
    found = steps_of(inputs).logits(inputs.features)
    bottlenecks = network.run(network.backbone(), network.pictures(50))
    head = network.head()
    expected = bottlenecks @ head.weights + head.biases
    assert np.allclose(found, expected, atol=1e-5)
    loss = steps_of(inputs).run(inputs.features, inputs.labels)
    likelihood = head.probabilities(bottlenecks)[np.arange(50), inputs.labels]
    weights = inputs.label_weights[inputs.labels]
    assert loss == pytest.approx((-np.log(likelihood) * weights).mean(), abs=1e-5)


def test_a_head_survives_being_standardised():
    inputs = network.inputs()
    head = network.head()
    again = inputs.standard.fold(inputs.standard.unfold(head))
    assert np.allclose(again.weights, head.weights, atol=1e-6)
    assert np.allclose(again.biases, head.biases, atol=1e-6)


def test_training_lowers_the_loss():
    inputs = network.inputs(steps=60)
    made = steps_of(inputs)
    first = made.run(inputs.features[:40], inputs.labels[:40])
    for _ in range(60):
        last = made.run(inputs.features[:40], inputs.labels[:40])
    assert last < 0.8 * first


def test_a_restored_state_goes_on_as_if_nothing_had_been():
    inputs = network.inputs()
    whole = run(inputs, steps_of(inputs), 0, 12)
    half = run(inputs, steps_of(inputs), 0, 5)
    resumed = steps_of(inputs)
    resumed.restore(half)
    found = run(inputs, resumed, 5, 12)
    assert whole[STEP] == found[STEP] == 12
    assert all(np.array_equal(whole[name], found[name]) for name in whole)


def test_the_second_half_of_the_iterates_is_averaged():
    inputs = network.inputs(steps=5)
    made = steps_of(inputs)
    iterates = []
    for step in range(5):
        run(inputs, made, step, step + 1)
        iterates.append(made.state()[f"value/{BIASES}"])
    found = averaged(made.state(), 5)
    assert set(found) == set(inputs.values)
    assert np.allclose(found[BIASES], np.mean(iterates[2:], axis=0), atol=1e-6)


@pytest.mark.parametrize(("batch_size", "examples"), [(4, 10), (10, 10), (25, 10)])
def test_each_example_comes_once_in_every_epoch(batch_size, examples):
    steps = range(2 * examples)
    rows = np.concatenate([rows_of_step(s, batch_size, examples, 0) for s in steps])
    epochs = rows.reshape(-1, examples)
    assert len(epochs) == 2 * batch_size
    assert (np.sort(epochs, axis=1) == np.arange(examples)).all()
    assert not np.array_equal(epochs[0], epochs[1])


def test_the_seed_decides_the_order():
    first, again, other = (rows_of_step(3, 8, 100, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
