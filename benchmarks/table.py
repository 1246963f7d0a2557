"""Formats measured figures as a text table.

figure                     unit        ours  baseline   times   limit  of limit  goal
bottlenecks                images/s    3210       434    7.4x    3712      86 %  ok: ...
"""

from collections.abc import Sequence
from dataclasses import dataclass

HEADINGS = ("figure", "unit", "ours", "baseline", "times", "limit", "of limit", "goal")
LEFT = {"figure", "unit", "goal"}
SMALLER_IS_BETTER = {"s", "MB"}
LARGER_IS_BETTER = {"images/s"}


@dataclass(frozen=True)
class Row:
    """One figure, with the values that it is compared with.

    Attributes:
      figure: what was measured.
      unit: unit of all values; those in s, MB and images/s are compared.
      ours: the product's value.
      baseline: the baseline's value, if it has one.
      limit: the machine's limit, if there is one.
      goal: the goal in words, "" without one.
      reached: whether the goal is reached; None without one.
    """

    figure: str
    unit: str
    ours: float
    baseline: float | None = None
    limit: float | None = None
    goal: str = ""
    reached: bool | None = None

    @property
    def times(self) -> float | None:
        """How many times better than the baseline; None if they are not compared."""
        if not self.baseline or not self.ours:
            return None
        if self.unit in SMALLER_IS_BETTER:
            return self.baseline / self.ours
        return self.ours / self.baseline if self.unit in LARGER_IS_BETTER else None

    @property
    def of_limit(self) -> float | None:
        """The value as a share of the limit; None without a limit."""
        return self.ours / self.limit if self.limit else None


def render(rows: Sequence[Row]) -> str:
    """Formats rows as aligned text with a heading."""
    cells = [HEADINGS] + [_cells(row) for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEADINGS))]
    lines = []
    for line in cells:
        texts = [
            text.ljust(width) if heading in LEFT else text.rjust(width)
            for text, width, heading in zip(line, widths, HEADINGS, strict=True)
        ]
        lines.append("  ".join(texts).rstrip())
    return "\n".join(lines)


def _cells(row: Row) -> tuple[str, ...]:
    goal = row.goal
    if row.reached is not None:
        goal = f"{'reached' if row.reached else 'MISSED'}: {goal}"
    return (
        row.figure,
        row.unit,
        _number(row.ours),
        _number(row.baseline),
        "" if row.times is None else f"{row.times:.1f} x",
        _number(row.limit),
        "" if row.of_limit is None else f"{100 * row.of_limit:.0f} %",
        goal,
    )


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
