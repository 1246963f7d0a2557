"""What a run is worth: the sections of its report as plain data.

    Evidence ──> compute() of each section ──> dataclass ──> report.json, CSV, page
                 (poets.report.findings.*)                   (poets.report.page)

Everything comes from the bottlenecks and the trained head. No image passes through the
network again; only the pixels of a few are read. A section is a row of `SECTIONS` and
a module with a function `compute(evidence)`. It returns a frozen dataclass or, if the
run has nothing to show for it, None. The dataclass holds what JSON can: numbers, text,
None, tuples and dataclasses of them. Paths are relative to `image_dir`.
"""

import importlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from poets.config import RetrainConfig
from poets.errors import PoetsError
from poets.features.near_duplicates import Copies
from poets.head import Head
from poets.head.evaluate import Accuracy
from poets.head.examples import Examples
from poets.head.many import Evaluation
from poets.report.metrics import Predictions

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedHead:
    """A head, and the bottlenecks of all N images.

    Attributes:
      head: gives the scores of the answers.
      temperature: that its logits are divided by; 1 if it is not calibrated.
      every: the bottlenecks, in the order of the answers, and their labels.
      digests: bytes [N], of the contents of the images.
      copies: the near-duplicates, if they were searched for the split.
      evaluations: the course of the training; () if it is not known.
    """

    head: Head
    temperature: float
    every: Examples
    digests: np.ndarray
    copies: Copies | None = None
    evaluations: Sequence[Evaluation] = ()


@dataclass(frozen=True)
class Evidence:
    """What the sections are computed from.

    Attributes:
      config, metrics: flags of the run, and its `metrics.json`.
      answers: the head's predictions for all images.
      skipped: (path, reason) of the images that were left out.
      trained: head and bottlenecks; None for a results folder whose bottlenecks are
        missing, which leaves out the sections that need them.
    """

    config: RetrainConfig
    metrics: Mapping[str, Any]
    answers: Predictions
    skipped: Sequence[tuple[str, str]] = ()
    trained: TrainedHead | None = None


@dataclass(frozen=True)
class Share:
    """Correct answers out of n, with Wilson's 95 % interval of their share.

    `accuracy` is None for n = 0.
    """

    n: int
    correct: int
    accuracy: float | None
    interval_95: tuple[float, float]

    @classmethod
    def of(cls, n: int, correct: int) -> "Share":
        """Returns the share of n answers that are right."""
        found = Accuracy(n, correct)
        return cls(n, correct, found.share if n else None, found.interval_95)


class Section(NamedTuple):
    """A row of `SECTIONS`.

    Attributes:
      title: on the page.
      needs_features: whether it needs `evidence.trained`.
      csv: name of the CSV beside the report, whose rows the dataclass returns by
        `csv_rows()`, the header first; "" for none.
    """

    title: str
    needs_features: bool = False
    csv: str = ""


SECTIONS = {  # name of the module here -> row, in the order of the page
    "summary": Section("Summary"),
    "curves": Section("Training", needs_features=True),
    "labels": Section("Labels", csv="labels.csv"),
    "confusion": Section("Confusion matrix"),
    "mistakes": Section("Worst mistakes", csv="mistakes.csv"),
    "doubtful_labels": Section("Doubtful labels", True, "doubtful_labels.csv"),
    "near_duplicates": Section("Near-duplicates", True, "near_duplicates.csv"),
    "odd_images": Section("Odd pictures out", True, "odd_images.csv"),
    "calibration": Section("Calibration", needs_features=True),
    "reject_threshold": Section("Reject threshold"),
    "more_images": Section("Would more pictures help?", needs_features=True),
    "skipped": Section("Skipped files"),
    "run": Section("This run"),
}


@dataclass(frozen=True)
class Findings:
    """All sections of a report.

    Attributes:
      sections: name -> its dataclass, in the order of the page; None if there is
        nothing to show.
      failed: name -> why it could not be computed.
    """

    sections: Mapping[str, Any]
    failed: Mapping[str, str]


def find(evidence: Evidence) -> Findings:
    """Computes all sections; one that fails is logged and does not harm the others."""
    sections: dict[str, Any] = {}
    failed = {}
    for name, row in SECTIONS.items():
        sections[name] = None
        if row.needs_features and evidence.trained is None:
            continue
        try:
            module = importlib.import_module(f"{__name__}.{name}")
            sections[name] = module.compute(evidence)
        except Exception as error:  # noqa: BLE001 - the model matters more
            why = str(error) if isinstance(error, PoetsError) else f"{error!r:.300}"
            failed[name] = why
            logger.error("the report lacks its section %s: %s", name, why)
            logger.debug("where it failed", exc_info=True)
    return Findings(sections, failed)
