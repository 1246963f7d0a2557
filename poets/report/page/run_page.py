"""Renders report.html from the findings of a run."""

from poets import __version__
from poets.data.dataset import Dataset
from poets.report.findings import Findings
from poets.report.page import charts, render
from poets.report.page.pictures import Pictures

TITLES = {  # name of a section -> its title; the order is that of the findings
    "summary": "Summary",
    "curves": "Training",
    "labels": "Labels",
    "confusion": "Confusion matrix",
    "mistakes": "Worst mistakes",
    "doubtful_labels": "Doubtful labels",
    "near_duplicates": "Near-duplicates",
    "odd_images": "Odd pictures out",
    "calibration": "Calibration",
    "reject_threshold": "Reject threshold",
    "more_images": "Would more pictures help?",
    "skipped": "Skipped files",
    "run": "This run",
}


def run_page(findings: Findings, dataset: Dataset) -> bytes:
    """Returns report.html.

    Args:
      findings: the sections.
      dataset: has their pictures.
    """
    pictures = Pictures(dataset)
    page = render(
        "report.html",
        charts=charts,
        failed=findings.failed,
        picture=pictures.picture,
        picture_problem=pictures.problem,
        poets=__version__,
        sections={name: findings.sections.get(name) for name in TITLES},
        titles=TITLES,
    )
    return pictures.fill(page).encode("utf-8", "replace")
