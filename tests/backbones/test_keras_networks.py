"""Networks of Keras: the table, their pixels, their features, files of one's own."""

import os
from dataclasses import replace

import numpy as np
import pytest

from poets.backbones import FAMILIES, load_backbone
from poets.backbones.graph import OUTPUT_NAME, PIXELS_NAME, pixel_graph
from poets.backbones.keras_table import NETWORKS, SCALINGS
from poets.config import RetrainConfig
from poets.errors import ConfigError, ModelError
from poets.system.runtime import tf, v1
from tests.keras_weights import ONE_OF_EACH, write_keras_weights

os.environ["KERAS_BACKEND"] = "tensorflow"
keras = pytest.importorskip("keras")

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept:DeprecationWarning"  # Keras
)

FAST = {"mobilenet_v2"}
"""The others take a minute each; the long tests build one of every module."""

MODULES = {  # of keras.applications -> one of its functions
    "convnext": "ConvNeXtTiny",
    "densenet": "DenseNet121",
    "efficientnet": "EfficientNetB0",
    "efficientnet_v2": "EfficientNetV2B0",
    "inception_resnet_v2": "InceptionResNetV2",
    "inception_v3": "InceptionV3",
    "mobilenet": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3": "MobileNetV3Small",
    "nasnet": "NASNetMobile",
    "resnet": "ResNet50",
    "resnet_v2": "ResNet50V2",
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "xception": "Xception",
}


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Names of layers count from 1, and memory is given back."""
    keras.backend.clear_session()
    yield
    keras.backend.clear_session()


def load(model_dir, **flags):
    return load_backbone(RetrainConfig(model_dir=str(model_dir), **flags))


def run(backbone, pixels):
    with tf.Graph().as_default(), v1.Session() as session:
        v1.import_graph_def(v1.GraphDef.FromString(pixel_graph(backbone)), name="")
        return session.run(f"{OUTPUT_NAME}:0", {f"{PIXELS_NAME}:0": pixels})


def test_the_table_has_every_network_of_keras():
    theirs = {
        name
        for name in dir(keras.applications)
        if name[0].isupper() and callable(getattr(keras.applications, name))
    }
    assert {network.function for network in NETWORKS.values()} == theirs
    assert sorted(FAMILIES["keras"].names) == sorted(NETWORKS)
    assert all(name == name.lower() for name in NETWORKS)


@pytest.mark.parametrize("module", MODULES)
def test_pixels_are_scaled_as_keras_scales_them(module):
    function = MODULES[module]
    (mode,) = {each.mode for each in NETWORKS.values() if each.function == function}
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 2, 2, 3)).astype("f4")
    expected = getattr(keras.applications, module).preprocess_input(pixels.copy())
    mean, std, reversed_channels = SCALINGS[mode]
    found = (pixels - np.float32(mean)) / np.float32(std)
    found = found[..., ::-1] if reversed_channels else found
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in FAST else [pytest.mark.soak])
        for name in ONE_OF_EACH
    ],
)
def test_features_are_those_of_keras(name, tmp_path, monkeypatch):
    model = write_keras_weights(tmp_path, name)
    backbone = load(tmp_path, architecture=name)
    size_px = backbone.image_size_px
    pixels = np.random.default_rng(1).uniform(0, 255, (2, size_px, size_px, 3))
    pixels[1, : size_px // 2] = 20
    function = NETWORKS[name].function
    (module,) = [module for module, has in MODULES.items() if has == function]
    scaled = getattr(keras.applications, module).preprocess_input(pixels.copy())
    expected = model.predict(scaled, verbose=0)
    found = run(backbone, pixels)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
    # The second time nothing is built.
    monkeypatch.setattr("poets.backbones.keras_networks._keras", None)
    assert load(tmp_path, architecture=name).digest == backbone.digest


def small(top=True, size_px=32):
    layers = [
        keras.Input((size_px, size_px, 3)),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
    ]
    if top:
        layers.append(keras.layers.Dense(5, activation="softmax"))
    return keras.Sequential(layers)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Keras prefers .keras
def test_a_file_of_ones_own_gives_what_its_last_layer_takes(suffix, tmp_path):
    model = small()
    path = tmp_path / f"mine{suffix}"
    model.save(path)
    backbone = load(tmp_path / "models", tfhub_module=str(path))
    pixels = np.random.default_rng(1).uniform(0, 255, (2, 32, 32, 3)).astype("f4")
    expected = keras.Model(model.inputs, model.layers[-1].input).predict(
        pixels, verbose=0
    )
    assert (backbone.bottleneck_size, backbone.image_size_px) == (8, 32)
    np.testing.assert_allclose(run(backbone, pixels), expected, atol=1e-5)
    (kept,) = (tmp_path / "models").iterdir()
    assert kept.name.startswith("mine-")
    assert kept.name.endswith(".pb")


def grouped(groups):
    image = keras.Input((32, 32, 3))
    maps = keras.layers.Conv2D(4, 3)(image)
    block = keras.Sequential([keras.layers.Conv2D(8, 3, groups=groups, strides=2)])
    return keras.Model(image, block(maps))


def test_a_group_of_one_channel_is_computed_as_keras_does(tmp_path):
    model = grouped(4)
    model.save(tmp_path / "grouped.keras")
    backbone = load(tmp_path, tfhub_module=str(tmp_path / "grouped.keras"))
    pixels = np.random.default_rng(1).uniform(0, 255, (2, 32, 32, 3)).astype("f4")
    expected = model.predict(pixels, verbose=0).mean((1, 2))
    np.testing.assert_allclose(run(backbone, pixels), expected, rtol=1e-3, atol=1e-3)


def test_groups_of_several_channels_are_refused_with_their_layer(tmp_path):
    grouped(2).save(tmp_path / "grouped.keras")
    with pytest.raises(
        ModelError, match=r"'conv2d_\d' convolves 2 groups of 2 channels"
    ):
        load(tmp_path, tfhub_module=str(tmp_path / "grouped.keras"))


def test_a_file_that_is_no_model_is_named(tmp_path):
    path = tmp_path / "broken.keras"
    path.write_bytes(b"no zip")
    with pytest.raises(ModelError, match=r"Keras cannot build '.*broken\.keras'"):
        load(tmp_path, tfhub_module=str(path))


def test_a_model_of_any_size_needs_the_flag(tmp_path):
    path = tmp_path / "any.keras"
    small(size_px=None).save(path)
    with pytest.raises(ConfigError, match="--input_size_px is 0; a backbone takes"):
        load(tmp_path, tfhub_module=str(path))
    config = RetrainConfig(model_dir=str(tmp_path), tfhub_module=str(path))
    assert load_backbone(replace(config, input_size_px=48)).image_size_px == 48


def test_a_function_in_a_file_is_not_run(tmp_path):
    model = keras.Sequential(
        [keras.Input((32, 32, 3)), keras.layers.Lambda(lambda x: x[:, 0, 0])]
    )
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(ModelError, match="Keras cannot build"):
        load(tmp_path, tfhub_module=str(tmp_path / "lambda.keras"))
