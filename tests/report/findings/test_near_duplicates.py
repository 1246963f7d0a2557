"""The section on near-duplicates: groups, leakage, accuracy without leaked images."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from poets.features.near_duplicates import Copies
from poets.report.findings.near_duplicates import compute
from tests.report.evidence import evidence

LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1])
SPLITS = ["train", "train", "test", "test", "train", "validation", "test", "test"]


def section(groups, predicted=LABELS, digests=None, splits=SPLITS):
    """Returns the section of eight images; the files get larger with their number."""
    some = evidence(np.eye(8), LABELS, splits=splits, digests=digests)
    groups = tuple(np.array(group) for group in groups)
    trained = replace(some.trained, copies=Copies(groups, len(LABELS), 5, 1))
    answers = replace(some.answers, predicted=np.array(predicted))
    return compute(replace(some, answers=answers, trained=trained))


def test_without_copies_nothing_leaks():
    found = section([])
    assert found.leaked == {"validation": 0, "test": 0}
    assert (found.groups, found.advice) == ((), "")
    assert found.test == found.test_without_leaked
    assert (found.images, found.compared, found.left_out) == (8, 5, 1)


def test_leaked_images_are_those_with_a_copy_in_training():
    found = section([[0, 2], [3, 7], [4, 5]])
    assert found.leaked == {"validation": 1, "test": 1}
    assert found.test.n == 4
    assert found.test_without_leaked.n == 3


def test_the_accuracy_without_leaked_images_is_advised_if_it_differs():
    found = section([[0, 2], [1, 3]], predicted=[0, 0, 0, 0, 1, 1, 1, 0])
    assert found.test.accuracy == 0.75
    assert found.test_without_leaked.accuracy == 0.5
    assert found.advice == (
        "2 of 4 test images have a near-duplicate in training; without them the test "
        "accuracy is 50.0% instead of 75.0%: --group_near_duplicates keeps them in one "
        "split"
    )
    assert section([[0, 2], [1, 3]]).advice == ""


def test_all_test_images_may_have_leaked():
    found = section([[0, 1, 2, 3, 4, 6, 7]])
    assert found.test_without_leaked.n == 0
    assert found.test_without_leaked.accuracy is None
    assert "without them there is no test" in found.advice


def test_leaks_come_first_then_groups_across_labels():
    found = section([[0, 1], [2, 6], [4, 7]])
    paths = [group.copies[0].path for group in found.groups]
    assert paths == ["b/00004.jpg", "a/00002.jpg", "a/00000.jpg"]


def test_the_csv_keeps_the_largest_file_of_each_group():
    found = section([[0, 1, 2]], digests=np.array([b"x"] * 8, "S32"))
    assert list(found.csv_rows()) == [
        ("move", "path", "group", "label", "split", "same_content"),
        ("yes", "a/00000.jpg", 1, "a", "train", "yes"),
        ("yes", "a/00001.jpg", 1, "a", "train", "yes"),
        ("no", "a/00002.jpg", 1, "a", "test", "yes"),
    ]


@pytest.mark.parametrize("groups", [[], [[0, 2]]])
def test_the_section_is_json(groups):
    assert json.loads(json.dumps(asdict(section(groups))))["count"] == len(groups)
