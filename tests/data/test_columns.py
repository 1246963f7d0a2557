"""Columns give back what was added, from memory or from a file."""

import resource

import numpy as np
import pyarrow as pa
import pytest

from poets.data import columns
from poets.data.columns import Column, Texts, joined
from poets.errors import StorageError


@pytest.fixture(params=["memory", "disk"])
def _place(request, monkeypatch):
    if request.param == "disk":
        monkeypatch.setattr(columns, "IN_MEMORY", 1)


@pytest.mark.usefixtures("_place")
def test_a_column_grows_between_two_looks():
    column = Column(np.int32)
    assert column.array().tolist() == []
    column.append([1, 2])
    first = column.array()
    column.append(np.array([3], np.int64))
    assert (first.tolist(), column.array().tolist()) == ([1, 2], [1, 2, 3])
    assert column.array().dtype == np.int32


@pytest.mark.usefixtures("_place")
def test_texts_of_any_spelling_come_back():
    texts = Texts()
    assert texts.array().to_pylist() == []
    texts.append(["daisy/ä.jpg", ""])
    texts.append([])
    texts.append(pa.array(["left out", "☃", "b" * 300]).slice(1))
    assert texts.array().to_pylist() == ["daisy/ä.jpg", "", "☃", "b" * 300]
    texts.array().validate(full=True)


@pytest.mark.usefixtures("_place")
def test_parts_are_joined():
    assert joined([])[:] == b""
    assert joined([b"a", b"", b"bc"])[:] == b"abc"


def test_a_full_disk_is_named(monkeypatch):
    monkeypatch.setattr(columns, "IN_MEMORY", 1)
    column = Column(np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"temporary folder .*: File too large;"):
            column.append(np.zeros(2**16, np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
