"""Labels that are probably wrong are found, and right ones are left alone."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from poets.head import held_out
from poets.report.findings.doubtful_labels import LISTED, compute
from tests.report.evidence import clusters, evidence


def flipped(counts, rows, **options):
    """Returns evidence in which the labels of some rows are the next ones."""
    bottlenecks, label_indices = clusters(counts, **options)
    label_indices[rows] = (label_indices[rows] + 1) % len(counts)
    return evidence(bottlenecks, label_indices)


@pytest.mark.parametrize("sample", [held_out.SAMPLE, 90])
def test_flipped_labels_are_listed_first_with_their_true_label(monkeypatch, sample):
    monkeypatch.setattr(held_out, "SAMPLE", sample)
    rows = [3, 33, 63, 64, 120]
    found = compute(flipped([60, 60, 60], rows))
    assert found.images == 180
    assert 4 <= found.count <= 5
    assert {int(each.path[2:7]) for each in found.found[:5]} == set(rows)
    assert sum(each.probably_wrong for each in found.found[:5]) == found.count
    first = {int(each.path[2:7]): each for each in found.found}[33]
    assert (first.label, first.suggested) == ("b", "a")
    assert first.suggested_score > first.label_score


def test_right_labels_are_not_doubted():
    found = compute(flipped([40, 40], []))
    assert (found.count, found.found) == (0, ())
    assert found.accuracy == 1


def test_a_label_with_too_few_images_is_not_judged():
    found = compute(flipped([40, 40, 2], []))
    assert found.images == 80
    assert found.found == ()


@pytest.mark.parametrize("counts", [[1, 1], [2, 40]])
def test_without_two_labels_to_judge_there_is_no_section(counts):
    assert compute(flipped(counts, [])) is None


def test_the_csv_moves_those_that_are_probably_wrong():
    found = compute(flipped([60, 60, 60], [3, 33]))
    header, *rows = found.csv_rows()
    assert header[:5] == ("move", "path", "label", "suggested", "split")
    assert [row[0] for row in rows] == ["yes", "yes", "no", "no"]
    assert len(rows) == LISTED * found.count
    assert all(len(row) == len(header) for row in rows)


def test_the_section_is_json():
    found = compute(flipped([30, 30], [3]))
    assert json.loads(json.dumps(asdict(found)))["count"] == found.count


def test_equal_seeds_find_the_same(monkeypatch):
    monkeypatch.setattr(held_out, "SAMPLE", 50)
    some = flipped([60, 60], np.arange(5), spread=1.5)
    assert compute(some) == compute(some)
