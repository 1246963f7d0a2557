"""Near-duplicates are found by bottlenecks and decided by pixels."""

import hashlib
import itertools

import numpy as np
import pytest

from poets.data.dataset import Dataset
from poets.data.image_columns import Image, Images
from poets.errors import StorageError
from poets.features import near_duplicates, neighbours
from poets.features.near_duplicates import find_copies
from poets.features.neighbours import closest_pairs
from poets.head.examples import Examples
from tests.photographs import COPIES, as_jpeg, photograph


@pytest.fixture
def folder(tmp_path):
    """Writes pictures, and returns what `find_copies` takes.

    Images whose pictures have the same number have similar bottlenecks.
    """

    def write(files, noise=0.1, lost=()):
        random = np.random.default_rng(0)
        centres = random.standard_normal((100, 32)).astype(np.float32)
        bottlenecks, digests = [], []
        (tmp_path / "a").mkdir()
        for row, (number, data) in enumerate(files):
            if row not in lost:
                (tmp_path / "a" / f"{row:03d}.jpg").write_bytes(data)
            bottlenecks.append(centres[number] + noise * random.standard_normal(32))
            digests.append(hashlib.sha256(data).digest())
        images = Images.of(
            Image(f"a/{row:03d}.jpg", "a", len(data), 0)
            for row, (_, data) in enumerate(files)
        )
        dataset = Dataset(str(tmp_path), ("a",), ("a",), images)
        labels = np.zeros(len(files), np.int32)
        examples = Examples(np.array(bottlenecks, np.float32).reshape(-1, 32), labels)
        return dataset, examples, np.array(digests, "S32")

    return write


def originals(count):
    return [(number, as_jpeg(photograph(number))) for number in range(count)]


def groups(copies):
    return [group.tolist() for group in copies.groups]


def test_copies_of_every_kind_are_one_group(folder):
    kinds = [(3, make(photograph(3))) for make in COPIES.values()]
    found = find_copies(*folder(originals(10) + kinds), seed=0)
    assert groups(found) == [[3, *range(10, 16)]]


def test_similar_bottlenecks_of_other_pictures_are_no_copies(folder):
    files = [(0, as_jpeg(photograph(number))) for number in range(4)] + originals(8)[4:]
    found = find_copies(*folder(files), seed=0)
    assert found.compared
    assert groups(found) == []


def test_files_of_equal_content_are_copies_though_their_bottlenecks_are_not(folder):
    data = as_jpeg(photograph(0))
    found = find_copies(*folder([(0, data), *originals(4)[1:], (50, data)]), seed=0)
    assert groups(found) == [[0, 4]]


@pytest.mark.parametrize("count", [1, 2])
def test_few_images_have_no_copies(folder, count):
    assert groups(find_copies(*folder(originals(count)), seed=0)) == []


def test_a_lost_or_damaged_picture_has_no_copies(folder):
    files = [*originals(4), (0, COPIES["mirrored"](photograph(0)))]
    files += [(1, b"damaged"), (2, COPIES["mirrored"](photograph(2)))]
    assert groups(find_copies(*folder(files, lost=[0]), seed=0)) == [[2, 6]]


def test_an_outage_of_the_storage_is_an_error(folder, monkeypatch):
    arguments = folder([*originals(4), (0, COPIES["mirrored"](photograph(0)))])
    error = TimeoutError("no answer")
    monkeypatch.setattr("poets.data.source.FileReads.add", lambda self, images: None)

    def take(self):
        raise error

    monkeypatch.setattr("poets.storage.reading.Reads.take", take)
    with pytest.raises(StorageError, match="no answer"):
        find_copies(*arguments, seed=0)


def test_only_the_closest_pairs_are_compared(folder, monkeypatch):
    monkeypatch.setattr(near_duplicates, "MOST_PAIRS", 2)
    copies = [(n, COPIES["mirrored"](photograph(n))) for n in range(4)]
    found = find_copies(*folder(originals(6) + copies), seed=0)
    assert (found.compared, found.left_out, len(found.groups)) == (2, 2, 2)


def test_a_split_is_worth_more_comparisons(folder, monkeypatch):
    monkeypatch.setattr(near_duplicates, "MOST_PAIRS", 2)
    copies = [(n, COPIES["mirrored"](photograph(n))) for n in range(4)]
    found = find_copies(*folder(originals(6) + copies), seed=0, thorough=True)
    assert (found.compared, found.left_out, len(found.groups)) == (4, 0, 4)


def made_up(count, pairs, size=40, noise=0.2):
    """Returns examples of which `pairs` are alike: the first and the last ones."""
    random = np.random.default_rng(1)
    rows = random.standard_normal((count, size)).astype(np.float32)
    rows[count - pairs :] = rows[:pairs] + noise * rows[pairs : 2 * pairs]
    return Examples(rows, np.zeros(count, np.int32))


def test_pairs_come_by_cosine_each_once():
    examples = made_up(300, 20)
    pairs, left_out = closest_pairs(examples, 0.7, 1000, seed=0)
    assert sorted(pairs.tolist()) == [[k, 280 + k] for k in range(20)]
    assert left_out == 0
    rows = examples.bottlenecks - examples.bottlenecks.mean(axis=0)
    rows /= examples.bottlenecks.std(axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = [rows[one] @ rows[other] for one, other in pairs]
    assert all(one >= other - 1e-4 for one, other in itertools.pairwise(cosines))


def test_most_pairs_are_found_in_the_cells_of_many_images(monkeypatch):
    monkeypatch.setattr(neighbours, "FEW", 500)
    monkeypatch.setattr(neighbours, "CELL", 100)
    pairs, _ = closest_pairs(made_up(3000, 200), 0.7, 1000, seed=0)
    expected = {(k, 2800 + k) for k in range(200)}
    assert {tuple(pair) for pair in pairs.tolist()} <= expected
    assert len(pairs) >= 160


def test_very_many_equal_images_are_found_in_pieces(monkeypatch):
    monkeypatch.setattr(neighbours, "FEW", 500)
    monkeypatch.setattr(neighbours, "CELL", 50)
    monkeypatch.setattr(neighbours, "MAX_CELL", 200)
    rows = np.repeat(np.eye(2, 8, dtype=np.float32), 1000, axis=0)
    examples = Examples(rows, np.zeros(2000, np.int32))
    pairs, left_out = closest_pairs(examples, 0.7, 300, seed=0)
    assert len(pairs) == 300
    assert left_out > 1000
    assert all(one // 1000 == other // 1000 for one, other in pairs.tolist())


def test_equal_seeds_find_equal_pairs(monkeypatch):
    monkeypatch.setattr(neighbours, "FEW", 500)
    examples = made_up(2000, 100)
    one, other = (closest_pairs(examples, 0.6, 50, seed=3)[0] for _ in range(2))
    assert np.array_equal(one, other)


def test_of_very_many_images_a_sample_is_searched(folder, monkeypatch):
    monkeypatch.setattr(near_duplicates, "MOST_SEARCHED", 4)
    twin = originals(1)  # the same content is found without a search
    found = find_copies(*folder(originals(10) + twin), seed=0)
    assert (found.searched, groups(found)) == (4, [[0, 10]])
    assert found.compared <= 6
