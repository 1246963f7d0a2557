"""The look-alike archives have the originals' names, shapes and layout."""

import tarfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.models import write_inception_archive, write_mobilenet_archive

v1 = tf.compat.v1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models") / "new"


@pytest.fixture(scope="module")
def mobilenet(folder: Path) -> Callable[[int], Path]:
    """Returns the archive of a size, written once."""
    return lru_cache(lambda size_px: write_mobilenet_archive(folder, size_px=size_px))


@pytest.fixture(scope="module")
def inception(folder: Path) -> Path:
    return write_inception_archive(folder)


def read_graph(archive: Path, member: str) -> v1.GraphDef:
    with tarfile.open(archive) as tgz:
        return v1.GraphDef.FromString(tgz.extractfile(member).read())


def run_graph(graph_def: v1.GraphDef, fetch, feed: str, *values) -> list:
    """Returns what is fetched for each value."""
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        return [session.run(fetch, {feed: value}) for value in values]


def pictures(size_px: int) -> list[np.ndarray]:
    """Four clearly different pictures, float32 [1, size_px, size_px, 3] in -1..1."""
    slope = np.linspace(-1, 1, size_px, dtype=np.float32)
    rows, columns = np.meshgrid(slope, slope, indexing="ij")
    disc = np.where(rows**2 + columns**2 < 0.3, 1.0, -1.0)
    stripes = np.sign(np.sin(20 * columns))
    planes = [
        (rows, columns, -rows),
        (disc, -disc, disc),
        (stripes, stripes, stripes),
        (np.full_like(rows, 0.9), columns, disc),
    ]
    return [np.stack(plane, axis=-1).astype(np.float32)[None] for plane in planes]


def assert_distinct(features: np.ndarray) -> None:
    """Checks that no two pictures [N, D] look alike to the backbone."""
    assert np.isfinite(features).all()
    correlation = np.corrcoef(features)
    assert (correlation[~np.eye(len(features), dtype=bool)] < 0.95).all()
    # Features differ between pictures by a good part of their spread.
    assert features.std(axis=0).mean() > 0.2 * features.std()


@pytest.mark.parametrize(("width", "name"), [(0.25, "0.25"), (0.5, "0.50")])
def test_mobilenet_archive_has_the_published_layout(
    tmp_path: Path, width: float, name: str
):
    path = write_mobilenet_archive(tmp_path / "new", width, size_px=128)
    assert path == tmp_path / "new" / f"mobilenet_v1_{name}_128_frozen.tgz"
    folder = f"mobilenet_v1_{name}_128"
    with tarfile.open(path) as tgz:
        assert set(tgz.getnames()) == {
            f"{folder}/{file}"
            for file in ("frozen_graph.pb", "quantized_graph.pb", "labels.txt")
        }
        labels = tgz.extractfile(f"{folder}/labels.txt").read().decode()
    assert len(labels.splitlines()) == 1001


@pytest.mark.parametrize("size_px", [128, 224])
@pytest.mark.parametrize("member", ["frozen_graph.pb", "quantized_graph.pb"])
def test_mobilenet_tells_pictures_apart(
    mobilenet: Callable[[int], Path], size_px: int, member: str
):
    archive = mobilenet(size_px)
    graph_def = read_graph(archive, f"mobilenet_v1_0.25_{size_px}/{member}")
    [given] = [node for node in graph_def.node if node.name == "input"]
    assert [dim.size for dim in given.attr["shape"].shape.dim] == [1, *[size_px] * 2, 3]
    shapes = {
        "MobilenetV1/Predictions/Reshape:0": (1, 1001),
        "MobilenetV1/Logits/AvgPool_1a/AvgPool:0": (1, 1, 1, 256),
    }
    found = run_graph(graph_def, list(shapes), "input:0", *pictures(size_px))
    for shape, *features in zip(shapes.values(), *found, strict=True):
        assert {feature.shape for feature in features} == {shape}
        assert_distinct(np.reshape(features, (4, -1)))


def test_same_seed_gives_the_same_weights(
    mobilenet: Callable[[int], Path], tmp_path: Path
):
    again, other = (
        write_mobilenet_archive(tmp_path / str(seed), seed=seed) for seed in (0, 1)
    )
    first, again, other = (
        read_graph(archive, "mobilenet_v1_0.25_128/frozen_graph.pb")
        for archive in (mobilenet(128), again, other)
    )
    assert first == again
    assert first != other


def test_inception_tells_pictures_apart(inception: Path, folder: Path):
    assert inception == folder / "inception-2015-12-05.tgz"
    graph_def = read_graph(inception, "classify_image_graph_def.pb")
    features = run_graph(graph_def, "pool_3/_reshape:0", "Mul:0", *pictures(299))
    assert {feature.shape for feature in features} == {(1, 2048)}
    assert_distinct(np.concatenate(features))


def test_inception_takes_jpeg_bytes(inception: Path, tmp_path: Path):
    graph_def = read_graph(inception, "classify_image_graph_def.pb")
    Image.new("RGB", (40, 30), (0, 128, 255)).save(tmp_path / "blue.jpg", quality=100)
    jpeg = (tmp_path / "blue.jpg").read_bytes()
    fetched = ["Mul:0", "softmax:0"]
    [(scaled, scores)] = run_graph(graph_def, fetched, "DecodeJpeg/contents:0", jpeg)
    assert scaled.shape == (1, 299, 299, 3)
    np.testing.assert_allclose(scaled[0, 7, 7], [-1, 0, 127 / 128], atol=0.05)
    assert scores.shape == (1, 1008)
    assert scores.sum() == pytest.approx(1, abs=1e-4)


def test_inception_is_made_of_the_operations_of_its_time(inception: Path):
    graph_def = read_graph(inception, "classify_image_graph_def.pb")
    operations = {node.op for node in graph_def.node}
    assert {"BatchNormWithGlobalNormalization", "CheckNumerics"} <= operations
    assert graph_def.versions.producer < 9
