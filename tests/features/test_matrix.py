"""A matrix of features takes its share of the memory, and the disk beyond that."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from poets.features import matrix
from poets.features.matrix import empty_matrix
from poets.system.runtime import tf

ROWS, COLUMNS = 1000, 7


@pytest.fixture(params=["in memory", "in a file"])
def anywhere(request, monkeypatch):
    """A machine with room for the matrix, or with too little of it."""
    room = 1 << 40 if request.param == "in memory" else 16 * ROWS * COLUMNS - 1
    monkeypatch.setattr(matrix, "memory_bytes", lambda: room)
    return request.param


def mapped_bytes():
    """Returns how much of this process is a file without a name."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    nameless = [line for line in lines if " rw-s " in line and "(deleted)" in line]
    spans = [line.split()[0].split("-") for line in nameless]
    return sum(int(end, 16) - int(start, 16) for start, end in spans)


def test_a_matrix_is_a_file_where_it_would_take_too_much_memory(anywhere):
    before = mapped_bytes()  # by what ran earlier in this process
    found = empty_matrix(ROWS, COLUMNS)
    mapped = mapped_bytes() - before
    assert (mapped >= found.nbytes) is (anywhere == "in a file")
    del found
    assert mapped_bytes() == before


def test_a_matrix_is_written_and_read_like_any_other(anywhere):
    values = np.random.default_rng(0).standard_normal((ROWS, COLUMNS)).astype("f4")
    found = empty_matrix(ROWS, COLUMNS)
    found[:] = values
    assert found.dtype == np.float32
    assert np.array_equal(found, values)
    assert np.array_equal(found[[5, 3]] @ found.T, values[[5, 3]] @ values.T)


def test_tensorflow_uses_a_matrix_in_place(anywhere):
    found = empty_matrix(ROWS, COLUMNS)
    found[:] = 1
    tensor = tf.experimental.dlpack.from_dlpack(found.__dlpack__())
    found[0, 0] = 5
    assert tensor[0, 0] == 5
    del found
    assert float(tf.reduce_sum(tensor)) == ROWS * COLUMNS + 4


@pytest.mark.parametrize("shape", [(0, 7), (7, 0), (1, 1)])
def test_a_matrix_may_be_small(shape):
    assert empty_matrix(*shape).shape == shape


def test_a_full_disk_is_reported_before_there_is_work(monkeypatch):
    def full(descriptor, start, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(matrix, "memory_bytes", lambda: 0)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left on device"):
        empty_matrix(ROWS, COLUMNS)
