"""Trains heads on growing parts of the training images, in closed form.

part 1 ─> X'X, X'Y ─> head      the products of all parts so far are those of one
part 2 ─> + X'X, X'Y ─> head    part, so that each image is multiplied once a draw
...

Ridge regression on one-hot labels. Its accuracy grows with the images as that of the
exported head does: on 4,317 flower photographs from 1,720 to 3,450 training images it
gains 1.8 points, and the head 1.7 (mobilenet_0.25_128, five splits pooled).
"""

from collections.abc import Iterator, Sequence

import numpy as np

from poets.head import Head
from poets.head.examples import Examples
from poets.head.standardizer import Standardizer

RIDGE = 0.3
"""Penalty per image, on standardised bottlenecks."""


def growing_heads(
    train: Examples, num_labels: int, sizes: Sequence[int], random: np.random.Generator
) -> Iterator[Head]:
    """Yields a head for each size, trained on that many of N images in random order.

    The sizes are ascending, 1 to N.
    """
    order = random.permutation(len(train))
    standard = Standardizer.of(train)
    dimensions = len(standard.mean)
    targets = np.eye(num_labels, dtype=np.float32)
    squares = np.zeros((dimensions, dimensions), np.float32)
    products = np.zeros((dimensions, num_labels), np.float32)
    counts = np.zeros(num_labels, np.float32)
    done = 0
    for size in sizes:
        for part in train.choose(order[done:size]).parts():
            rows = standard.apply(part.matrix())
            wanted = targets[part.labels()]
            squares += rows.T @ rows
            products += rows.T @ (wanted - 1 / num_labels)
            counts += wanted.sum(axis=0)
        done = size
        system = squares.copy()
        system[np.diag_indices_from(system)] += RIDGE * size
        yield standard.fold(Head(np.linalg.solve(system, products), counts / size))
