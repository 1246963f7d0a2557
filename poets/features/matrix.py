"""Allocates the matrix of all images' features, in memory or on disk.

A matrix that would take a large share of the memory is a mapped, unnamed temporary
file: the kernel keeps as much of it in memory as fits and writes the rest to the disk.
The size of a data set is limited by the disk of the temporary folder.
"""

import mmap
import os
import tempfile

import numpy as np

from poets.system.machine import memory_bytes

SHARE_OF_MEMORY = 1 / 4
"""Largest share of the machine's or container's memory for a matrix in memory."""

ALIGNMENT = 64
"""Bytes; TensorFlow uses memory so aligned in place (EIGEN_MAX_ALIGN_BYTES)."""


def empty_matrix(rows: int, columns: int) -> np.ndarray:
    """Returns an uninitialised float32 matrix that TensorFlow can use in place.

    Raises:
      OSError: if it needs a file and the disk is full.
    """
    size = rows * columns * 4
    if size > SHARE_OF_MEMORY * memory_bytes():
        memory = np.frombuffer(_mapped(size), np.uint8)
    else:
        memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(np.float32).reshape(rows, columns)


def _mapped(size: int) -> mmap.mmap:
    """Returns the memory of a temporary file that vanishes when it is unused."""
    with tempfile.TemporaryFile(prefix="poets-features-") as file:
        if hasattr(os, "posix_fallocate"):  # not on macOS
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk fails here
        else:
            file.truncate(size)
        return mmap.mmap(file.fileno(), size)
