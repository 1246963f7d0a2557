"""Renders report.html from the findings of a run."""

from poets.data.dataset import Dataset
from poets.report.findings import SECTIONS, Findings
from poets.report.page import charts, render
from poets.report.page.pictures import Pictures


def run_page(findings: Findings, dataset: Dataset) -> bytes:
    """Returns report.html: the sections, with pictures of the data set."""
    pictures = Pictures(dataset)
    page = render(
        "report.html",
        charts=charts,
        failed=findings.failed,
        picture=pictures.picture,
        picture_problem=pictures.problem,
        sections={name: findings.sections.get(name) for name in SECTIONS},
        titles={name: row.title for name, row in SECTIONS.items()},
    )
    return pictures.fill(page).encode("utf-8", "replace")
