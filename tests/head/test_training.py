"""The head learns, logs in the original's form, and is the same from one seed."""

import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pytest

from poets.flags import config_from_args
from poets.head import Head
from poets.head.training import Examples, train_head
from tests.retraining import logged

ROOT = Path(__file__).parents[2]
WHEN = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{6})?"
LINES = (  # three at each evaluation, in this order
    rf"{WHEN}: Step (\d+): Train accuracy = \d{{1,3}}\.\d%",
    rf"{WHEN}: Step (\d+): Cross entropy = \d+\.\d{{6}}",
    rf"{WHEN}: Step (\d+): Validation accuracy = \d{{1,3}}\.\d% \(N=(\d+)\)",
)


class Recorded:
    """Takes the place of the event files and remembers."""

    def __init__(self):
        self.values = []

    def add(self, run, step, accuracy, cross_entropy):
        self.values.append((run, step, accuracy, cross_entropy))


def examples(count, labels=3, dimensions=8, seed=0, spread=1.0, balance=None):
    """Returns noisy blobs, one a label, in dimensions of unequal spread."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((labels, dimensions))
    indices = rng.choice(labels, count, p=balance).astype(np.int32)
    indices[:labels] = range(labels)
    noise = rng.standard_normal((count, dimensions)) * spread
    scales = np.logspace(-2, 2, dimensions)
    matrix = ((centres[indices] + noise) * scales + 5).astype(np.float32)
    return Examples(matrix, indices)


def train(train=None, validation=None, labels=3, store=None, **flags):
    """Returns the head, the steps run, the log lines and what was recorded."""
    config = config_from_args({"image_dir": "unused", **flags})
    recorded, heads = Recorded(), []
    with logged() as lines:
        head, steps, _ = train_head(
            train or examples(300),
            validation or examples(60, seed=1),
            labels,
            config,
            recorded,
            store or (lambda step, head: heads.append((step, head))),
        )
    return head, steps, lines, recorded.values


def accuracy(head, of):
    return (head.probabilities(of.bottlenecks).argmax(1) == of.label_indices).mean()


@pytest.mark.parametrize(
    ("steps", "interval", "expected"),
    [
        (1, 10, [0]),
        (2, 10, [0, 1]),
        (11, 10, [0, 10]),
        (25, 10, [0, 10, 20, 24]),
        (3, 1, [0, 1, 2]),
        (30, 1000, [0, 29]),
    ],
)
def test_every_evaluation_is_three_lines_in_the_originals_form(
    steps, interval, expected
):
    _, run, lines, recorded = train(
        how_many_training_steps=steps, eval_step_interval=interval
    )
    assert run == steps
    assert len(lines) == 3 * len(expected)
    for index, step in enumerate(expected):
        for line, form in zip(lines[3 * index :], LINES, strict=False):
            match = re.fullmatch(form, line)
            assert match, line
            assert int(match[1]) == step
    assert [(run, step) for run, step, *_ in recorded] == [
        (run, step) for step in expected for run in ("train", "validation")
    ]


def test_lines_say_what_is_recorded():
    _, _, lines, recorded = train(how_many_training_steps=20)
    (_, _, train_accuracy, entropy), (_, _, accuracy, _) = recorded[-2:]
    assert lines[-3].endswith(f"Train accuracy = {train_accuracy * 100:.1f}%")
    assert lines[-2].endswith(f"Cross entropy = {entropy:f}")
    assert lines[-1].endswith(f"Validation accuracy = {accuracy * 100:.1f}% (N=60)")


@pytest.mark.parametrize(("size", "shown"), [(-1, 60), (100, 60), (7, 7), (1, 1)])
def test_an_evaluation_takes_as_many_validation_images_as_asked(size, shown):
    _, _, lines, _ = train(how_many_training_steps=1, validation_batch_size=size)
    assert lines[2].endswith(f"(N={shown})")


SCRIPT = """
import hashlib
from tests.head.test_training import train
head = train(how_many_training_steps=40, seed=7)[0]
print(hashlib.sha256(head.weights.tobytes() + head.biases.tobytes()).hexdigest())
"""


def test_one_seed_is_one_head_in_two_processes_and_another_is_not(nursery, tmp_path):
    head = train(how_many_training_steps=40, seed=7)[0]
    here = hashlib.sha256(head.weights.tobytes() + head.biases.tobytes()).hexdigest()
    with open(tmp_path / "log", "wb") as log, open(tmp_path / "out", "wb") as out:
        task = nursery.start(
            SCRIPT, {**os.environ, "PYTHONPATH": str(ROOT)}, log, out=out
        )
    assert task.wait() == 0, task.log.read_text()
    assert (tmp_path / "out").read_text().split()[-1] == here
    other = train(how_many_training_steps=40, seed=8)[0]
    assert not np.array_equal(other.weights, head.weights)


def test_how_often_it_is_evaluated_does_not_change_the_head():
    often = train(how_many_training_steps=50, eval_step_interval=3)[0]
    seldom = train(how_many_training_steps=50, eval_step_interval=50)[0]
    assert np.array_equal(often.weights, seldom.weights)


def test_it_learns_where_plain_sgd_on_raw_features_would_not():
    held_out = examples(300, seed=2)
    head = train(how_many_training_steps=200)[0]
    assert accuracy(head, held_out) > 0.8
    assert accuracy(train(how_many_training_steps=1)[0], held_out) < 0.8


def test_folded_weights_answer_as_the_standardised_computation():
    """Standardised features give the same head as the raw ones, folded back."""
    raw = examples(200)
    mean, spread = raw.bottlenecks.mean(0), raw.bottlenecks.std(0)
    standard = Examples((raw.bottlenecks - mean) / spread, raw.label_indices)
    folded = train(raw, how_many_training_steps=100)[0]
    plain = train(standard, how_many_training_steps=100)[0]
    assert np.allclose(
        folded.probabilities(raw.bottlenecks),
        plain.probabilities(standard.bottlenecks),
        atol=2e-5,
    )


def test_a_dimension_without_spread_is_no_division_by_zero():
    flat = examples(100)
    flat.bottlenecks[:, 3] = 4.0
    head = train(flat, how_many_training_steps=30)[0]
    assert np.isfinite(head.weights).all()
    assert np.isfinite(head.biases).all()
    assert np.abs(head.weights[3]).max() < 0.01  # whatever it is in other pictures


def test_a_dimension_that_hardly_varies_leaves_scores_their_digits():
    """Scattering of drawn flowers has such: a logarithm's floor, and some noise."""
    hardly = examples(200)
    hardly.bottlenecks[:, 3] = -6.9 + 2e-5 * hardly.label_indices
    head = train(hardly, how_many_training_steps=100)[0]
    exact = Head(head.weights.astype(np.float64), head.biases.astype(np.float64))
    found = head.probabilities(hardly.bottlenecks)
    expected = exact.probabilities(hardly.bottlenecks.astype(np.float64))
    assert np.allclose(found, expected, atol=1e-5)


