"""Finds the images whose bottlenecks are most alike, among any number of images.

bottlenecks ──> unit rows ──> sketches [N, d] ──> 2 nearest of each ──> exact cosines
  by blocks                   random projection   by matrix products    of the closest

A random projection keeps angles to a few hundredths (Johnson and Lindenstrauss, 1984).
Beyond FEW images, each is only compared with those of its cell: the images that are
closest to the same pivot. Two rounds with other pivots find most pairs that a border
of cells separates.
"""

from collections.abc import Iterator

import numpy as np

from poets.head.examples import Examples
from poets.head.standardizer import Standardizer, to_length_1

FEW = 20_000
"""Images that are all compared with each other."""

SKETCH, SMALL_SKETCH = 256, 64
"""Dimensions of the sketches of few and of many images; 128 MB for a million."""

CELL = 1000
"""Mean number of images in a cell."""

MAX_CELL = 4 * CELL
"""Larger cells are cut; they hold very many copies of a few pictures."""

ROUNDS = 2
BLOCK = 512
NEAREST = 2
SLACK = 0.1
"""By which a sketch may be below the exact cosine."""


def sketches(examples: Examples, standard: Standardizer, seed: int) -> np.ndarray:
    """Returns float [N, d]: rows of length 1, whose products are about the cosines."""
    few = len(examples) <= FEW
    size = examples.bottlenecks.shape[1]
    width = min(size, SKETCH if few else SMALL_SKETCH)
    random = np.random.default_rng([seed, 5])
    projection = random.standard_normal((size, width), np.float32)
    found = np.empty((len(examples), width), np.float32 if few else np.float16)
    done = 0
    for part in examples.parts():
        rows = standard.unit_rows(part.matrix())
        found[done : done + len(part)] = to_length_1(
            rows if width == size else rows @ projection
        )
        done += len(part)
    return found


def closest_pairs(
    examples: Examples, least: float, most: int, seed: int
) -> tuple[np.ndarray, int]:
    """Returns the pairs of images with the largest cosines of unit rows.

    Args:
      examples: N images.
      least: the smallest cosine.
      most: the number of pairs.
      seed: of samples, projection and pivots.

    Returns:
      int64 [P, 2] positions, P <= most, the closest pair first and the smaller position
      first; and how many more candidates there were.
    """
    random = np.random.default_rng([seed, 6])
    standard = Standardizer.of(examples.sample(FEW, random))
    found = sketches(examples, standard, seed)
    pairs, cosines = [np.empty((0, 2), np.int32)], [np.empty(0, np.float32)]
    for cell in _cells(found, random):
        for near, cosine in _nearest(found, cell, least - SLACK):
            pairs.append(near)
            cosines.append(cosine)
    del found
    every, first = np.unique(np.concatenate(pairs), axis=0, return_index=True)
    best = np.argsort(-np.concatenate(cosines)[first], kind="stable")[:most]
    exact = np.concatenate(
        [
            np.einsum(
                "nd,nd->n",
                *(
                    standard.unit_rows(examples.choose(every[some, side]).matrix())
                    for side in (0, 1)
                ),
            )
            for some in np.array_split(best, len(best) // BLOCK + 1)
        ]
    )
    order = np.argsort(-exact, kind="stable")
    return every[best[order[exact[order] >= least]]].astype(np.int64), (
        len(every) - len(best)
    )


def _cells(found: np.ndarray, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields the numbers of the images of each cell."""
    if len(found) <= FEW:
        yield np.arange(len(found), dtype=np.int32)
        return
    for _ in range(ROUNDS):
        pivots = random.choice(len(found), len(found) // CELL, replace=False)
        centres = found[pivots].astype(np.float32).T
        cells = np.concatenate(
            [
                (part.astype(np.float32) @ centres).argmax(axis=1)
                for part in np.array_split(found, len(found) // BLOCK)
            ]
        )
        order = np.argsort(cells, kind="stable").astype(np.int32)
        ends = np.cumsum(np.bincount(cells, minlength=len(pivots)))[:-1]
        for cell in np.split(order, ends):
            yield from np.array_split(cell, -(-len(cell) // MAX_CELL) or 1)


def _nearest(
    found: np.ndarray, cell: np.ndarray, least: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields pairs int32 [n, 2] of a cell, each an image and a nearest one."""
    if len(cell) < 2:
        return
    members = found[cell].astype(np.float32)
    for start in range(0, len(cell), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(cell)))
        cosines = members[rows] @ members.T
        places = np.arange(len(rows))
        cosines[places, rows] = -2  # itself
        for _ in range(NEAREST):
            near = cosines.argmax(axis=1)
            value = cosines[places, near]
            close = value >= least
            pair = np.stack([cell[rows[close]], cell[near[close]]], axis=1)
            yield np.sort(pair, axis=1), value[close]
            cosines[places, near] = -2
