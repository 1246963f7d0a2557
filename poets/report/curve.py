"""Plots accuracy over training steps, in the terminal or as a PNG.

    100% ┤            ⣀⡠⠤⠒⠉⠉
         ┤     ·  ⡠⠔⠊⠁
     50% ┤  · ⡠⠊
         └──────────────────
          0              499      ⠒ validation   · train

The terminal plot needs only the standard library. The PNG needs matplotlib, which is
imported on first use.
"""

import importlib.util
import io
import math
import warnings
from collections.abc import Sequence
from typing import Any

from poets.errors import ConfigError
from poets.report.worker_log import LoggedRun, LoggedStep

Points = Sequence[tuple[int, float]]  # step, accuracy as a fraction

MIN_WIDTH = 24
MAX_WIDTH = 120
HEIGHT = 11  # rows of the plot; odd, so that the middle row has a label
MAX_PLOTTED_POINTS = 500  # per line; more would hide it in noise
MAX_PLOTTED_RUNS = 10  # matplotlib's default colour cycle has ten colours
BRAILLE = 0x2800
# Bits of the dots of a braille character, by row and column (Unicode 3.0).
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))

UNICODE, ASCII = tuple("⠒·┤└─"), tuple("*.|+-")
"""Characters of the terminal plot: line, point, side, corner, floor. With UNICODE,
lines are drawn in braille, and the first character is that of the legend."""


def glyphs_for(encoding: str | None) -> tuple[str, ...]:
    """Returns the characters that a stream of this encoding can show."""
    try:
        "".join(UNICODE).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def finite_points(steps: Sequence[LoggedStep], name: str) -> list[tuple[int, float]]:
    """Returns the points of a field of `LoggedStep`, without None, NaN and infinity."""
    points = ((step.step, getattr(step, name)) for step in steps)
    return [(x, y) for x, y in points if y is not None and math.isfinite(y)]


