"""The files that were left out, by reason."""

from collections import defaultdict
from dataclasses import dataclass

from poets.report.findings import Evidence

MAX_REASONS = 20
MAX_PATHS = 10


@dataclass(frozen=True)
class Reason:
    """Files that were left out for one reason; `paths` are the first of them."""

    reason: str
    count: int
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Skipped:
    """The files that were left out.

    Attributes:
      count: of all files; `skipped_images.csv` lists them.
      reasons: the most frequent first.
      other_reasons: the number of reasons beyond MAX_REASONS.
    """

    count: int
    reasons: tuple[Reason, ...]
    other_reasons: int


def compute(evidence: Evidence) -> Skipped | None:
    """Returns the files that were left out; None if there are none."""
    by_reason = defaultdict(list)
    for path, reason in evidence.skipped:
        by_reason[reason].append(path)
    if not by_reason:
        return None
    ordered = sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    return Skipped(
        count=len(evidence.skipped),
        reasons=tuple(
            Reason(reason, len(paths), tuple(sorted(paths)[:MAX_PATHS]))
            for reason, paths in ordered[:MAX_REASONS]
        ),
        other_reasons=max(0, len(ordered) - MAX_REASONS),
    )
