"""Builds the report of a run: the files beside its graph."""

import dataclasses
import json
import logging

from poets import __version__
from poets.report import REPORT
from poets.report.findings import SECTIONS, Evidence, Findings, find
from poets.report.run_files import csv_file

logger = logging.getLogger(__name__)


def report_names() -> set[str]:
    """Returns the names of all files that a report may have."""
    return {REPORT, "report.json", *(row.csv for row in SECTIONS.values() if row.csv)}


def build_report(evidence: Evidence) -> tuple[dict[str, bytes], list[str]]:
    """Returns name -> content of the report's files, and notes on what is missing.

    What fails is logged, noted and left out: the model matters more than its report.
    """
    findings = find(evidence)
    notes = [
        f"the report lacks its section {name}: {why}"
        for name, why in findings.failed.items()
    ]
    copies = findings.sections["near_duplicates"]
    if copies and copies.advice:
        notes.append(copies.advice)
    files = {}
    try:
        for name, found in findings.sections.items():
            if found is not None and (csv := SECTIONS[name].csv):
                files[csv] = csv_file(found.csv_rows())
        files["report.json"] = report_json(findings, str(evidence.metrics["finished"]))
        # takes 0.2 s to import, which a run without a report does not need
        from poets.report.page.run_page import run_page

        files[REPORT] = run_page(findings, evidence.answers.dataset)
    except Exception as error:  # noqa: BLE001 - see above
        logger.error("no %s: %r", REPORT, error)
        logger.debug("where it failed", exc_info=True)
        notes.append(f"no {REPORT}: {error!r:.300}")
    return files, notes


def report_json(findings: Findings, finished: str) -> bytes:
    """Returns the content of `report.json`: what the page shows, for programs."""
    content = {
        "poets": __version__,
        "finished": finished,
        "failed": findings.failed,
        "sections": {
            name: found and dataclasses.asdict(found)
            for name, found in findings.sections.items()
        },
    }
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "surrogateescape") + b"\n"
