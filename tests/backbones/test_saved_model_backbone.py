"""Backbones out of SavedModels: written here, from a folder and from a hub."""

import io
import tarfile

import numpy as np
import pytest
import tensorflow as tf

from poets.backbones import load_backbone
from poets.backbones.graph import OUTPUT_NAME, PIXELS_NAME, pixel_graph
from poets.config import RetrainConfig
from poets.errors import ConfigError, ModelError

pytest_plugins = ["tests.far"]

v1 = tf.compat.v1
SIZE_PX, FEATURES = 16, 7


class Network(tf.Module):
    """A convolution with variables, and the mean over the picture."""

    def __init__(self, channels=3):
        super().__init__()
        random = tf.random.Generator.from_seed(0)
        self.kernel = tf.Variable(random.normal([3, 3, channels, FEATURES]))

    def features(self, images):
        return tf.reduce_mean(
            tf.nn.relu(tf.nn.conv2d(images, self.kernel, 2, "SAME")), [1, 2]
        )


def save(folder, outputs, spec=None, signature="serving_default", channels=3):
    """Writes a SavedModel; `outputs` makes a dict of its features."""
    network = Network(channels)
    spec = spec or tf.TensorSpec([None, SIZE_PX, SIZE_PX, 3], tf.float32, "images")
    specs = spec if isinstance(spec, list) else [spec]

    @tf.function(input_signature=specs)
    def call(*images):
        return outputs(network.features(tf.cast(images[0], tf.float32)))

    network.call = call
    signatures = {signature: call} if signature else {}
    tf.saved_model.save(network, str(folder), signatures=signatures)
    return network


def load(handle, **flags):
    return load_backbone(RetrainConfig(tfhub_module=str(handle), **flags))


def refusal(handle, kind=ModelError, **flags):
    with pytest.raises(kind) as caught:
        load(handle, **flags)
    return str(caught.value)


def pixels(count, size_px=SIZE_PX):
    shape = (count, size_px, size_px, 3)
    return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)