def test_the_second_half_of_the_iterates_is_averaged():
    """A head of the average moves less from one run of batches to another."""

    def heads(steps):
        return [
            train(
                how_many_training_steps=steps,
                learning_rate=0.5,
                train_batch_size=2,
                eval_step_interval=1000,
                seed=seed,
            )[0].weights
            for seed in range(4)
        ]

    scales = np.logspace(-2, 2, 8)[:, None]
    short, long = (np.std(heads(steps), axis=0) * scales for steps in (2, 400))
    assert long.mean() < short.mean() / 2


@pytest.mark.parametrize("batch", [1, 99, 300, 301])
def test_any_batch_size_trains(batch):
    head, steps, _, _ = train(how_many_training_steps=12, train_batch_size=batch)
    assert steps == 12
    assert head.weights.shape == (8, 3)
    assert head.weights.dtype == head.biases.dtype == np.float32


def test_one_example_of_each_label_is_enough():
    few = Examples(examples(3).bottlenecks, np.arange(3, dtype=np.int32))
    head = train(few, few, how_many_training_steps=20)[0]
    assert accuracy(head, few) == 1


def test_patience_stops_early_and_keeps_the_best():
    hard = examples(40, spread=4.0)
    validation = examples(40, seed=3, spread=4.0)
    head, steps, lines, recorded = train(
        hard, validation, how_many_training_steps=3000, patience=3, seed=1
    )
    assert steps < 3000
    assert re.fullmatch(
        r"no better validation accuracy in 3 evaluations: training stops at step "
        rf"{steps - 1}",
        lines[-1],
    )
    scores = [accuracy for run, _, accuracy, _ in recorded if run == "validation"]
    assert accuracy(head, validation) == max(scores)
    assert max(scores[-3:]) <= max(scores[:-3])


def test_without_patience_every_step_is_run():
    hard = examples(40, spread=4.0)
    assert train(hard, how_many_training_steps=300)[1] == 300


def test_balanced_weights_help_the_rare_label():
    balance = [0.9, 0.08, 0.02]
    unbalanced = examples(600, spread=2.5, balance=balance)
    held_out = examples(900, seed=4, spread=2.5)

    def recall_of_rare(class_weights):
        head = train(
            unbalanced, how_many_training_steps=300, class_weights=class_weights
        )[0]
        rare = held_out.label_indices == 2
        return accuracy(
            head, Examples(held_out.bottlenecks[rare], held_out.label_indices[rare])
        )

    assert recall_of_rare("balanced") > recall_of_rare("none") + 0.2


@pytest.mark.parametrize(
    ("frequency", "expected"), [(0, []), (7, [7, 14]), (10, [10, 20]), (100, [])]
)
def test_intermediate_heads_come_at_their_steps_and_not_at_0(frequency, expected):
    stored = []
    head, *_ = train(
        store=lambda step, head: stored.append((step, head)),
        how_many_training_steps=21,
        intermediate_store_frequency=frequency,
    )
    assert [step for step, _ in stored] == expected
    if expected == [10, 20]:
        assert np.array_equal(stored[-1][1].weights, head.weights)


def test_probabilities_of_far_logits_are_finite_and_add_up():
    head = Head(np.array([[1e4, -1e4]], np.float32), np.zeros(2, np.float32))
    found = head.probabilities(np.array([[1.0], [-1.0], [0.0]], np.float32))
    assert np.allclose(found, [[1, 0], [0, 1], [0.5, 0.5]])
