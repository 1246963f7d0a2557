"""Formats a checkup as lines for people and as JSON for programs.

hdfs://default
  ok        ticket              0.02 s  ticket of tensorflow@LOCAL until 14:02
  FAILED    NameNode           10.00 s

FAILED: NameNode, on hdfs://default as tensorflow@LOCAL
  found        no answer within 10 s
  what to do   check whether the NameNode is up
  not reached  list, read, write
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from poets.doctor import FAILED, NOT_REACHED, StepResult

FOUND_AT = 40
"""The column where the text of a finding begins."""


def format_line(result: StepResult) -> str:
    """Returns the line of one step, and its details below it.

    The text of a failure is too long for a line: `format_end` shows it.
    """
    mark = "FAILED" if result.status == FAILED else result.status
    line = f"  {mark:<9} {result.name:<17} {result.seconds:6.2f} s"
    if result.status != FAILED:
        line = f"{line:<{FOUND_AT}}{result.found}"
    return "\n".join([line, *(f"{'':{FOUND_AT}}{text}" for text in result.details)])


def format_end(results: Sequence[StepResult]) -> str:
    """Returns the failure and its cure, or "all is well"."""
    failed = next((result for result in results if result.status == FAILED), None)
    if failed is None:
        seconds = sum(result.seconds for result in results)
        return f"all is well ({seconds:.1f} s)"
    where = f", on {failed.storage}" if failed.storage else ""
    whom = f" as {failed.principal}" if failed.principal else ""
    left = [result.name for result in results if result.status == NOT_REACHED]
    lines = {
        "found": failed.found,
        "what to do": failed.cure,
        "not reached": ", ".join(left),
    }
    return "\n".join(
        [
            f"FAILED: {failed.name}{where}{whom}",
            *(f"  {name:<11}  {text}" for name, text in lines.items() if text),
        ]
    )


def as_json(results: Sequence[StepResult]) -> dict[str, Any]:
    """Returns all results as JSON data."""
    return {
        "ok": not any(result.status == FAILED for result in results),
        "steps": [
            dataclasses.asdict(result) | {"seconds": round(result.seconds, 4)}
            for result in results
        ],
    }
