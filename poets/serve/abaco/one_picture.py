"""What the programs that classify one picture share: input, lines, exit codes.

Stdout has nothing but the answer, best first; all else goes to stderr:

    giant panda, panda, panda bear, coon bear, Ailuropoda melanoleuca (score = 0.89107)
"""

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from poets.classifier import best_labels, imagenet, load_classifier
from poets.classifier.fetch import fetch_content
from poets.config import MODEL_URL
from poets.data.image_files import ImageError
from poets.errors import PoetsError
from poets.report.threshold import reject_threshold, run_metrics
from poets.system.command_line import Parser
from poets.system.hosts import Hosts

Best = list[tuple[str, float]]
"""Labels and their scores, best first."""


def add_network_flags(parser: Parser) -> None:
    """Adds the flags for the place of ImageNet's network."""
    parser.add_argument(
        "--model_dir",
        default=imagenet.MODEL_DIR,
        help="folder of ImageNet's network and its label files, which are downloaded "
        "if absent (default: %(default)s)",
    )
    parser.add_argument(
        "--model_url",
        default=MODEL_URL,
        help="site of the download (default: %(default)s)",
    )


def fetch(name: str, url: str, allowed: Hosts | None) -> bytes:
    """Returns the content of an image; see `fetch_content`.

    Raises:
      ImageError: if the download fails; `name` is what gave the URL.
    """
    try:
        return fetch_content(url, allowed)
    except ImageError as error:
        why = str(error).removeprefix("cannot be fetched: ")
        raise ImageError(f"{name} was not downloaded: {why}") from error


def classify(model: str, data: bytes, count: int, reject: bool = False) -> Best:
    """Returns the best labels of the picture in an image file's content.

    With `reject`, it is (none) alone below the reject threshold of the model's run.

    Raises:
      ImageError: if the bytes are not an image.
      ModelError: if the model cannot be loaded, or has no threshold.
    """
    least = reject_threshold(run_metrics(model), model) if reject else 0.0
    classifier = load_classifier(model)
    return best_labels(classifier.labels, classifier.score(data), count, least)


def run_program(name: str, answer: Callable[[], Best]) -> NoReturn:
    """Prints the answer, or the reason why there is none, and exits.

    It skips the interpreter's shutdown, which takes half a second with TensorFlow.

    Args:
      name: the program's name in messages.
      answer: returns what to print, or raises PoetsError, ImageError or OSError.
    """
    # Process 1 of a container ignores signals without a handler.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os._exit(128 + number))
    logging.basicConfig(format=f"{name}: %(message)s", level=logging.INFO)
    try:
        lines = [f"{label} (score = {score:.5f})\n" for label, score in answer()]
        sys.stdout.buffer.write("".join(lines).encode())
        sys.stdout.flush()
        code = 0
    except (PoetsError, ImageError, OSError) as error:
        with contextlib.suppress(OSError):
            print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        code = getattr(error, "exit_code", 1)
    logging.shutdown()
    os._exit(code)
