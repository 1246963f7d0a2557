"""The original archives: packed, unpacked, damaged, downloaded."""

import io
import logging
import subprocess
import tarfile

import numpy as np
import pytest
import tensorflow as tf

from poets.backbones import archives, load_backbone
from poets.backbones.archives import read_member
from poets.backbones.graph import OUTPUT_NAME, PIXELS_NAME, pixel_graph
from poets.config import RetrainConfig
from poets.errors import ModelError

v1 = tf.compat.v1
NAME = "mobilenet_0.25_128"
ARCHIVE = "mobilenet_v1_0.25_128_frozen.tgz"
MEMBER = "mobilenet_v1_0.25_128/frozen_graph.pb"


def load(model_dir, architecture=NAME, **flags):
    return load_backbone(
        RetrainConfig(architecture=architecture, model_dir=str(model_dir), **flags)
    )


def refusal(model_dir, **flags):
    with pytest.raises(ModelError) as caught:
        load(model_dir, **flags)
    assert caught.value.exit_code == 1
    return str(caught.value)


def pack(path, files):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def pixels(count, size_px):
    random = np.random.default_rng(0)
    return random.uniform(0, 255, (count, size_px, size_px, 3)).astype(np.float32)


def original(model_dir, archive, member, feed, fetch, images):
    """Runs the graph as published, one image at a time."""
    with tarfile.open(model_dir / archive) as tgz:
        graph_def = v1.GraphDef.FromString(tgz.extractfile(member).read())
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        return np.concatenate(
            [session.run(fetch, {feed: image[None]}) for image in images]
        )


def run(backbone, images):
    """Returns the bottlenecks of pixels in 0..255, all in one batch."""
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(v1.GraphDef.FromString(pixel_graph(backbone)), name="")
        return session.run(f"{OUTPUT_NAME}:0", {f"{PIXELS_NAME}:0": images})


@pytest.fixture(scope="module")
def inception_dir(tmp_path_factory):
    from tests.models import write_inception_archive

    return write_inception_archive(tmp_path_factory.mktemp("inception")).parent


def test_a_packed_mobilenet_is_what_its_name_says(model_dir):
    backbone = load(model_dir)
    assert (backbone.name, backbone.image_size_px) == (NAME, 128)
    assert (backbone.bottleneck_size, backbone.mean, backbone.std) == (
        1001,
        127.5,
        127.5,
    )
    assert repr(backbone) == f"Backbone('{NAME}', {len(backbone.graph)} bytes)"


