"""Pictures of one content: counted, and reported where they matter."""

import numpy as np
import pytest

from poets.data.dataset import Dataset
from poets.data.duplicates import find_duplicates, report_duplicates
from poets.data.image_columns import Image, Images
from poets.data.split import TEST, TRAIN, VALIDATION, Splits


def found_in(*rows):
    """Returns the duplicates of rows (label, split, content)."""
    labels = sorted({label for label, _, _ in rows})
    images = Images.of(
        Image(f"{split}/{label}/{i}.jpg", label, 1, 0)
        for i, (label, split, _) in enumerate(rows)
    )
    dataset = Dataset("photos", tuple(labels), tuple(labels), images)
    contents = np.array([content for *_, content in rows], "S32")
    splits = Splits.of(split for _, split, _ in rows)
    return find_duplicates(dataset, splits, contents), splits


def test_no_images_have_no_duplicates():
    found, _ = found_in(("a", TRAIN, b"1"), ("b", TEST, b"2"))
    assert (found.count, found.across_labels) == (0, {})
    assert found.in_train == {VALIDATION: 0, TEST: 0}


def test_duplicates_are_counted_by_labels_and_by_splits():
    found, _ = found_in(
        *[("a", TRAIN, b"1"), ("b", TEST, b"1"), ("a", TEST, b"1")],
        *[("b", TRAIN, b"2"), ("a", VALIDATION, b"2")],
        *[("c", TEST, b"3"), ("c", VALIDATION, b"3"), ("c", TRAIN, b"4")],
        *[("c", TRAIN, b"5"), ("b", TRAIN, b"5"), ("a", TRAIN, b"5")],
    )
    assert found.count == 6
    assert found.across_labels == {("a", "b"): 2, ("a", "b", "c"): 1}
    assert found.in_train == {VALIDATION: 1, TEST: 2}
    assert found.to_json()[0] == {"folders": ["a", "b"], "contents": 2}


@pytest.mark.parametrize("own", [True, False])
def test_a_test_image_that_trains_too_is_reported_in_the_users_own_split(own, caplog):
    found, splits = found_in(
        *[("a", TRAIN, b"1"), ("a", TEST, b"1"), ("a", TEST, b"2")]
    )
    told = (
        "1 of 2 test images are training images, too: the test accuracy is too high; "
        "remove them from one of the folders"
    )
    assert report_duplicates(found, splits, own) == caplog.messages == [told] * own


@pytest.mark.parametrize(("pairs", "lines"), [(20, 20), (21, 21), (110, 21)])
def test_duplicates_of_many_labels_take_few_lines(pairs, lines, caplog):
    rows = [(f"{i:03}{k}", TRAIN, b"%d" % i) for i in range(pairs) for k in "ab"]
    found, splits = found_in(*rows)
    report_duplicates(found, splits, False)
    assert len(caplog.messages) == lines
    assert caplog.messages[0] == "1 pictures are in 000a and 000b with the same content"
    if pairs > 20:
        assert caplog.messages[-1] == (
            f"{pairs - 20} more groups of labels have pictures of the same content: "
            "see metrics.json"
        )
    assert len(found.to_json()) == pairs
