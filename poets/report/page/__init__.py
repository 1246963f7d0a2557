"""How pages look: templates, one style sheet, charts, small pictures.

    context ──> templates/*.html ──> one file: no script, no request, no font
                page.css             light and dark, for screens and paper

A Content-Security-Policy in the page allows its style sheet, by digest, and pictures
inside the file. All texts are escaped.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from poets import __version__

HERE = Path(__file__).parent


def render(template: str, **context: Any) -> str:
    """Returns a page: a file of templates/, filled with the variables of `context`."""
    css = (HERE / "page.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    page = _environment().get_template(template)
    return page.render(css=css, policy=policy, poets=__version__, **context)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "count": count,
        "interval": lambda ends: " to ".join(map(percent, ends)),
        "size": size,
    }
    return environment


def count(number: int, noun: str = "") -> str:
    """Returns a number as people read it, with the singular or plural of a noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}" if noun else f"{number:,}"


def percent(share: float | None) -> str:
    """Returns a share, 0 to 1, as people read it; "–" for None."""
    if share is None:
        return "–"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return "<0.1%" if 0 < share < 0.0005 else f"{100 * share:.1f}%"


def size(size_bytes: int | None) -> str:
    """Returns a file's size as people read it; "–" for None."""
    if size_bytes is None:
        return "–"
    for unit, scale in ("MB", 10**6), ("kB", 10**3):
        if size_bytes >= scale:
            return f"{size_bytes / scale:.1f} {unit}"
    return f"{size_bytes} bytes"