def check(backbone, network, size_px=SIZE_PX):
    """Checks that a backbone gives the network's features, in batches of 1 and 5."""
    assert (backbone.image_size_px, backbone.bottleneck_size) == (size_px, FEATURES)
    assert (backbone.mean, backbone.std) == (0.0, 255.0)
    expected = network.features(pixels(5, size_px) / 255).numpy()
    graph = v1.GraphDef.FromString(pixel_graph(backbone))
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph, name="")

        def run(images):
            return session.run(f"{OUTPUT_NAME}:0", {f"{PIXELS_NAME}:0": images})

        together = run(pixels(5, size_px))
        alone = np.concatenate([run(image[None]) for image in pixels(5, size_px)])
    np.testing.assert_allclose(together, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(alone, expected, rtol=0, atol=1e-5)
    assert "Variable" not in {node.op for node in graph.node}


def test_a_saved_model_of_one_output_is_a_backbone(tmp_path):
    network = save(tmp_path / "m", lambda features: {"anything": features})
    backbone = load(tmp_path / "m")
    check(backbone, network)
    assert backbone.name == str(tmp_path / "m")
    assert load(tmp_path / "m").digest == backbone.digest


@pytest.mark.parametrize("name", ["feature_vector", "default", "outputs"])
def test_of_several_outputs_the_one_for_features_is_taken(tmp_path, name):
    network = save(tmp_path, lambda x: {"logits": x * 2, name: x, "aaa": x[:, :2]})
    check(load(tmp_path), network)


def test_a_signature_may_have_the_hubs_name(tmp_path):
    network = save(tmp_path, lambda x: {"x": x}, signature="image_feature_vector")
    check(load(tmp_path), network)


def test_features_of_one_pixel_are_flattened(tmp_path):
    network = save(tmp_path, lambda x: {"x": x[:, None, None, :]})
    check(load(tmp_path), network)


def test_a_network_for_any_size_takes_the_size_that_is_given(tmp_path):
    spec = tf.TensorSpec([None, None, None, 3], tf.float32)
    network = save(tmp_path, lambda x: {"x": x}, spec)
    check(load(tmp_path, input_size_px=24), network, 24)
    assert refusal(tmp_path, ConfigError) == (
        f"--tfhub_module={str(tmp_path)!r} takes images of any size; give the size it "
        "was trained for with --input_size_px"
    )


def test_a_url_names_a_folder_too(tmp_path):
    network = save(tmp_path / "a b", lambda x: {"x": x})
    check(load(f"file://{tmp_path}/a%20b"), network)


def test_a_size_that_contradicts_the_network_is_reported(tmp_path):
    save(tmp_path, lambda x: {"x": x})
    assert refusal(tmp_path, ConfigError, input_size_px=99) == (
        f"--tfhub_module={str(tmp_path)!r} takes images of 16 x 16 pixels, not 99 x "
        "99; leave --input_size_px out"
    )


def test_several_outputs_without_a_known_name_are_reported(tmp_path):
    save(tmp_path, lambda x: {"b": x, "a": x * 2})
    assert refusal(tmp_path) == (
        f"--tfhub_module={str(tmp_path)!r} gives a, b; a backbone has one output, or "
        "one called feature_vector or default or outputs or output_0"
    )


@pytest.mark.parametrize(
    "spec",
    [
        tf.TensorSpec([None, SIZE_PX, SIZE_PX, 3], tf.uint8),
        [
            tf.TensorSpec([None, SIZE_PX, SIZE_PX, 3], tf.float32, "images"),
            tf.TensorSpec([], tf.float32, "rate"),
        ],
    ],
    ids=["bytes", "two inputs"],
)
def test_a_signature_that_is_not_for_images_is_reported(tmp_path, spec):
    save(tmp_path, lambda x: {"x": x}, spec)
    text = refusal(tmp_path)
    assert text.startswith(f"--tfhub_module={str(tmp_path)!r} takes [TensorSpec(")
    assert text.endswith("a backbone takes one float32 tensor of images [N, S, S, 3]")


def test_images_of_another_number_of_channels_are_reported(tmp_path):
    spec = tf.TensorSpec([None, SIZE_PX, SIZE_PX, 1], tf.float32)
    save(tmp_path, lambda x: {"x": x}, spec, channels=1)
    assert refusal(tmp_path) == (
        f"--tfhub_module={str(tmp_path)!r} takes images of 1 channels; a backbone "
        "takes 3: red, green, blue"
    )


@pytest.mark.parametrize(
    "outputs",
    [
        lambda x: tf.boolean_mask(x, tf.reduce_sum(x, 0) > 0, axis=1),
        lambda x: tf.tile(x[:, None, None, :], [1, 4, 4, 1]),
        lambda x: tf.reduce_sum(x),
        lambda x: tf.argmax(x, 1),
        lambda x: tf.cast(x, tf.float64),
    ],
    ids=["unknown length", "a map of features", "a number", "indices", "doubles"],
)
def test_an_output_that_is_no_bottleneck_is_reported(tmp_path, outputs):
    save(tmp_path, lambda x: {"x": outputs(x)})
    text = refusal(tmp_path)
    assert text.startswith(f"--tfhub_module={str(tmp_path)!r} gives TensorSpec(")
    assert text.endswith("; a bottleneck is float32 [N, D] with a known D")


def test_a_saved_model_without_signatures_is_reported(tmp_path):
    save(tmp_path, lambda x: {"x": x}, signature="train")
    assert refusal(tmp_path) == (
        f"--tfhub_module={str(tmp_path)!r} has no signature for images: found 'train'; "
        "expected one of image_feature_vector, default, serving_default, serve"
    )


def test_a_folder_that_is_no_saved_model_is_reported(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    text = refusal(tmp_path)
    assert text.startswith(f"--tfhub_module={str(tmp_path)!r} is not a SavedModel: ")
    assert "\n" not in text


def test_a_damaged_saved_model_is_reported(tmp_path):
    save(tmp_path, lambda x: {"x": x})
    path = tmp_path / "saved_model.pb"
    path.write_bytes(path.read_bytes()[:500])
    assert "is not a SavedModel: " in refusal(tmp_path)


@pytest.mark.parametrize(("make", "found"), [(False, "nothing"), (True, "a file")])
def test_a_handle_that_is_no_folder_is_reported(tmp_path, make, found):
    handle = tmp_path / "m"
    if make:
        handle.write_bytes(b"")
    assert refusal(handle) == (
        f"--tfhub_module={str(handle)!r}: found {found}; give a SavedModel folder or a "
        "hub handle that begins with https://"
    )


@pytest.fixture
def hub(monkeypatch, require):
    """Skips where tensorflow_hub is not installed; leaves its cache as it was."""
    import importlib.util

    require("tensorflow_hub", importlib.util.find_spec("tensorflow_hub"))
    monkeypatch.setenv("TFHUB_CACHE_DIR", "")
    monkeypatch.delenv("TFHUB_CACHE_DIR")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.usefixtures("hub")
def test_a_handle_is_downloaded_once_into_the_model_dir(tmp_path, web_server):
    network = save(tmp_path / "m", lambda x: {"default": x})
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        archive.add(tmp_path / "m", ".")
    web_server.files["/module/1?tf-hub-format=compressed"] = stream.getvalue()
    models = tmp_path / "models"
    for _ in range(2):
        check(load(web_server.url("/module/1"), model_dir=str(models)), network)
    assert len(web_server.requests) == 1
    assert list(models.rglob("saved_model.pb"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.usefixtures("hub")
def test_a_handle_is_kept_for_all_workers_on_another_storage(tmp_path, web_server, far):
    network = save(tmp_path / "m", lambda x: {"default": x})
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        archive.add(tmp_path / "m", ".")
    web_server.files["/module/1?tf-hub-format=compressed"] = stream.getvalue()
    (tmp_path / "models").mkdir()
    models = far.url(tmp_path / "models")
    for _ in range(2):
        check(load(web_server.url("/module/1"), model_dir=models), network)
    assert len(web_server.requests) == 1
    assert len(list((tmp_path / "models").rglob("saved_model.pb"))) == 1


def test_a_folder_on_another_storage_is_copied_to_be_loaded(tmp_path, far, monkeypatch):
    network = save(tmp_path / "m", lambda x: {"default": x})
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    check(load(far.url(tmp_path / "m")), network)
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.usefixtures("hub")
def test_a_handle_that_cannot_be_had_is_reported(tmp_path, closed_port):
    handle = f"http://127.0.0.1:{closed_port}/module/1"
    text = refusal(handle, model_dir=str(tmp_path))
    assert text.startswith(f"cannot download --tfhub_module={handle!r}: ")
    assert "Connection refused" in text
    assert text.endswith(
        "; without a network, give the folder of an unpacked SavedModel"
    )
