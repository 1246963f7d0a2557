"""Scores every image by heads that were trained without it, in closed form.

sample U [M, D + 1] ──> A = (U'U + rI)^-1 ──> W = A U'Y ──> held-out scores
                                                            (UW - hY) / (1 - h)

Ridge regression on one-hot labels gives the scores of M heads, each trained without one
image, from a single head and the leverages h = diag(U A U') (Allen, 1974): k-fold with
k = M. A head on a sample also scores the images outside of it. A temperature turns the
scores into probabilities.
"""

from collections.abc import Iterator

import numpy as np

from poets.data.columns import BLOCK
from poets.head import softmax
from poets.head.examples import Examples
from poets.head.standardizer import Standardizer

SAMPLE = 20_000
"""Images that heads are trained on: 80 MB with 1,001 features."""

RIDGE = 0.002
"""Penalty per image: of 0.0005 to 0.005, on photographs with flipped labels."""

TEMPERATURES = 2.0 ** np.arange(-1, 5.5, 0.25)


def held_out_probabilities(
    examples: Examples, num_labels: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the probabilities of images, by heads that have not seen them.

    Args:
      examples: N images; N may be large.
      num_labels: L.
      seed: of the sample.

    Yields:
      Positions int64 [n] among the N, and float32 [n, L], rows adding up to 1. The
      first pair is the whole sample, with at most SAMPLE images; of each label it has
      as many as of the others, or all.
    """
    sample = _sample(examples.labels(), num_labels, seed)
    chosen = examples.choose(sample)
    standard = Standardizer.of(chosen)
    rows = unit_rows_with_bias(standard, chosen)
    wanted = np.eye(num_labels, dtype=np.float32)[chosen.labels()]
    squares = rows.T @ rows
    squares[np.diag_indices_from(squares)] += RIDGE * len(rows)
    inverse = np.linalg.inv(squares)
    weights = inverse @ (rows.T @ wanted)
    leverages = np.einsum("nd,nd->n", rows @ inverse, rows)[:, None]
    scores = (rows @ weights - leverages * wanted) / (1 - leverages)
    del rows
    temperature = _temperature(scores, chosen.labels())
    yield sample, softmax(temperature * scores)
    others = np.ones(len(examples), bool)
    others[sample] = False
    positions = np.flatnonzero(others)
    done = 0
    for part in examples.choose(positions).parts():
        found = softmax(temperature * (unit_rows_with_bias(standard, part) @ weights))
        yield positions[done : done + len(part)], found
        done += len(part)


def unit_rows_with_bias(standard: Standardizer, examples: Examples) -> np.ndarray:
    """Returns float32 [N, D + 1]; the last column, for the bias, is 1."""
    rows = np.ones((len(examples), examples.bottlenecks.shape[1] + 1), np.float32)
    done = 0
    for part in examples.parts():
        rows[done : done + len(part), :-1] = standard.unit_rows(part.matrix())
        done += len(part)
    return rows


def _sample(label_indices: np.ndarray, num_labels: int, seed: int) -> np.ndarray:
    if len(label_indices) <= SAMPLE:
        return np.arange(len(label_indices))
    shuffled = np.random.default_rng([seed, 4]).permutation(len(label_indices))
    wanted = np.full(num_labels, max(SAMPLE // num_labels, 1))
    chosen = []
    for start in range(0, len(shuffled), BLOCK):
        some = shuffled[start : start + BLOCK]
        some = some[np.argsort(label_indices[some], kind="stable")]
        counts = np.bincount(label_indices[some], minlength=num_labels)
        place = np.arange(len(some)) - np.repeat(np.cumsum(counts) - counts, counts)
        chosen.append(some[place < np.repeat(wanted, counts)])
        wanted = np.maximum(wanted - counts, 0)
    return np.sort(np.concatenate(chosen))


def _temperature(scores: np.ndarray, label_indices: np.ndarray) -> float:
    """Returns the factor with the largest likelihood of the true labels."""
    rows = np.arange(len(scores))

    def likelihood(factor: float) -> float:
        found = softmax(factor * scores)[rows, label_indices]
        return float(np.log(np.maximum(found, 1e-12)).sum())

    return max(TEMPERATURES.tolist(), key=likelihood)
