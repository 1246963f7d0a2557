"""A million images must fit: what one takes is counted here on a few thousand."""

import gc
import hashlib
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from poets.config import RetrainConfig
from poets.data import columns, image_columns, split
from poets.data.dataset import find_images
from poets.data.split import check_split, same_content, split_images
from poets.features import compute, index
from poets.features.compute import compute_bottlenecks
from poets.features.network import Network
from poets.features.process import Spec
from poets.features.store import Row, Store
from poets.head import PART, Head
from poets.head.examples import Examples
from tests.tasks import Cluster, check_same

COUNT, LABELS, SIZE, PART_ROWS = 4000, 4, 8, 256
PEAK_BYTES = 600
"""Of Python's objects for each image, at the worst moment."""
HELD_BYTES = 60
"""Of columns and matrix for each image, at the end."""


def feature(path):
    return np.frombuffer(hashlib.sha256(path.encode()).digest(), np.uint8)[:SIZE]


@pytest.fixture
def spec(tmp_path):
    """Many small files, and a store with a feature for each."""
    image_dir = tmp_path / "images"
    paths = [f"label-{i % LABELS}/{i:07d}.jpg" for i in range(COUNT)]
    for label in range(LABELS):
        (image_dir / f"label-{label}").mkdir(parents=True)
    for path in paths:
        (image_dir / path).write_bytes(b"x")
    network = Network(str(tmp_path / "store"), "litert", "", SIZE)
    spec = Spec(str(image_dir), (network,), None, False)
    store = Store(spec.store_url, SIZE)
    rows = [
        Row(
            *(image.path, "", image.length, image.mtime_ns),
            hashlib.sha256(image.path.encode()).digest(),
            None,
            feature(image.path).astype(np.float32),
        )
        for image in find_images(spec.image_dir).images
    ]
    np.random.default_rng(0).shuffle(rows)
    for start in range(0, COUNT, PART_ROWS):
        store.write_part(rows[start : start + PART_ROWS])
    return spec


class NoPool:
    """Nothing is left to compute."""

    @property
    def alone(self):
        return self


def test_an_image_takes_little_memory_from_the_listing_to_the_split(spec):
    held = pa.total_allocated_bytes()
    gc.collect()
    tracemalloc.start()
    try:
        dataset = find_images(spec.image_dir)
        found = compute_bottlenecks(dataset.images, spec, NoPool())
        splits = split_images(dataset, found.digests, RetrainConfig())
        check_split(dataset, splits)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak / COUNT < PEAK_BYTES
    assert (pa.total_allocated_bytes() - held) / COUNT < HELD_BYTES
    assert found.computed == 0
    expected = np.stack([feature(image.path) for image in dataset.images])
    assert np.array_equal(found.matrix, expected)


def test_columns_on_disk_are_those_in_memory(spec, monkeypatch):
    """More than a million images go through blocks and files."""

    def found():
        dataset = find_images(spec.image_dir)
        extraction = compute_bottlenecks(dataset.images, spec, NoPool())
        digests = extraction.digests.copy()
        digests[5::7] = digests[3]  # the same content
        splits = split_images(dataset, digests, RetrainConfig())
        some = dataset.images.take(np.arange(COUNT)[::-3])
        back = list(some.sorted()), list(some), some.smallest()
        groups = [each.tolist() for each in same_content(digests)]
        return list(dataset.images), splits.tolist(), groups, back, extraction

    *expected, first = found()
    for module in (image_columns, compute, index, split):
        monkeypatch.setattr(module, "BLOCK", 100)
    monkeypatch.setattr(columns, "IN_MEMORY", 1000)
    monkeypatch.setattr(split, "BINNED", 300)
    *again, second = found()
    assert again == expected
    assert len(again[2]) == 1
    assert np.array_equal(second.matrix, first.matrix)
    assert np.array_equal(second.digests, first.digests)


def test_scores_of_many_images_are_those_of_all_at_once():
    random = np.random.default_rng(0)
    head = Head(random.standard_normal((SIZE, 3), "f4"), np.zeros(3, "f4"))
    for count in (0, 1, PART, PART + 1, 2 * PART + 7):
        bottlenecks = random.standard_normal((count, SIZE), "f4")
        labels, scores = head.answers(bottlenecks)
        together = head.probabilities(bottlenecks) if count else np.zeros((0, 3), "f4")
        assert labels.tolist() == together.argmax(axis=1).tolist()
        np.testing.assert_allclose(scores, together.max(axis=1, initial=0), rtol=1e-6)


def test_parts_of_examples_are_all_of_them_in_order():
    count = 2 * PART + 3
    matrix = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    every = Examples(matrix, np.arange(count, dtype=np.int32))
    some = every.choose(np.arange(count)[::-2])
    for examples in (every, some):
        parts = list(examples.parts())
        assert max(map(len, parts)) == PART
        together = np.concatenate([part.matrix() for part in parts])
        assert np.array_equal(together, examples.matrix())
        labels = np.concatenate([part.labels() for part in parts])
        assert np.array_equal(labels, examples.labels())


@pytest.mark.soak
def test_thirty_thousand_images_and_a_lost_worker_leave_what_one_process_leaves(
    nursery, labelled_folder, model_dir, tmp_path, wait_until
):
    """10 MB of pictures, 120 MB of features: more than any other test has."""
    count = 15_000
    image_dir = labelled_folder(tmp_path, {"daisy": count, "tulips": count}, size_px=16)
    flags = {
        "architecture": "mobilenet_0.25_128",
        "model_dir": str(model_dir),
        "flip_left_right": False,
    }
    jobs = [
        Cluster(nursery, tmp_path / name, image_dir, workers, server=False, **flags)
        for name, workers in (("alone", 1), ("two", 2))
    ]
    try:
        alone, two = jobs
        alone.end(alone.start_workers())
        chief, worker = two.start_workers()
        wait_until(lambda: "bottleneck files created" in two.said(0), timeout_s=300)
        worker.kill()
        worker.wait(300)
        two.end([two.start("worker", 1), chief])
    finally:
        for job in jobs:
            job.stop()
    check_same(two.folder, alone.folder)
    rows = (two.folder / "split.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * count
