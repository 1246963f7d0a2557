"""Images that look like no other of their label."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from poets.report.findings import odd_images
from poets.report.findings.odd_images import compute
from tests.report.evidence import clusters, evidence


def with_odd_ones(counts, rows, **options):
    """Returns evidence in which some rows are far from everything, each elsewhere."""
    bottlenecks, label_indices = clusters(counts, **options)
    random = np.random.default_rng(9)
    bottlenecks[rows] = 4 * random.standard_normal((len(rows), bottlenecks.shape[1]))
    return evidence(bottlenecks, label_indices)


def numbers(found):
    return [int(each.path[2:7]) for each in found.found]


@pytest.mark.parametrize("most", [1000, 20])
def test_odd_images_come_first(monkeypatch, most):
    monkeypatch.setattr(odd_images, "MOST_COMPARED", most)
    monkeypatch.setattr(odd_images, "FEWEST_COMPARED", 10)
    rows = [0, 7, 70, 130]
    found = compute(with_odd_ones([60, 60, 60], rows))
    assert set(numbers(found)[:4]) == set(rows)
    assert (found.images, found.compared) == (180, min(most, 60))
    distances = [each.distance for each in found.found]
    assert distances == sorted(distances, reverse=True)


def test_projected_bottlenecks_find_the_same(monkeypatch):
    some = with_odd_ones([200, 200], [3, 250], size=400)
    monkeypatch.setattr(odd_images, "COMPARISONS", 100 * 400)
    found = compute(some)
    assert found.compared == 100
    assert set(numbers(found)[:2]) == {3, 250}


def test_an_image_of_another_label_is_odd_in_its_own():
    bottlenecks, label_indices = clusters([50, 50])
    label_indices[10] = 1
    assert numbers(compute(evidence(bottlenecks, label_indices)))[0] == 10


@pytest.mark.parametrize(("counts", "judged"), [([40, 9], 40), ([10, 40], 50)])
def test_a_label_with_too_few_images_is_not_judged(counts, judged):
    assert compute(with_odd_ones(counts, [])).images == judged


def test_without_a_label_to_judge_there_is_no_section():
    assert compute(with_odd_ones([9, 3], [])) is None


def test_equal_images_are_not_odd():
    found = compute(evidence(np.ones((30, 4)), np.arange(30) % 2))
    assert found.found == ()


def test_the_csv_moves_the_clearly_odd():
    found = compute(with_odd_ones([100, 100], [0, 150], spread=0.6, size=6))
    header, *rows = found.csv_rows()
    assert header == ("move", "path", "label", "split", "distance")
    assert [row[0] for row in rows[:2]] == ["yes", "yes"]
    assert {row[0] for row in rows} == {"yes", "no"}
    assert len(rows) <= odd_images.FOUND


def test_the_section_is_json():
    assert json.loads(json.dumps(asdict(compute(with_odd_ones([30], [3])))))["found"]
