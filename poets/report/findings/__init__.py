"""What a run is worth: the sections of its report as plain data.

    Evidence ──> compute() of each section ──> dataclass ──> report.json, CSV, page
                 (poets.report.findings.*)                   (poets.report.page)

Everything comes from the bottlenecks and the trained head. No image passes through the
network again; only the pixels of a few are read. A section is a row of `SECTIONS` and
a module with a function `compute(evidence)`. It returns a frozen dataclass or, if the
run has nothing to show for it, None. The dataclass holds what JSON can: numbers, text,
None, tuples and dataclasses of them. Paths are relative to `image_dir`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from poets.config import RetrainConfig
from poets.features.features import Trained


@dataclass(frozen=True)
class Evidence:
    """What the sections are computed from.

    Attributes:
      config: the flags of the run.
      metrics: the content of its `metrics.json`.
      trained: the head and its features; None for a results folder whose bottlenecks
        are gone, which leaves out the sections that need them.
    """

    config: RetrainConfig
    metrics: Mapping[str, Any]
    trained: Trained | None


class Section(NamedTuple):
    """A row of `SECTIONS`.

    Attributes:
      module: has `compute(evidence)`.
      needs_features: whether it needs `evidence.trained`.
      csv: name of the CSV beside the report, whose rows the dataclass returns by
        `csv_rows()`, the header first; "" for none.
    """

    module: str
    needs_features: bool = True
    csv: str = ""


SECTIONS: dict[str, Section] = {}  # name -> row, in the order of the page
