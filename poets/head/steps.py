"""The training steps of K heads, compiled into one loop.

Softmax regression by SGD on standardised bottlenecks. The dimensions of a published
network's bottleneck differ widely in spread, and plain SGD with the original's learning
rate hardly moves on them. Each dimension is therefore centred and scaled by its spread
over the training images. The scaling is folded into the final weights: the exported
layer is still `bottleneck x W + b`. Measured on 4,317 flower photographs
(mobilenet_0.25_128, 500 steps, three splits pooled): 53 % raw, 66 % standardised.

The weights decay (L2) and the second half of the iterates is averaged (Polyak and
Juditsky, 1992), which removes the noise of the last batches.

    batches of stream 0 ─> standardised images ─┬─> head 0 ─┐
                                                ├─> head 1 ─┼─> weights [K, D, L]
    batches of stream 1 ─> standardised images ─┴─> head 2 ─┘

Heads with the same batches share the lookup and scaling of the images. Operations that
could round differently in a larger array (products, sums, exponentials) are separate
for each head; all others are exact in any array. So a head is bit for bit the same
alone and beside any others.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from poets.config import RetrainConfig
from poets.head import Head
from poets.head.examples import Examples
from poets.head.standardizer import Standardizer
from poets.system.runtime import tf

WEIGHT_DECAY = 0.1
INITIAL_STDDEV = 0.001
"""Standard deviation of the initial weights, as in the original."""


class _State(NamedTuple):
    """The variables of K heads, after some steps.

    Attributes:
      weights: float32 [K, D, L], on standardised bottlenecks.
      biases: float32 [K, L].
      weights_sum: float32 [K, D, L], sum of the iterates that are averaged.
      biases_sum: float32 [K, L].
    """

    weights: tf.Tensor
    biases: tf.Tensor
    weights_sum: tf.Tensor
    biases_sum: tf.Tensor


class HeadSteps:
    """K heads in training.

    Args:
      train: the training examples.
      num_labels: L.
      configs: of the K heads; all train for the same number of steps.
      streams: for each head the number of its stream of batches, from 0, ascending.
    """

    def __init__(
        self,
        train: Examples,
        num_labels: int,
        configs: Sequence[RetrainConfig],
        streams: Sequence[int],
    ) -> None:
        self._standard = Standardizer.of(train)
        self._rows = train.rows
        self._bottlenecks = _as_tensor(train.bottlenecks)
        self._label_indices = tf.convert_to_tensor(train.label_indices)
        self._num_labels = num_labels
        self._label_weights = np.stack(
            [weights_of_labels(train, num_labels, each) for each in configs]
        )
        self._rates = tf.constant([each.learning_rate for each in configs], tf.float32)
        self._average_from = configs[0].how_many_training_steps // 2
        self._averaged = 0
        self._heads_of = [
            [head for head, of in enumerate(streams) if of == stream]
            for stream in range(streams[-1] + 1)
        ]
        size = train.bottlenecks.shape[1]
        weights = np.stack([_first_weights(size, num_labels, each) for each in configs])
        biases = np.zeros((len(configs), num_labels), np.float32)
        first = (weights, biases, np.zeros_like(weights), biases)
        self._state = _State(*map(tf.convert_to_tensor, first))
        self._compiled = self._compile()

    def run(self, batches: Sequence[np.ndarray], first_step: int) -> None:
        """Runs some steps.

        Args:
          batches: for each stream int [S, B], positions in `train`; the streams have
            the same S and each its own B.
          first_step: the number of the first step.
        """
        rows = [each if self._rows is None else self._rows[each] for each in batches]
        self._state = self._compiled(
            [each.astype(np.int32) for each in rows], first_step, self._state
        )
        after = first_step + len(batches[0])
        self._averaged += max(0, after - max(first_step, self._average_from))

    def heads(self) -> list[Head]:
        """Returns the K heads so far, on raw bottlenecks."""
        weights, biases, *sums = self._state
        if self._averaged:
            weights, biases = sums
        count = np.float32(max(self._averaged, 1))
        return [
            self._standard.fold(Head(*each))
            for each in zip(
                weights.numpy() / count, biases.numpy() / count, strict=True
            )
        ]

    def _compile(self) -> Callable[[list[np.ndarray], int, _State], _State]:
        """Returns a compiled function that runs many steps."""

        # Written as a loop of the graph: AutoGraph does not work on Python 3.13.
        @tf.function(
            input_signature=[
                [tf.TensorSpec([None, None], tf.int32) for _ in self._heads_of],
                tf.TensorSpec([], tf.int32),
                _State(
                    *(tf.TensorSpec(each.shape, each.dtype) for each in self._state)
                ),
            ],
            autograph=False,
        )
        def steps(
            indices: list[tf.Tensor], first_step: tf.Tensor, state: _State
        ) -> _State:
            def body(done: tf.Tensor, state: _State) -> tuple[tf.Tensor, _State]:
                batches = [each[done] for each in indices]
                return done + 1, self._after(batches, first_step + done, state)

            count = tf.shape(indices[0])[0]
            return tf.while_loop(lambda done, _: done < count, body, (0, state))[1]

        return steps

    def _after(
        self, batches: list[tf.Tensor], step: tf.Tensor, state: _State
    ) -> _State:
        """Returns the state after a step with one batch per stream, int32 [B]."""
        sizes = [len(heads) for heads in self._heads_of]
        found = [
            self._gradients(*each)
            for each in zip(
                batches,
                self._heads_of,
                tf.split(state.weights, sizes),
                tf.split(state.biases, sizes),
                strict=True,
            )
        ]
        gradient = tf.concat([weights for weights, _ in found], axis=0)
        gradient += WEIGHT_DECAY * state.weights
        weights = state.weights - self._rates[:, None, None] * gradient
        biases = tf.concat([biases for _, biases in found], axis=0)
        biases = state.biases - self._rates[:, None] * biases
        counts = tf.cast(step >= self._average_from, tf.float32)
        return _State(
            weights,
            biases,
            state.weights_sum + counts * weights,
            state.biases_sum + counts * biases,
        )

    def _gradients(
        self, batch: tf.Tensor, heads: list[int], weights: tf.Tensor, biases: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the gradients of the heads that share a batch."""
        images = self._standard.apply(tf.gather(self._bottlenecks, batch))
        labels = tf.gather(self._label_indices, batch)
        logits = tf.stack([images @ each for each in tf.unstack(weights)])
        logits += biases[:, None]
        found = tf.stack([tf.nn.softmax(each) for each in tf.unstack(logits)])
        # The gradient of the mean cross entropy, weighted by image.
        error = found - tf.one_hot(labels, self._num_labels)
        error *= tf.gather(self._label_weights[heads], labels, axis=1)[..., None]
        error /= tf.cast(tf.size(batch), tf.float32)
        errors = tf.unstack(error)
        return (
            tf.stack([tf.matmul(images, e, transpose_a=True) for e in errors]),
            tf.stack([tf.reduce_sum(e, axis=0) for e in errors]),
        )


def _first_weights(size: int, num_labels: int, config: RetrainConfig) -> np.ndarray:
    random = np.random.default_rng([config.seed, 2])
    return random.normal(0, INITIAL_STDDEV, (size, num_labels)).astype(np.float32)


def _as_tensor(matrix: np.ndarray) -> tf.Tensor:
    """Returns a tensor that shares the matrix's memory where its alignment allows.

    A conversion takes the matrix's size two more times, and the matrix may be large.
    """
    if matrix.size and matrix.ctypes.data % 64 == 0 and matrix.flags.c_contiguous:
        return tf.experimental.dlpack.from_dlpack(matrix.__dlpack__())
    return tf.convert_to_tensor(matrix)


def weights_of_labels(
    train: Examples, num_labels: int, config: RetrainConfig
) -> np.ndarray:
    """Returns float32 [L]: 1, or N / (L * images of the label) when balanced."""
    if config.class_weights != "balanced":
        return np.ones(num_labels, np.float32)
    counts = np.bincount(train.labels(), minlength=num_labels)
    return (len(train) / (num_labels * counts)).astype(np.float32)