@pytest.mark.parametrize("count", [1, 5])
def test_mobilenet_gives_what_the_published_graph_gives(model_dir, count):
    images = pixels(count, 128)
    expected = original(
        model_dir,
        ARCHIVE,
        MEMBER,
        "input:0",
        "MobilenetV1/Predictions/Reshape:0",
        images / 127.5 - 1,
    )
    found = run(load(model_dir), images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("count", [1, 5])
def test_inception_gives_what_the_published_graph_gives(inception_dir, count):
    backbone = load(inception_dir, "inception_v3")
    assert (backbone.image_size_px, backbone.bottleneck_size) == (299, 2048)
    assert (backbone.mean, backbone.std) == (128.0, 128.0)
    images = pixels(count, 299)
    expected = original(
        inception_dir,
        "inception-2015-12-05.tgz",
        "classify_image_graph_def.pb",
        "Mul:0",
        "pool_3/_reshape:0",
        (images - 128) / 128,
    )
    found = run(backbone, images)
    assert found.shape == (count, 2048)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_the_graph_holds_nothing_behind_the_bottleneck(model_dir):
    backbone = load(model_dir)
    nodes = {node.name: node for node in v1.GraphDef.FromString(backbone.graph).node}
    assert "MobilenetV1/Predictions/Softmax" not in nodes
    shape = [dim.size for dim in nodes["input"].attr["shape"].shape.dim]
    assert shape == [-1, 128, 128, 3]


def test_an_unpacked_graph_is_the_same_and_comes_first(model_dir, tmp_path):
    with tarfile.open(model_dir / ARCHIVE) as tgz:
        subprocess.run(["tar", "xzf", tgz.name, "-C", tmp_path], check=True)
    (tmp_path / ARCHIVE).write_bytes(b"never read")
    assert load(tmp_path).digest == load(model_dir).digest


def test_the_digest_names_the_network_and_its_input(model_dir):
    digest = load(model_dir).digest
    assert load(model_dir).digest == digest
    assert len(digest) == 64


def test_a_quantized_name_uses_the_quantized_graph_of_the_archive(model_dir, caplog):
    caplog.set_level(logging.INFO)
    backbone = load(model_dir, f"{NAME}_quantized")
    assert backbone.name == f"{NAME}_quantized"
    assert backbone.digest != load(model_dir).digest
    message = f"{NAME}_quantized: its 8-bit weights are converted to float32"
    assert message in caplog.messages
    images = pixels(2, 128)
    expected = original(
        model_dir,
        ARCHIVE,
        MEMBER.replace("frozen", "quantized"),
        "input:0",
        "MobilenetV1/Predictions/Reshape:0",
        images / 127.5 - 1,
    )
    np.testing.assert_allclose(run(backbone, images), expected, rtol=0, atol=1e-4)


def test_an_archive_that_is_not_the_published_one_is_warned_about(model_dir, caplog):
    load(model_dir)
    (warning,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    text = warning.getMessage()
    assert text.startswith(f"{model_dir}/{ARCHIVE} is not the published archive: ")
    assert archives.SHA256[ARCHIVE] in text


@pytest.mark.parametrize("size_px", [128, 224])
def test_the_published_archives_are_known(models, caplog, size_px):
    backbone = load(models, f"mobilenet_0.25_{size_px}")
    assert caplog.messages == []
    assert backbone.image_size_px == size_px
    images = pixels(2, size_px)
    stem = f"mobilenet_v1_0.25_{size_px}"
    expected = original(
        models,
        f"{stem}_frozen.tgz",
        f"{stem}/frozen_graph.pb",
        "input:0",
        "MobilenetV1/Predictions/Reshape:0",
        images / 127.5 - 1,
    )
    found = run(backbone, images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("share", [0, 0.001, 0.25, 0.5])
def test_a_truncated_archive_is_reported_and_left_alone(model_dir, tmp_path, share):
    whole = (model_dir / ARCHIVE).read_bytes()
    data = whole[: int(len(whole) * share)]
    (tmp_path / ARCHIVE).write_bytes(data)
    text = refusal(tmp_path)
    assert text.startswith(f"the archive {tmp_path}/{ARCHIVE} is damaged ({len(data)} ")
    assert text.endswith("remove it to download it again, or replace it by a whole one")
    assert (tmp_path / ARCHIVE).read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == [ARCHIVE]


def test_flipped_bytes_in_an_archive_are_reported(model_dir, tmp_path):
    data = bytearray((model_dir / ARCHIVE).read_bytes())
    for place in range(10_000, 20_000):
        data[place] ^= 0x55
    (tmp_path / ARCHIVE).write_bytes(data)
    assert "is damaged" in refusal(tmp_path)


def test_an_archive_without_the_graph_is_reported(tmp_path):
    pack(tmp_path / ARCHIVE, {"mobilenet_v1_0.25_128.ckpt.meta": b"x"})
    assert refusal(tmp_path) == (
        f"the archive {tmp_path}/{ARCHIVE} does not hold {MEMBER!r}; fetch it again"
    )


@pytest.mark.parametrize("name", [MEMBER, f"./{MEMBER}"])
def test_bytes_that_are_no_graph_are_reported(tmp_path, name):
    pack(tmp_path / ARCHIVE, {name: b"no graph at all"})
    assert refusal(tmp_path) == (
        f"cannot read {tmp_path}/{ARCHIVE}:{MEMBER}: its 15 bytes are not a TensorFlow "
        "GraphDef; fetch the file again"
    )


def test_another_network_under_the_name_is_reported(inception_dir, tmp_path):
    with tarfile.open(inception_dir / "inception-2015-12-05.tgz") as tgz:
        graph = tgz.extractfile("classify_image_graph_def.pb").read()
    pack(tmp_path / ARCHIVE, {MEMBER: graph})
    text = refusal(tmp_path)
    assert f"{ARCHIVE}:{MEMBER} has no node 'input' among its " in text
    assert text.endswith("it is not the network of its name; fetch the file again")


def test_a_link_in_an_archive_is_not_followed(tmp_path):
    with tarfile.open(tmp_path / ARCHIVE, "w:gz") as archive:
        info = tarfile.TarInfo(MEMBER)
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    assert "does not hold" in refusal(tmp_path)


def test_a_member_too_large_for_a_graph_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_GRAPH_BYTES", 100)
    data = pack(tmp_path / "a.tgz", {"graph.pb": bytes(101)}).read_bytes()
    with pytest.raises(ModelError, match="a.tgz: graph.pb is 101 bytes, too large"):
        read_member(data, "graph.pb", "a.tgz")


def test_an_archive_that_is_not_there_is_downloaded_once(
    model_dir, tmp_path, web_server, monkeypatch
):
    monkeypatch.setattr(archives, "SHA256", {})  # the look-alike's is another
    data = (model_dir / ARCHIVE).read_bytes()
    web_server.files[f"/mirror/{ARCHIVE}"] = data
    url = web_server.url("/mirror/")
    for _ in range(2):
        backbone = load(tmp_path / "new", model_url=url)
        assert backbone.digest == load(model_dir).digest
    assert [path for path, _ in web_server.requests] == [f"/mirror/{ARCHIVE}"]
    assert (tmp_path / "new" / ARCHIVE).read_bytes() == data


def test_inception_is_downloaded_from_its_own_folder(
    inception_dir, tmp_path, web_server
):
    archive = "inception-2015-12-05.tgz"
    web_server.files[f"/image/imagenet/{archive}"] = (
        inception_dir / archive
    ).read_bytes()
    backbone = load(tmp_path, "inception_v3", model_url=web_server.url())
    assert backbone.bottleneck_size == 2048


def test_a_download_with_another_digest_is_not_published(
    model_dir, tmp_path, web_server
):
    web_server.files[f"/{ARCHIVE}"] = (model_dir / ARCHIVE).read_bytes()
    text = refusal(tmp_path, model_url=web_server.url())
    assert "is not the published file" in text
    assert f"expected {archives.SHA256[ARCHIVE]}" in text
    assert list(tmp_path.iterdir()) == []
