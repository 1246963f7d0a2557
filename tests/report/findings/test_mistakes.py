"""The mistakes on the test images, the surest first."""

import numpy as np

from poets.report.findings import mistakes
from poets.report.findings.mistakes import compute
from tests.report.evidence import evidence

LABELS = np.array([0, 0, 1, 1, 1])
SCORES = np.array([[1, 3], [1, 2], [5, 1], [0, 9], [2, 1]], np.float32)


def test_the_surest_mistakes_are_listed_and_all_are_counted(monkeypatch):
    run = evidence(SCORES, LABELS, splits=["test"] * 4 + ["train"])
    found = compute(run)
    assert [each.path for each in found.found] == [
        "b/00002.jpg",
        "a/00000.jpg",
        "a/00001.jpg",
    ]
    assert (found.images, found.count) == (4, 3)
    monkeypatch.setattr(mistakes, "MOST_FOUND", 2)
    fewer = compute(run)
    assert (fewer.found, fewer.count) == (found.found[:2], 3)
