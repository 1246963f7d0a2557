"""The course of the training."""

from dataclasses import dataclass

import numpy as np

from poets.report.findings import Evidence

MAX_POINTS = 400
"""More would be less than two pixels apart."""


@dataclass(frozen=True)
class CurvePoint:
    """An evaluation after a step.

    Attributes:
      step: from 0.
      train_accuracy, train_entropy: of the step's batch, see `poets.head.many`.
      accuracy, entropy: of validation images.
    """

    step: int
    train_accuracy: float
    train_entropy: float
    accuracy: float
    entropy: float


@dataclass(frozen=True)
class Curves:
    """The course of the training.

    Attributes:
      steps, evaluations: their numbers.
      images: the number of validation images in each evaluation.
      points: all or, of many, an even selection with the first and the last.
    """

    steps: int
    images: int
    evaluations: int
    points: tuple[CurvePoint, ...]


def compute(evidence: Evidence) -> Curves | None:
    """Returns the curves; None for fewer than two evaluations."""
    assert evidence.trained  # as SECTIONS says
    evaluations = evidence.trained.evaluations
    if len(evaluations) < 2:
        return None
    count = min(MAX_POINTS, len(evaluations))
    chosen = np.linspace(0, len(evaluations) - 1, count).round().astype(int)
    return Curves(
        steps=evidence.metrics["training_steps"],
        images=evaluations[0].n,
        evaluations=len(evaluations),
        points=tuple(
            CurvePoint(e.step, e.train_accuracy, e.train_entropy, e.accuracy, e.entropy)
            for e in (evaluations[index] for index in chosen.tolist())
        ),
    )
