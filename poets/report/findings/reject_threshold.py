"""The score below which an answer is withheld."""

from dataclasses import dataclass

import numpy as np

from poets.data.split import TEST, VALIDATION
from poets.head.reject import Answered, Rejection, answered, rejection_for
from poets.report.findings import Evidence

CURVE = np.arange(0, 100, 2) / 100
"""The thresholds of the curve."""


@dataclass(frozen=True)
class RejectThreshold(Rejection):
    """The threshold for a wanted accuracy, chosen on validation, confirmed on test.

    Attributes:
      curve: accuracy over coverage on validation, by ascending threshold.
    """

    curve: tuple[Answered, ...]


def compute(evidence: Evidence) -> RejectThreshold | None:
    """Returns the threshold; None without validation images."""
    validation, test = map(evidence.answers.scored, (VALIDATION, TEST))
    if not len(validation[0]):
        return None
    found = rejection_for(evidence.config.wanted_accuracy, validation, test)
    at_each = (answered(*validation, float(threshold)) for threshold in CURVE)
    return RejectThreshold(
        **vars(found), curve=tuple(each for each in at_each if each.n)
    )
