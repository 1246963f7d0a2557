"""Linear discriminant analysis with a shrunk covariance: `--head=best`.

    Gram matrices of the folds ─> weights for each shrinkage ─> most held-out answers
                                                                │
    Gram matrix of all examples ─> weights for the chosen shrinkage, in closed form

Each label is taken for a normal distribution, all with one covariance. It is shrunk
towards the same variance in all directions (Friedman, "Regularized discriminant
analysis", JASA 1989), which acts as weight decay: with little shrinkage, directions of
little variance decide, which a few thousand images do not show. How much is best
depends on the network; it is chosen by cross-validation on the training images alone.

Bottlenecks are standardised as for the training steps, so their scale does not matter.
"""

import logging
import math
from dataclasses import dataclass

import numpy as np

from poets.config import RetrainConfig
from poets.head import Head
from poets.head.examples import Examples
from poets.head.standardizer import Standardizer
from poets.head.steps import weights_of_labels

logger = logging.getLogger(__name__)

SHRINKAGES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.55, 0.8)
"""Shares of the covariance that are replaced by the mean variance."""

FOLDS = 5

MAX_HELD_OUT = 20_000
"""Examples that are held out in some fold; with more, the choice stays the same."""


def discriminant(train: Examples, num_labels: int, config: RetrainConfig) -> Head:
    """Returns the head that needs no training steps.

    The result depends on the examples, `class_weights` and `seed` alone.

    Args:
      train: N training examples, distorted copies among them; each label has one.
      num_labels: L.
      config: `class_weights`, and `seed`, which draws the folds.
    """
    standard = Standardizer.of(train)
    weights = weights_of_labels(train, num_labels, config)
    folds = _folds(train, config.seed)
    moments = [
        _Moments.of(train.choose(np.flatnonzero(folds == fold)), standard, weights)
        for fold in range(-1, FOLDS)
    ]
    every = sum(moments[1:], start=moments[0])
    correct = np.zeros(len(SHRINKAGES), np.int64)
    held_out = 0
    for fold, of_fold in enumerate(moments[1:]):
        rest = every - of_fold
        if not of_fold.sizes.any() or not rest.sizes.all():
            continue  # a label all of whose images are in this fold
        found = [rest.head(shrinkage, np.float32) for shrinkage in SHRINKAGES]
        examples = train.choose(np.flatnonzero(folds == fold))
        held_out += len(examples)
        for part in examples.parts():
            images, labels = standard.apply(part.matrix()), part.labels()
            correct += [
                (head.logits(images).argmax(axis=1) == labels).sum() for head in found
            ]
    best = int(correct.argmax()) if held_out else len(SHRINKAGES) // 2
    logger.info(
        "discriminant analysis: shrinkage %g, %.1f%% correct of %d images held out in "
        "%d folds",
        SHRINKAGES[best],
        100 * correct[best] / max(held_out, 1),
        held_out,
        FOLDS,
    )
    head = standard.fold(every.head(SHRINKAGES[best], np.float64))
    return Head(head.weights.astype(np.float32), head.biases.astype(np.float32))


def clearly_better(head: Head, other: Head, validation: Examples) -> bool:
    """Returns whether a head is better than another by more than a standard error.

    Only the images on which one of them is right and the other wrong differ between
    them (McNemar, 1947).
    """
    gains, losses = 0, 0
    for part in validation.parts():
        matrix, labels = part.matrix(), part.labels()
        right, others = (each.answers(matrix)[0] == labels for each in (head, other))
        gains += int((right & ~others).sum())
        losses += int((others & ~right).sum())
    better = gains - losses > math.sqrt(gains + losses)
    logger.info(
        "the head of the training steps is right on %d validation images on which "
        "discriminant analysis is wrong, and wrong on %d where it is right: %s",
        gains,
        losses,
        "the former is kept" if better else "the latter is used",
    )
    return better


@dataclass(frozen=True)
class _Moments:
    """The sums of some examples, from which a head is computed.

    Attributes:
      sizes: float64 [L], the examples of each label, weighted.
      sums: float64 [L, D], of their standardised bottlenecks.
      gram: float32 [D, D], the sum of their outer products.
    """

    sizes: np.ndarray
    sums: np.ndarray
    gram: np.ndarray

    @classmethod
    def of(
        cls, examples: Examples, standard: Standardizer, weights: np.ndarray
    ) -> "_Moments":
        """Returns the moments of examples, weighted by their label."""
        size = examples.bottlenecks.shape[1]
        sizes, sums = np.zeros(len(weights)), np.zeros((len(weights), size))
        gram = np.zeros((size, size), np.float32)
        for part in examples.parts():
            images, labels = standard.apply(part.matrix()), part.labels()
            images *= np.sqrt(weights[labels])[:, None]
            gram += images.T @ images
            one_hot = np.eye(len(weights))[labels]
            sizes += one_hot.sum(axis=0) * weights
            sums += one_hot.T @ images * np.sqrt(weights)[:, None]
        return cls(sizes, sums, gram)

    def __add__(self, other: "_Moments") -> "_Moments":
        return _Moments(
            self.sizes + other.sizes, self.sums + other.sums, self.gram + other.gram
        )

    def __sub__(self, other: "_Moments") -> "_Moments":
        return _Moments(
            self.sizes - other.sizes, self.sums - other.sums, self.gram - other.gram
        )

    def head(self, shrinkage: float, dtype: type[np.floating]) -> Head:
        """Returns the head on standardised bottlenecks, computed in a precision."""
        shares = self.sizes / self.sizes.sum()
        means = self.sums / self.sizes[:, None]
        within = self.gram.astype(dtype) / dtype(self.sizes.sum())
        within -= ((means.T * shares) @ means).astype(dtype)
        diagonal = np.einsum("ii->i", within)
        target = diagonal.mean() or 1
        within *= dtype(1 - shrinkage)
        diagonal += dtype(shrinkage * target)
        weights = np.linalg.solve(within, means.T.astype(dtype))
        biases = np.log(shares) - (means.T * weights).sum(axis=0) / 2
        return Head(weights, biases.astype(dtype))


def _folds(train: Examples, seed: int) -> np.ndarray:
    """Returns the fold of each example, int64 [N]; -1 if it is never held out.

    Distorted copies are in the fold of their image.
    """
    _, images = np.unique(train.images(), return_inverse=True)
    count = int(images.max()) + 1
    fold = np.full(count, -1)
    share = min(1, MAX_HELD_OUT / len(train))
    order = np.random.default_rng([seed, 4]).permutation(count)
    chosen = order[: max(FOLDS, round(share * count))]
    fold[chosen] = np.arange(len(chosen)) % FOLDS
    return fold[images]
