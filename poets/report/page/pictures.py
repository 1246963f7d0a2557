"""Small pictures inside a page.

    while it is rendered: picture(path) ──> a mark in the text, the path is noted
    then: read, IN_FLIGHT at once ──> thumbnails ──> each mark becomes an <img>

Pictures are thus read together, and only the template decides which ones it shows. They
are read in the order of the page until one of the limits is reached.
"""

import base64
import logging
import re
import time
from collections.abc import Iterator

from markupsafe import Markup, escape

from poets.data.dataset import Dataset
from poets.data.images import ImageError, thumbnail
from poets.storage import reason, without_keys
from poets.storage.reading import is_of_one_file

logger = logging.getLogger(__name__)

SIDE_PX = 128
MAX_BYTES = 4_000_000
"""Of all pictures of a page, in base64; a page has at most 5 MB."""

MAX_SECONDS = 30.0
"""A run does not wait longer for the pictures of its report."""

_MARK = re.compile(r"<!--picture (\d+)-->")  # `<` is escaped in all other texts
_PROBLEM = "<!--pictures-->"


class Pictures:
    """The pictures of one page.

    Attributes:
      problem: the mark of a sentence on missing pictures, which `fill` replaces.
    """

    problem = Markup(_PROBLEM)

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._paths: list[str] = []

    def picture(self, path: str) -> Markup:
        """Returns the mark that `fill` replaces by a picture of the data set."""
        self._paths.append(path)
        return Markup(f"<!--picture {len(self._paths) - 1}-->")

    def fill(self, page: str) -> str:
        """Returns a rendered page with its pictures."""
        found: dict[str, str] = {}
        problem, used = "", 0
        paths = list(dict.fromkeys(self._paths))
        try:
            found.update(self._elements(paths))
        except OSError as error:
            problem = (
                f"Pictures are missing: {without_keys(self._dataset.image_dir)} cannot "
                f"be read ({reason(error)})."
            )
            logger.warning("%s", problem)

        def element(match: re.Match[str]) -> str:
            nonlocal used
            path = self._paths[int(match[1])]
            picture = found.get(path, "")
            if used + len(picture) > MAX_BYTES:
                picture = ""
            used += len(picture)
            return picture or '<span class="absent">no picture</span>'

        filled = _MARK.sub(element, page)
        return filled.replace(_PROBLEM, str(escape(problem)))

    def _elements(self, paths: list[str]) -> Iterator[tuple[str, str]]:
        """Yields paths and their <img>, as long as time and size allow.

        Raises:
          OSError: if no picture can be read now.
        """
        end, size = time.monotonic() + MAX_SECONDS, 0
        absent = 0
        for path, data in zip(paths, self._dataset.read(paths), strict=True):
            if isinstance(data, ImageError):
                continue
            if isinstance(data, OSError):
                absent += 1
                if not is_of_one_file(data) or absent == len(paths):
                    raise data
                continue
            try:
                jpeg, width, height = thumbnail(data, SIDE_PX)
            except ImageError as error:
                logger.debug("no picture of %s: %s", path, error)
                continue
            element = (
                f'<img alt="{escape(path)}" width="{width}" height="{height}" src="'
                f'data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">'
            )
            size += len(element)
            yield path, element
            if size > MAX_BYTES or time.monotonic() > end:
                return