def terminal_curve(
    train: Points, validation: Points, width: int, glyphs: Sequence[str] = UNICODE
) -> str:
    """Returns the plot as lines of text, "" for fewer than two steps.

    Train accuracies are shown as dots, those of validation as a line, in a terminal
    `width` columns wide. Both are sorted by step.
    """
    points = [*train, *validation]
    if len({x for x, _ in points}) < 2:
        return ""
    columns = max(MIN_WIDTH, min(width, MAX_WIDTH)) - 7  # 7 for the axis
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    bottom, top = _axis([y for _, y in points])

    mark, point, side, corner, floor = glyphs
    braille = glyphs == UNICODE
    dots = (2, 4) if braille else (1, 1)  # of a character: across, down
    rows = [[" "] * columns for _ in range(HEIGHT)]
    for x, y in _bins(train, first, last, columns):
        rows[_row(y, bottom, top, HEIGHT)][x] = point
    cells: dict[tuple[int, int], int] = {}
    line = [
        (x, _row(y, bottom, top, HEIGHT * dots[1]))
        for x, y in _bins(validation, first, last, columns * dots[0])
    ]
    for x, y in _joined(line):
        cell = y // dots[1], x // dots[0]
        cells[cell] = cells.get(cell, 0) | DOTS[y % dots[1]][x % dots[0]]
    for (row, column), bits in cells.items():
        rows[row][column] = chr(BRAILLE + bits) if braille else mark

    lines = []
    for index, characters in enumerate(rows):
        share = top - (top - bottom) * index / (HEIGHT - 1)
        name = f"{100 * share:.0f}%" if index % (HEIGHT // 2) == 0 else ""
        lines.append(f"{name:>5} {side}{''.join(characters)}".rstrip())
    lines.append(f"{'':5} {corner}{floor * columns}")
    left = str(first)
    lines.append(f"{'':7}{left}{last:>{columns - len(left)}}")
    lines.append(f"{'':7}{mark} validation  {point} train")
    return "\n".join(lines)


def _axis(values: Sequence[float]) -> tuple[float, float]:
    """Returns the ends of the vertical axis: whole tenths around the values."""
    bottom = math.floor(min(values) * 10 + 1e-9) / 10
    top = math.ceil(max(values) * 10 - 1e-9) / 10
    return (bottom, top) if top > bottom else (bottom - 0.1, top + 0.1)


def _row(value: float, bottom: float, top: float, rows: int) -> int:
    """Returns the row of a value, 0 at the top."""
    return round((top - value) / (top - bottom) * (rows - 1))


def _bins(points: Points, first: int, last: int, columns: int) -> Points:
    """Returns the mean of the points of each column that has any."""
    sums: dict[int, tuple[float, int]] = {}
    for x, y in points:
        column = round((x - first) / (last - first) * (columns - 1))
        total, count = sums.get(column, (0.0, 0))
        sums[column] = total + y, count + 1
    return [(column, total / count) for column, (total, count) in sums.items()]


def _joined(points: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns the dots of the straight lines from each point to the next."""
    dots = list(points[:1])
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        length = max(abs(x1 - x0), abs(y1 - y0))
        for k in range(1, length + 1):
            dots.append(
                (x0 + round((x1 - x0) * k / length), y0 + round((y1 - y0) * k / length))
            )
    return dots


def can_plot() -> bool:
    """Returns whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def require_matplotlib() -> None:
    """Raises a ConfigError unless `can_plot`."""
    if not can_plot():
        raise ConfigError(
            "cannot draw a plot: matplotlib is not installed; pip install 'poets[plot]'"
        )


def plot_png(runs: Sequence[tuple[str, LoggedRun]]) -> bytes:
    """Returns a PNG: accuracy above, cross entropy below, over the steps.

    The final test accuracy is a diamond with its 95 % interval at the last step.

    Args:
      runs: name and run; the first 10 that have steps are drawn.

    Raises:
      ConfigError: if matplotlib is missing.
    """
    require_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

    drawn = [(name, run) for name, run in runs if run.steps][:MAX_PLOTTED_RUNS]
    figure = Figure(figsize=(9, 6.5), dpi=120, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for index, (name, run) in enumerate(drawn):
        _draw_run(above, below, run, f"C{index}", name if len(drawn) > 1 else "")
    title = drawn[0][0] if len(drawn) == 1 else f"{len(drawn)} runs, train pale"
    above.set_title(title if drawn else "no training steps", parse_math=False)
    above.set_ylabel("accuracy")
    above.yaxis.set_major_formatter(PercentFormatter(1.0))
    below.set_ylabel("cross entropy")
    below.set_xlabel("step")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    below.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    below.set_ylim(bottom=0)
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    if drawn:
        legend = above.legend(loc="best", fontsize="small", frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)  # a file name may contain dollar signs
    return png_of(figure)


def png_of(figure: Any) -> bytes:
    """Returns a figure of matplotlib as PNG."""
    png = io.BytesIO()
    with warnings.catch_warnings():  # the font may lack characters of a name
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(png, format="png")
    return png.getvalue()


def _draw_run(above: Any, below: Any, run: LoggedRun, colour: str, name: str) -> None:
    """Draws one run in one colour into the two axes; `name` is "" for a single run."""
    interval = run.test_interval_95
    test = f"test {100 * (run.test_accuracy or 0):.1f}% (N={run.test_n})"
    labels = ["train", "validation", test]
    if name:  # one entry per run; the legend omits labels that begin with "_"
        labels = ["_train", f"validation, {name}", "_test"]
        labels[1] += f", {test}" if interval else ""
    mark = "." if len(run.steps) < 3 else None  # a line needs two points to be seen
    style = {"color": colour, "marker": mark}
    above.plot(*_line(run, "train_accuracy"), **style, alpha=0.4, lw=1, label=labels[0])
    above.plot(*_line(run, "validation_accuracy"), **style, lw=1.8, label=labels[1])
    below.plot(*_line(run, "cross_entropy"), **style, lw=1.5)
    if run.test_accuracy is not None and interval is not None:
        x, y = run.steps[-1].step, run.test_accuracy
        errors = [[max(0.0, y - interval[0])], [max(0.0, interval[1] - y)]]
        dark, test = colour if name else "black", labels[2]
        above.errorbar([x], [y], errors, c=dark, fmt="D", ms=5, capsize=4, label=test)


def _line(run: LoggedRun, name: str) -> tuple[list[float], list[float]]:
    """Returns steps and values to plot; averages neighbours if there are too many."""
    points = finite_points(run.steps, name)
    size = math.ceil(len(points) / MAX_PLOTTED_POINTS)
    groups = [points[k : k + size] for k in range(0, len(points), max(1, size))]
    xs = [sum(x for x, _ in group) / len(group) for group in groups]
    return xs, [sum(y for _, y in group) / len(group) for group in groups]
