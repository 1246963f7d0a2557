"""Renders the page of `poets compare`."""

from poets import __version__
from poets.report.comparison import Comparison
from poets.report.page import render


def compare_page(found: Comparison) -> bytes:
    """Returns the page, one file without scripts or requests."""
    page = render("compare.html", found=found, poets=__version__)
    return page.encode("utf-8", "replace")
