"""Charts as SVG elements that take their colours from the page's style sheet.

pygal puts a style sheet and a script into each chart. Both are removed: the classes
that are left are styled in page.css, for light, dark and paper.
"""

import math
import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pygal
from markupsafe import Markup

from poets.head.reject import Answered
from poets.report.findings.calibration import ScoreBin
from poets.report.findings.curves import Curves
from poets.report.findings.more_images import LearningCurve
from poets.report.page import percent

# pygal adds an import hook of Python 2 for maps, at which Python 3.10 and 3.11 warn.
sys.meta_path[:] = [
    hook for hook in sys.meta_path if not isinstance(hook, pygal.PluginImportFixer)
]

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 440, 264
"""Small, so that the texts of a chart that is scaled to a telephone can be read."""

_UNWANTED = re.compile(
    r"<defs>.*?</defs>|<!--.*?-->|<title>.*?</title>|<desc.*?</desc>| id=\"[^\"]*\""
    r"|<g [^>]*class=\"plot tooltip-overlay\">.*?</g></g></g>",
    re.DOTALL,
)
_LONG_NUMBER = re.compile(r"(\d+\.\d)\d+")


def accuracy_curve(curves: Curves) -> Markup:
    """Draws the accuracy over the steps: of the batches, and of validation images."""
    train = [(each.step, each.train_accuracy) for each in curves.points]
    validation = [(each.step, each.accuracy) for each in curves.points]
    return _chart(
        f"Accuracy over {curves.steps:,} steps; the last validation accuracy is "
        f"{percent(validation[-1][1])}",
        [train, validation],
        x=_ticks(validation[-1][0]),
    )


def entropy_curve(curves: Curves) -> Markup:
    """Draws the cross entropy over the steps."""
    train = [(each.step, each.train_entropy) for each in curves.points]
    validation = [(each.step, each.entropy) for each in curves.points]
    return _chart(
        f"Cross entropy over {curves.steps:,} steps; the last of validation is "
        f"{validation[-1][1]:.3f}",
        [train, validation],
        x=_ticks(validation[-1][0]),
        y=_ticks(max(y for _, y in [*train, *validation])),
    )


def calibration(bins: Sequence[ScoreBin], title: str) -> Markup:
    """Draws the accuracy over the score, beside the line where both are equal."""
    known = [
        (each.score, each.accuracy)
        for each in bins
        if each.score is not None and each.accuracy is not None
    ]
    return _chart(title, [[(0, 0), (1, 1)], known], x=_shares(0), dots=[1])


def coverage(curve: Sequence[Answered], chosen: Answered | None) -> Markup:
    """Draws the accuracy over the share of images that is answered."""
    points = [(c.coverage, c.accuracy) for c in curve if c.accuracy is not None]
    marked = [(chosen.coverage, chosen.accuracy or 0.0)] if chosen else []
    return _chart(
        "Accuracy over the share of pictures that get an answer",
        [[], points, marked],
        x=_shares(0),
        dots=[2],
    )


def learning(curve: LearningCurve) -> Markup:
    """Draws the accuracy over the number of training images, and its continuation."""
    points = [(p.images, p.accuracy) for p in curve.points]
    first, last = points[0][0], points[-1][0]
    law = [
        (images, 1 - (curve.a * images**-curve.b + curve.c))
        for images in np.linspace(first, 2 * last, 41).tolist()
    ]
    return _chart(
        f"Accuracy over the number of training pictures; {percent(curve.with_twice)} "
        f"expected for {2 * last:,}",
        [law, points],
        x=_ticks(2 * last),
        dots=[1],
    )


def _chart(
    title: str,
    lines: Sequence[Points],
    x: Sequence[tuple[float, str]],
    y: Sequence[tuple[float, str]] = (),
    dots: Sequence[int] = (),
) -> Markup:
    """Returns an SVG element.

    Args:
      title: for screen readers.
      lines: points of each line, in the order of the colours.
      x, y: place and text of each tick of an axis; y is one of shares if not given.
      dots: the lines whose points are shown.
    """
    lowest = min((share for line in lines for _, share in line), default=0.0)
    y = y or _shares(max(0.0, lowest))
    chart = pygal.XY(
        css=(),
        js=(),
        disable_xml_declaration=True,
        no_prefix=True,
        width=WIDTH,
        height=HEIGHT,
        margin=4,
        margin_right=14,
        spacing=6,
        dots_size=3,
        show_dots=False,
        show_legend=False,
        show_x_guides=False,
        xrange=(x[0][0], x[-1][0]),
        range=(y[0][0], y[-1][0]),
    )
    chart.x_labels = [{"value": value, "label": label} for value, label in x]
    chart.y_labels = [{"value": value, "label": label} for value, label in y]
    for number, points in enumerate(lines):
        chart.add(str(number), list(points), show_dots=number in dots)
    svg: Any = chart.render()
    svg = _LONG_NUMBER.sub(r"\1", _UNWANTED.sub("", svg))
    start = Markup('<svg role="img" aria-label="{}"').format(title)
    return start + Markup(svg.removeprefix("<svg"))


def _shares(lowest: float) -> list[tuple[float, str]]:
    """Returns ticks from a round share below the lowest one to 1."""
    step = 0.25 if lowest < 0.5 else 0.1 if lowest < 0.8 else 0.05
    first = int(lowest / step) * step
    count = round((1 - first) / step)
    places = [1 - step * k for k in range(count, -1, -1)]
    return [(place, f"{100 * place:.0f}%") for place in places]


def _ticks(last: float) -> list[tuple[float, str]]:
    """Returns three to six round ticks from 0 to `last` or beyond."""
    span = max(last, 1e-9)
    unit = 10.0 ** math.floor(math.log10(span))
    steps = (unit * each for each in (0.2, 0.25, 0.5, 1, 2))
    step = next(each for each in steps if span <= 5 * each)
    count = math.ceil((span - 1e-9) / step)
    return [(step * k, f"{step * k:,.10g}") for k in range(count + 1)]
