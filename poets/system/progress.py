"""Reports progress, and messages about many files, without flooding the log."""

import contextlib
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence

logger = logging.getLogger(__name__)

LINE_EVERY_S = 5.0
MOST_LINES = 20


@contextlib.contextmanager
def track(
    total: int, what: str, unit: str = "images"
) -> Iterator[Callable[[int], None]]:
    """Yields a function to call with the number of units just done, of `total`."""
    if sys.stderr.isatty() or "ipykernel" in sys.modules:
        with warnings.catch_warnings():  # without ipywidgets the bar is text
            warnings.filterwarnings("ignore", message="IProgress not found")
            from tqdm.auto import tqdm  # takes 0.1 s, only needed for a bar

        with tqdm(total=total, desc=what, unit=f" {unit}", leave=False) as bar:
            yield lambda count: bar.update(count)
        return
    started = logged = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, logged
        done += count
        now = time.monotonic()
        if now - logged >= LINE_EVERY_S and 0 < done < total:
            logged = now
            rate = done / (now - started)
            logger.info(
                "%s: %d of %d %s, %.0f a second, %.0f s to go",
                what,
                done,
                total,
                unit,
                rate,
                (total - done) / rate,
            )

    yield advance


def log_some(log: Callable[..., None], lines: Sequence[str], more: str) -> None:
    """Logs at most MOST_LINES lines of a kind, then the number of the others.

    Args:
      log: a method of a logger, such as `logger.warning`.
      lines: all of one kind.
      more: what the others are and where they are listed, such as "more images
        skipped: see skipped_images.csv".
    """
    for line in lines[:MOST_LINES]:
        log("%s", line)
    if len(lines) > MOST_LINES:
        log("%d %s", len(lines) - MOST_LINES, more)
