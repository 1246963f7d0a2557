"""The arithmetic of a fine-tuning step, on one worker or several.

The head is trained as before: on bottlenecks standardised by their original mean and
spread, with the same weight decay. The loss is its mean cross entropy. Layers differ in
scale by orders of magnitude, so Adam sets the length of each step (Kingma and Ba,
2015). The second half of the iterates is averaged (Polyak and Juditsky, 1992). Measured
in benchmarks/fine_tuning.py.

The seed and the number of a step determine its B examples. Each of W workers takes
B / W of them, and the mean of their gradients is that of the whole batch: the number of
workers changes only rounding.

Gradients are symbolic: a tape does not record imported operations.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from poets.fine_tuning.layers import Tail
from poets.head.standardizer import Standardizer
from poets.head.steps import WEIGHT_DECAY
from poets.system.runtime import tf

DECAY_1, DECAY_2 = 0.9, 0.999
"""The decay of Adam's two moments, as its authors recommend."""

EPSILON = 1e-4
"""Adam's epsilon, large enough that gradients of mere rounding (1e-7) hardly count."""

WEIGHTS, BIASES = "head/weights", "head/biases"
STEP = "step"


def rows_of_step(step: int, batch_size: int, examples: int, seed: int) -> np.ndarray:
    """Returns int64 [B], the examples of a step; each comes once in every epoch."""
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = positions // examples
    rows = np.empty(batch_size, np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        rows[here] = _order(examples, seed, int(epoch))[positions[here] % examples]
    return rows


@lru_cache(maxsize=2)
def _order(examples: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, 4, epoch]).permutation(examples)


class TuningSteps:
    """The values in training, and the compiled step.

    Args:
      tail: the last layers.
      standard: standardises bottlenecks for the head.
      label_weights: float32 [L], the weight of an example by its label.
      learning_rate: of Adam.
      average_from: the first step whose result is averaged.
      strategy: reduces gradients over the workers; None for one worker.
    """

    def __init__(
        self,
        tail: Tail,
        standard: Standardizer,
        label_weights: np.ndarray,
        learning_rate: float,
        average_from: int,
        strategy: Any = None,
    ) -> None:
        self._tail = tail
        self._standard = standard
        self._label_weights = tf.constant(label_weights)
        self._rate = learning_rate
        self._average_from = average_from
        self._strategy = strategy or tf.distribute.get_strategy()
        self._state: dict[str, Any] = {}
        self._names: tuple[str, ...] = ()
        self._compiled = tf.function(self._distributed, autograph=False)
        self._answers = tf.function(self._answer, autograph=False)

    def start(self, values: Mapping[str, np.ndarray]) -> None:
        """Starts before the first step, with `values` by name."""
        state: dict[str, np.ndarray] = {STEP: np.int64(0)}  # type: ignore[dict-item]
        for name, value in values.items():
            state[f"value/{name}"] = value
            for moment in ("first", "second", "sum"):
                state[f"{moment}/{name}"] = np.zeros_like(value)
        self.restore(state)

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continues from a state."""
        self._names = tuple(
            sorted(name[6:] for name in state if name.startswith("value/"))
        )
        self._state = {name: tf.Variable(value) for name, value in state.items()}

    def state(self) -> dict[str, np.ndarray]:
        """Returns the state that the next steps depend on, by name."""
        return {name: value.numpy() for name, value in self._state.items()}

    def run(self, features: np.ndarray, labels: np.ndarray) -> float:
        """Runs one step on this worker's share of a batch: float32 [b, F], int32 [b].

        Returns:
          The mean cross entropy of the whole batch before the step, in nats.
        """
        return float(self._compiled(tf.constant(features), tf.constant(labels)))

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Returns float32 [N, L] for float32 [N, F], with the values so far."""
        return self._answers(tf.constant(features)).numpy()

    def _distributed(self, features: Any, labels: Any) -> Any:
        return self._strategy.run(self._replica, args=(features, labels))

    def _replica(self, features: Any, labels: Any) -> Any:
        # Read once: a value that is read twice has two gradients.
        values = {n: tf.identity(self._state[f"value/{n}"]) for n in self._names}
        entropies = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels, self._logits_of(features, values)
        )
        entropies *= tf.gather(self._label_weights, labels)
        loss = tf.reduce_mean(entropies)
        gradients = tf.gradients(loss, [values[name] for name in self._names])
        everywhere = tf.distribute.get_replica_context().all_reduce(
            "mean", [*gradients, loss]
        )
        done = tf.cast(self._state[STEP] + 1, tf.float32)
        counts = tf.cast(self._state[STEP] >= self._average_from, tf.float32)
        for name, gradient in zip(self._names, everywhere[:-1], strict=True):
            if name == WEIGHTS:
                gradient += WEIGHT_DECAY * values[name]
            self._update(name, gradient, done, counts)
        self._state[STEP].assign_add(1)
        return everywhere[-1]

    def _update(self, name: str, gradient: Any, done: Any, counts: Any) -> None:
        """One step of Adam for one tensor (algorithm 1 of its paper)."""
        value, first, second, total = (
            self._state[f"{kind}/{name}"]
            for kind in ("value", "first", "second", "sum")
        )
        moved = first.assign(DECAY_1 * first + (1 - DECAY_1) * gradient)
        squared = second.assign(DECAY_2 * second + (1 - DECAY_2) * gradient**2)
        mean = moved / (1 - DECAY_1**done)
        spread = tf.sqrt(squared / (1 - DECAY_2**done))
        value = value.assign_sub(self._rate * mean / (spread + EPSILON))
        total.assign_add(counts * value)

    def _answer(self, features: Any) -> Any:
        return self._logits_of(
            features, {name: self._state[f"value/{name}"] for name in self._names}
        )

    def _logits_of(self, features: Any, values: Mapping[str, Any]) -> Any:
        constants = {name: values[name] for name in self._tail.constants}
        bottlenecks = self._tail.apply(features, constants)
        standard = self._standard.apply(bottlenecks)
        return tf.matmul(standard, values[WEIGHTS]) + values[BIASES]


def averaged(state: Mapping[str, np.ndarray], steps: int) -> dict[str, np.ndarray]:
    """Returns the mean of the averaged iterates, by name, after the last of `steps`."""
    count = np.float32(steps - steps // 2)
    return {
        name.removeprefix("sum/"): value / count
        for name, value in state.items()
        if name.startswith("sum/")
    }
