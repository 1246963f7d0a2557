"""Finds images that differ from all others of their label.

The distance of an image to its label is the mean Euclidean distance of its standardised
bottleneck to the nearest NEIGHBOURS of the label's other images, as a multiple of the
label's median. In a large label, every image is compared with a sample of the others.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from poets.head.examples import Examples
from poets.head.standardizer import Standardizer
from poets.report.findings import Evidence

NEIGHBOURS = 5

FEWEST = 10
"""Images of a label that can be judged."""

COMPARISONS = 300_000_000
MOST_COMPARED, FEWEST_COMPARED = 1000, 100
"""Images of its label that an image is compared with."""

SAMPLE = 20_000
"""Images for the mean and the spread."""

WIDTH = 128
"""Dimensions that bottlenecks of very many images are projected to, at random, which
keeps distances to some hundredths (Johnson and Lindenstrauss, 1984)."""

BLOCK = 1024

LEAST, CLEARLY = 1.25, 1.5
"""Multiples of the usual distance that are odd, and that are clearly so."""

FOUND, MOST_FOUND = 40, 1000
"""Images that are listed: the oddest 2 %, but no fewer or more than these."""


@dataclass(frozen=True)
class OddImage:
    """An image far from all others of its label.

    Attributes:
      distance: to its nearest neighbours of the label, as a multiple of what is usual.
    """

    path: str
    label: str
    split: str
    distance: float


@dataclass(frozen=True)
class OddImages:
    """The oddest images, the oddest first.

    Attributes:
      images: number that were judged.
      compared: images of its label, at most, that one was compared with.
      found: the oddest 2 %, if they have LEAST times the usual distance.
    """

    images: int
    compared: int
    found: tuple[OddImage, ...]

    def csv_rows(self) -> Iterator[tuple[object, ...]]:
        """Yields the rows of `odd_images.csv`, the header first."""
        yield "move", "path", "label", "split", "distance"
        for each in self.found:
            move = "yes" if each.distance >= CLEARLY else "no"
            yield move, each.path, each.label, each.split, f"{each.distance:.3f}"


def compute(evidence: Evidence) -> OddImages | None:
    """Returns the odd images; None if no label has enough images."""
    assert evidence.trained  # as SECTIONS says
    every, answers = evidence.trained.every, evidence.answers
    labels = answers.dataset.labels
    random = np.random.default_rng([evidence.config.seed, 7])
    most = int(np.clip(COMPARISONS // len(every), FEWEST_COMPARED, MOST_COMPARED))
    points = _points(every, most < MOST_COMPARED, random)
    distances = np.zeros(len(every), np.float32)
    judged = compared = 0
    for label in range(len(labels)):
        rows = np.flatnonzero(every.label_indices == label)
        if len(rows) < FEWEST:
            continue
        others = random.permutation(rows)[:most]
        found = _distances(points, rows, others)
        distances[rows] = found / max(float(np.median(found)), 1e-6)
        judged, compared = judged + len(rows), max(compared, len(others))
    if not judged:
        return None
    listed = int(np.clip(judged // 50, FOUND, MOST_FOUND))
    rows = np.flatnonzero(distances >= LEAST)
    rows = rows[np.argsort(-distances[rows], kind="stable")][:listed]
    return OddImages(
        judged,
        compared,
        tuple(
            OddImage(
                path,
                labels[every.label_indices[row]],
                answers.splits[row],
                float(distances[row]),
            )
            for row, path in zip(rows, answers.paths(rows), strict=True)
        ),
    )


def _points(
    every: Examples, many: bool, random: np.random.Generator
) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function: rows -> their standardised bottlenecks, float32 [n, d]."""
    standard = Standardizer.of(every.sample(SAMPLE, random))
    if not many or len(standard.mean) <= WIDTH:
        return lambda rows: standard.apply(every.bottlenecks[rows])
    projection = random.standard_normal((len(standard.mean), WIDTH), np.float32)
    projection *= standard.scale[:, None]
    return lambda rows: (every.bottlenecks[rows] - standard.mean) @ projection


def _distances(
    points: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """Returns the mean distance of each of `rows` to its nearest of `others`."""
    references = points(others)
    squares = np.einsum("nd,nd->n", references, references)
    found = []
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK]
        block = points(some)
        apart = block @ references.T
        apart *= -2
        apart += squares
        apart += np.einsum("nd,nd->n", block, block)[:, None]
        apart[some[:, None] == others] = np.inf  # itself
        near = np.partition(apart, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
        found.append(np.sqrt(np.maximum(near, 0)).mean(axis=1))
    return np.concatenate(found)
