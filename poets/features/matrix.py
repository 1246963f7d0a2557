"""Room for the features of all images, in memory or beyond it.

A matrix that would take a large share of the memory is a file without a name, mapped:
the kernel keeps as much of it in memory as there is room for and writes the rest to
the disk, so that a data set is bounded by the disk of the temporary folder.
"""

import mmap
import os
import tempfile

import numpy as np

from poets.system.machine import memory_bytes

SHARE_OF_MEMORY = 1 / 4
"""A matrix may hold so much of the machine's memory, or of its container's."""

ALIGNMENT = 64
"""TensorFlow's kernels use memory in place from here on (EIGEN_MAX_ALIGN_BYTES)."""


def empty_matrix(rows: int, columns: int) -> np.ndarray:
    """Returns an uninitialised float32 matrix that TensorFlow can use in place.

    Raises:
      OSError: if it needs a file and there is no room for it.
    """
    size = rows * columns * 4
    if size > SHARE_OF_MEMORY * memory_bytes():
        memory = np.frombuffer(_mapped(size), np.uint8)
    else:
        memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(np.float32).reshape(rows, columns)


def _mapped(size: int) -> mmap.mmap:
    """Returns memory of a file that is gone when nobody uses it any more."""
    with tempfile.TemporaryFile(prefix="poets-features-") as file:
        if hasattr(os, "posix_fallocate"):  # not on macOS
            os.posix_fallocate(file.fileno(), 0, size)  # or the disk is full later on
        else:
            file.truncate(size)
        return mmap.mmap(file.fileno(), size)
