"""Suppresses what libraries print regardless of the program's wishes."""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Captures what is written to file descriptor 2; prints it after an exception.

    This includes the output of other threads: keep the body short.
    """
    sys.stderr.flush()
    with _scratch() as captured:
        stderr = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            yield
        except BaseException:
            captured.seek(0)
            os.write(stderr, captured.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


@contextlib.contextmanager
def unconfigured_logging() -> Iterator[None]:
    """Keeps libraries from setting up logging where the program has not.

    TensorFlow logs by functions of absl, which call `logging.basicConfig` if the root
    logger has no handler: all our lines would be printed from then on. In the block it
    has Python's handler of last resort, for warnings and errors.
    """
    root, handler = logging.getLogger(), logging.lastResort
    if root.handlers or handler is None:
        yield
        return
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def _scratch() -> BinaryIO:
    """Returns a file; in memory where possible, since all folders may be read-only."""
    if hasattr(os, "memfd_create"):  # Linux
        return open(os.memfd_create("stderr"), "w+b")
    return tempfile.TemporaryFile()
