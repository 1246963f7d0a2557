"""A bottleneck is computed once, and again when it must be."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from poets.data.dataset import find_images
from poets.data.distortions import Distortions
from poets.data.image_columns import Image, Images
from poets.data.images import decode, resize
from poets.errors import PoetsError
from poets.features.compute import compute_bottlenecks
from poets.features.engines import load_engine
from poets.features.pool import Pool

FLIP = Distortions(True, 0, 0, 0, seed=0)


@pytest.fixture(scope="module")
def pool():
    with Pool(2) as pool:
        yield pool


@pytest.fixture
def compute(network, pool, image_dir, tmp_path):
    """Returns a function that computes the bottlenecks of all images of a folder."""

    def run(folder=image_dir, distortions=None, **more):
        images = find_images(str(folder)).images
        spec = network.spec(folder, tmp_path / "store", distortions=distortions)
        return compute_bottlenecks(images, spec, pool, **more)

    return run


def parts(tmp_path):
    return sorted((tmp_path / "store").glob("part-*.parquet"))


def test_rows_are_the_engines_answers_in_the_order_of_the_images(
    compute, network, image_dir
):
    found = compute()
    engine = load_engine("litert", network.paths["litert"])
    images = find_images(str(image_dir)).images
    pictures = [resize(decode((image_dir / i.path).read_bytes()), 128) for i in images]
    assert np.array_equal(found.matrix, engine.run(pictures))
    assert found.kept.tolist() == list(range(40))
    assert found.skipped == ()
    assert found.computed == 40


def test_both_engines_leave_the_same_features(compute, network, images, tmp_path):
    first = compute()
    spec = network.spec(tmp_path / "images", tmp_path / "other", engine="tensorflow")
    with Pool(1) as pool:  # TensorFlow takes seconds to import, in each process
        other = compute_bottlenecks(images, spec, pool)
    assert np.array_equal(other.digests, first.digests)
    assert np.abs(other.matrix - first.matrix).max() <= 1e-4 * first.matrix.std()


def test_a_second_run_computes_nothing(compute, tmp_path):
    first, written = compute(), parts(tmp_path)
    second = compute()
    assert second.computed == 0
    assert np.array_equal(second.matrix, first.matrix)
    assert parts(tmp_path) == written


def test_only_what_is_new_is_computed(compute, image_dir, pictures):
    compute()
    (image_dir / "daisy" / "new.jpg").write_bytes(pictures[0] + b"\0")
    (image_dir / "daisy" / "00.jpg").unlink()
    found = compute()
    assert found.computed == 1
    assert len(found.kept) == 40


@pytest.mark.parametrize("change", ["length", "time"])
def test_a_stale_row_is_computed_again(compute, image_dir, pictures, change):
    before = compute()
    path = image_dir / "daisy" / "00.jpg"
    time = path.stat().st_mtime_ns
    if change == "length":
        path.write_bytes(pictures[1] + b"\0" * len(pictures[0]))
        os.utime(path, ns=(time, time))
    else:
        os.utime(path, ns=(time + 1, time + 1))
    after = compute()
    assert after.computed == 1
    assert (after.digests[0] != before.digests[0]) == (change == "length")
    assert np.array_equal(after.matrix[1:], before.matrix[1:])


def test_verify_finds_what_changed_behind_an_unchanged_time_and_length(
    compute, image_dir, pictures
):
    before = compute()
    path = image_dir / "daisy" / "00.jpg"
    time, length = path.stat().st_mtime_ns, path.stat().st_size
    shorter = next(p for p in pictures[1:] if len(p) <= length)
    path.write_bytes(shorter + b"\0" * (length - len(shorter)))
    os.utime(path, ns=(time, time))
    assert np.array_equal(compute().matrix, before.matrix)  # trusted without reading
    verified = compute(verify=True)
    assert not np.array_equal(verified.matrix[0], before.matrix[0])
    assert np.array_equal(verified.matrix[1:], before.matrix[1:])
    assert np.array_equal(compute().matrix, verified.matrix)


def test_a_moved_folder_is_reused_without_a_forward_pass(
    compute, image_dir, tmp_path, network, pool
):
    before = compute()
    moved = tmp_path / "moved"
    shutil.copytree(image_dir, moved)
    (moved / "daisy").rename(moved / "Gänseblümchen")
    # Any forward pass would now give other features.
    spec = network.spec(moved, tmp_path / "store")
    wrong = tmp_path / "wrong.tflite"
    (mobilenet,) = spec.networks
    shutil.copy(mobilenet.model_path, wrong)
    data = bytearray(wrong.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = bytes(400)
    wrong.write_bytes(bytes(data))
    picture = [resize(decode((moved / "tulips" / "01.jpg").read_bytes()), 128)]
    paths = str(wrong), mobilenet.model_path
    engines = [load_engine("litert", path) for path in paths]
    assert not np.array_equal(*(engine.run(picture) for engine in engines))
    images = find_images(str(moved)).images
    spec = replace(spec, networks=(replace(mobilenet, model_path=str(wrong)),))
    after = compute_bottlenecks(images, spec, pool)
    assert sorted(after.digests.tolist()) == sorted(before.digests.tolist())
    by_digest = dict(zip(before.digests.tolist(), before.matrix, strict=True))
    for digest, bottleneck in zip(after.digests.tolist(), after.matrix, strict=True):
        assert np.array_equal(bottleneck, by_digest[digest])


def test_the_same_content_under_two_names_is_two_images(compute, image_dir, pictures):
    (image_dir / "daisy" / "copy.jpg").write_bytes(pictures[0])
    found = compute()
    assert len(found.kept) == 41
    assert len(set(found.digests.tolist())) == 40
    twin = found.digests.tolist().index(found.digests[0].tobytes(), 1)
    assert np.array_equal(found.matrix[0], found.matrix[twin])


@pytest.mark.parametrize("where", ["keys", "bottlenecks"])
def test_a_corrupt_part_costs_its_own_images(compute, tmp_path, where, caplog):
    before = compute()
    damaged = parts(tmp_path)[1]
    data = bytearray(damaged.read_bytes())
    if where == "keys":
        data = data[:-20]
    else:
        data[len(data) // 2] ^= 255  # nine tenths of a part are bottlenecks
    damaged.write_bytes(bytes(data))
    after = compute()
    assert 0 < after.computed < 40
    assert np.array_equal(after.matrix, before.matrix)
    assert damaged.name in caplog.text
    assert compute().computed == 0


def test_a_corrupt_part_whose_content_a_moved_folder_needs(
    compute, tmp_path, image_dir, network
):
    """Found by the processes, not by the chief: they read it to copy from it."""
    before = compute()
    for damaged in parts(tmp_path):
        data = bytearray(damaged.read_bytes())
        data[len(data) // 2] ^= 255
        damaged.write_bytes(bytes(data))
    image_dir.rename(tmp_path / "moved")
    (tmp_path / "moved" / "daisy").rename(tmp_path / "moved" / "camomile")
    after = compute(tmp_path / "moved")
    assert after.skipped == ()
    by_digest = dict(zip(before.digests.tolist(), before.matrix, strict=True))
    expected = np.stack([by_digest[digest] for digest in after.digests.tolist()])
    assert np.array_equal(after.matrix, expected)


def test_what_cannot_be_decoded_is_skipped_once_and_remembered(
    compute, image_dir, pictures
):
    (image_dir / "daisy" / "00.jpg").write_bytes(b"")
    (image_dir / "daisy" / "02.jpg").write_bytes(b"text, no image")
    (image_dir / "tulips" / "01.jpg").write_bytes(pictures[1][:200])
    first = compute()
    reasons = dict(first.skipped)
    assert reasons["daisy/00.jpg"] == "empty file"
    assert reasons["daisy/02.jpg"] == "not a JPEG, PNG, WEBP, BMP, GIF image"
    assert reasons["tulips/01.jpg"].startswith("cannot be decoded: ")
    assert len(first.kept) == 37
    second = compute()
    assert second.computed == 0
    assert dict(second.skipped) == reasons


def test_a_mended_file_is_used_again(compute, image_dir, pictures):
    path = image_dir / "daisy" / "00.jpg"
    path.write_bytes(b"")
    assert len(compute().kept) == 39
    path.write_bytes(pictures[0])
    assert len(compute().kept) == 40


def test_a_file_that_is_gone_is_skipped_and_not_remembered(
    compute, network, pool, images, image_dir, tmp_path, pictures
):
    path = image_dir / "daisy" / "00.jpg"
    path.unlink()
    spec = network.spec(image_dir, tmp_path / "store")
    found = compute_bottlenecks(images, spec, pool)
    assert found.skipped == (("daisy/00.jpg", "no such file or directory"),)
    path.write_bytes(pictures[0])
    assert len(compute().kept) == 40


def test_distorted_copies_are_computed_once(compute, tmp_path):
    copies = range(3)
    first = compute(distortions=FLIP, copies=copies)
    assert first.matrix.shape[0] == 3 * 40
    assert first.computed == 3 * 40
    assert compute(distortions=FLIP, copies=copies).computed == 0
    more = compute(distortions=FLIP, copies=range(5))
    assert more.computed == 2 * 40
    rows = more.matrix.reshape(40, 5, -1)
    assert np.array_equal(rows[:, :3], first.matrix.reshape(40, 3, -1))


def test_another_seed_or_distortion_is_another_copy(compute):
    compute(distortions=FLIP, copies=[0])
    assert compute(distortions=replace(FLIP, seed=1), copies=[0]).computed == 40
    assert compute(distortions=replace(FLIP, random_crop=5), copies=[0]).computed == 40
    assert compute().computed == 40  # the images themselves


def test_no_images_is_no_work(network, pool, tmp_path):
    spec = network.spec(tmp_path, tmp_path / "store")
    found = compute_bottlenecks(Images.of([]), spec, pool)
    assert found.matrix.shape == (0, network.size)


def test_a_store_that_cannot_be_written_stops_the_run(
    network, pool, images, image_dir, tmp_path
):
    (tmp_path / "file").write_text("in the way")
    spec = network.spec(image_dir, tmp_path / "file" / "store")
    with pytest.raises(PoetsError, match=r"cannot (write|read) '.*file/store"):
        compute_bottlenecks(images, spec, pool)
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_file_too_long_for_an_image_is_not_read(network, pool, tmp_path):
    (tmp_path / "daisy").mkdir()
    path = tmp_path / "daisy" / "huge.jpg"
    with open(path, "wb") as file:
        file.truncate(2**28 + 1)
    image = Image("daisy/huge.jpg", "daisy", 2**28 + 1, path.stat().st_mtime_ns)
    spec = network.spec(tmp_path, tmp_path / "store")
    found = compute_bottlenecks(Images.of([image]), spec, pool)
    assert found.skipped == (
        ("daisy/huge.jpg", "268435457 bytes are more than 268435456: not read"),
    )
