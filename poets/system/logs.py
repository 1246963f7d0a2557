"""The log lines of programs: where they go, and how they look."""

import logging
import sys

FORMAT = "[%(asctime)s|%(name)s|%(levelname)s]: %(message)s"


def log_to_stderr() -> None:
    """Sends log lines to stderr unless the host has set up logging."""
    root = logging.getLogger()
    if not root.handlers:
        logging.basicConfig(stream=sys.stderr, format=FORMAT, level=logging.INFO)
    # It warns if there is no home folder, which does not matter here.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
