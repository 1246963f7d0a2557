"""Several networks compute the bottlenecks of pictures that are decoded once."""

import json
from dataclasses import replace

import numpy as np
import pytest

from poets.backbones import load_backbone
from poets.data.dataset import find_images
from poets.features import process
from poets.features.compute import compute_bottlenecks
from poets.features.models import networks_of
from poets.features.pool import Pool
from poets.features.process import PLAIN, ImageTask, Spec, Worker
from poets.flags import config_from_args

COUNT = 6
PATHS = [f"{('daisy', 'tulips')[n >= 3]}/{n}.jpg" for n in range(COUNT)]


@pytest.fixture(scope="module")
def image_dir(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    for path, picture in zip(PATHS, pictures, strict=False):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(picture)
    return folder


@pytest.fixture
def spec(image_dir, network, tmp_path):
    """Of a random MobileNet and of the scattering network, with stores of their own."""
    flags = {
        "image_dir": str(image_dir),
        "architecture": "scattering_128",
        "bottleneck_dir": str(tmp_path / "stores"),
        "model_dir": str(tmp_path / "models"),
    }
    config = config_from_args(flags)
    scattering = networks_of(config, load_backbone(config), str(tmp_path))
    mobilenet = network.spec(image_dir, tmp_path / "mobilenet").networks
    return Spec(str(image_dir), (*mobilenet, *scattering), None, False)


def test_bottlenecks_are_side_by_side_and_each_store_computes_what_it_lacks(
    spec, image_dir, pictures
):
    images = find_images(str(image_dir)).images
    first, second = (replace(spec, networks=(each,)) for each in spec.networks)
    with Pool(1) as pool:
        alone = compute_bottlenecks(images, first, pool)
        both = compute_bottlenecks(images, spec, pool)
        again = compute_bottlenecks(images, spec, pool)
        other = compute_bottlenecks(images, second, pool)
        (image_dir / "tulips" / "new.jpg").write_bytes(pictures[COUNT])
        more = find_images(str(image_dir)).images
        grown = compute_bottlenecks(more, spec, pool)
    (image_dir / "tulips" / "new.jpg").unlink()
    assert [each.computed for each in (alone, both, again, other, grown)] == [
        *(COUNT, COUNT, 0, 0, 1)
    ]
    expected = np.concatenate([alone.matrix, other.matrix], axis=1)
    np.testing.assert_array_equal(both.matrix, expected)
    np.testing.assert_array_equal(grown.matrix[:COUNT], expected)


def test_a_picture_is_decoded_once_for_all(spec, monkeypatch):
    decoded = []
    decode = process.decode
    monkeypatch.setattr(process, "decode", lambda d: decoded.append(1) or decode(d))
    worker = Worker(Spec.from_json(json.dumps(json.loads(spec.to_json()))))
    tasks = [ImageTask(path, 1, 1, (PLAIN,), None) for path in PATHS]
    worker.expect(tasks)
    chunk = worker.compute(tasks)
    worker.close()
    assert len(decoded) == COUNT
    sizes = [{len(row.bottleneck) for row in rows} for rows in chunk.rows]
    assert sizes == [{network.size} for network in spec.networks]


def test_a_picture_that_cannot_be_decoded_is_skipped_once(spec, image_dir):
    (image_dir / "daisy" / "broken.jpg").write_bytes(b"\xff\xd8\xff no JPEG")
    images = find_images(str(image_dir)).images
    with Pool(1) as pool:
        found = compute_bottlenecks(images, spec, pool)
        again = compute_bottlenecks(images, spec, pool)
    (image_dir / "daisy" / "broken.jpg").unlink()
    assert [path for path, _ in found.skipped] == ["daisy/broken.jpg"]
    assert again.skipped == found.skipped
    assert len(found.kept) == COUNT
    assert again.computed == 0


def test_verified_pictures_are_those_of_both_stores(spec, image_dir):
    images = find_images(str(image_dir)).images
    with Pool(1) as pool:
        before = compute_bottlenecks(images, spec, pool)
        verified = compute_bottlenecks(images, spec, pool, verify=True)
    np.testing.assert_array_equal(verified.matrix, before.matrix)
