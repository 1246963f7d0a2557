"""Loads the networks of Keras Applications, and `.keras` and `.h5` files.

    model_dir/mobilenet_v2_weights_..._no_top.h5   Keras's own file, or downloaded once
    model_dir/mobilenet_v2-keras.pb                the network, frozen once, kept

    --tfhub_module=flowers.keras                     your own file
    model_dir/flowers-0f4c2a91d3b7.pb                frozen once, named by its digest

Keras is only imported to convert a network. It builds the network and asks for the file
of weights, which comes from `model_dir` or from where Keras downloads it, checked by
the digest that Keras knows.
"""

import contextlib
import hashlib
import importlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from poets.backbones import Backbone
from poets.backbones.freezing import INPUT_NAME, freeze, frozen_backbone
from poets.backbones.graph import parse_graph
from poets.backbones.keras_table import NETWORKS, SCALINGS
from poets.config import RetrainConfig
from poets.errors import ConfigError, ModelError, StorageError, first_line
from poets.storage import exists, is_local, join, open_storage, read_url
from poets.storage.publish import write_atomically
from poets.system import http
from poets.system.runtime import tf

logger = logging.getLogger(__name__)

DEPTHWISE = (
    *("name", "kernel_size", "strides", "padding", "data_format"),
    *("dilation_rate", "activation", "use_bias"),
)
"""What a depthwise convolution has in common with a grouped one."""


def load(config: RetrainConfig) -> Backbone:
    """Returns the network that `--architecture` or `--tfhub_module` names.

    Raises:
      ConfigError: if a file's network takes pictures of another size, or of any.
      ModelError: if it cannot be built, downloaded or read.
    """
    if config.tfhub_module:
        return _of_file(config)
    name = config.architecture
    function, size_px, mode = NETWORKS[name]
    mean, std, reversed_channels = SCALINGS[mode]
    kept = join(config.model_dir, f"{name}-keras.pb")

    def build(folder: str) -> bytes:
        keras = _keras()
        with _weights_from(config, folder):
            model = getattr(keras.applications, function)(
                include_top=False,
                weights="imagenet",
                input_shape=(size_px, size_px, 3),
                pooling="avg",
            )
        return _frozen(model, size_px, reversed_channels)

    graph = _kept_or_built(kept, name, build)
    return frozen_backbone(name, graph, size_px, mean, std)


def _of_file(config: RetrainConfig) -> Backbone:
    source = config.tfhub_module
    data = read_url(source)
    stem, suffix = os.path.splitext(os.path.basename(source))
    digest = hashlib.sha256(f"{config.input_size_px} ".encode() + data).hexdigest()
    kept = join(config.model_dir, f"{stem}-{digest[:12]}.pb")

    def build(folder: str) -> bytes:
        path = os.path.join(folder, f"model{suffix}")
        Path(path).write_bytes(data)
        model = _without_classes(_keras().saving.load_model(path, compile=False))
        return _frozen(model, _size_px(model, config), reversed_channels=False)

    graph = _kept_or_built(kept, source, build)
    nodes = {node.name: node for node in parse_graph(graph, kept).node}
    size_px = nodes[INPUT_NAME].attr["shape"].shape.dim[1].size
    return frozen_backbone(source, graph, size_px, mean=0.0, std=1.0)


def _kept_or_built(kept: str, name: str, build: Callable[[str], bytes]) -> bytes:
    """Returns a frozen network from a file, or builds it and writes the file."""
    if exists(kept):
        return read_url(kept)
    logger.info("building %s with Keras, once", name)
    try:
        with tempfile.TemporaryDirectory(prefix="poets-keras-") as folder:
            graph = build(folder)
    except (ConfigError, ModelError, StorageError):
        raise
    except Exception as error:  # Keras raises anything
        raise ModelError(f"Keras cannot build {name!r}: {first_line(error)}") from error
    try:
        write_atomically(kept, graph)
    except StorageError as error:
        logger.warning("%s: the converted network is not kept", error)
    return graph


def _keras() -> Any:
    """Imports Keras with TensorFlow as its backend, regardless of the user's own."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    return keras


@contextlib.contextmanager
def _weights_from(config: RetrainConfig, folder: str) -> Iterator[None]:
    """Makes Keras read its files from `model_dir`, and downloads missing ones there.

    Keras's own download has no retries, is not resumed, and knows only local folders.
    """
    from keras.src.utils import file_utils as files

    def get_file(name: str, origin: str, file_hash: str | None = None, **_: Any) -> str:
        url = join(config.model_dir, name)
        if exists(url):
            data = read_url(url)
            try:
                http.check_digest(data, file_hash, {})
            except http.DigestError as error:
                logger.warning("%s: %s", url, error)
        else:
            download = importlib.import_module("poets.backbones.download").download
            data = download(origin, url, file_hash)
        filesystem, path = open_storage(url)
        if is_local(filesystem):
            return path
        path = os.path.join(folder, name)
        Path(path).write_bytes(data)
        return path

    own = files.get_file
    files.get_file = get_file
    try:
        yield
    finally:
        files.get_file = own


def _without_classes(model: Any) -> Any:
    """Returns a model without a last dense layer, averaged over its maps, if any."""
    layers = _keras().layers
    output = model.outputs[0]
    last = model.layers[-1]
    if isinstance(last, layers.Dense):
        output = last.input
    if len(output.shape) == 4:
        output = layers.GlobalAveragePooling2D()(output)
    if len(model.inputs) != 1 or len(model.outputs) != 1 or len(output.shape) != 2:
        raise ModelError(
            f"a backbone maps images [N, S, S, 3] to [N, D]; this model maps "
            f"{[tuple(each.shape) for each in model.inputs]} to {tuple(output.shape)}"
        )
    return _keras().Model(model.inputs, output)


def _size_px(model: Any, config: RetrainConfig) -> int:
    _, height, width, channels = model.inputs[0].shape
    size_px = config.input_size_px or height
    fits = all(each in (None, size_px) for each in (height, width))
    if not size_px or not fits or channels != 3:
        raise ConfigError(
            f"--tfhub_module={config.tfhub_module!r} takes images [{height}, {width}, "
            f"{channels}], --input_size_px is {config.input_size_px}; a backbone takes "
            "square images of 3 channels: give their size, if the model takes any"
        )
    return size_px


def _depthwise(model: Any) -> Any:
    """Returns a model with depthwise convolutions for those of one channel a group.

    TensorFlow computes grouped ones on CPUs by XLA alone, and Keras calls it in a
    function that a frozen graph cannot hold. ConvNeXt has such.

    Raises:
      ModelError: for a convolution whose groups have several channels.
    """
    keras = _keras()

    def grouped(layer: Any) -> bool:
        return isinstance(layer, keras.layers.Conv2D) and layer.groups > 1

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        if not grouped(layer):
            return type(layer).from_config(config)
        if layer.kernel.shape[2] > 1:
            raise ModelError(
                f"its layer {layer.name!r} convolves {layer.groups} groups of "
                f"{layer.kernel.shape[2]} channels, which TensorFlow does not compute "
                "on CPUs; a group has 1 channel, or all of them"
            )
        return keras.layers.DepthwiseConv2D(
            depth_multiplier=layer.filters // layer.groups,
            **{key: config[key] for key in DEPTHWISE},
        )

    if not any(map(grouped, model._flatten_layers())):
        return model
    cloned = keras.models.clone_model(model, clone_function=clone, recursive=True)
    pairs = zip(model.get_weights(), cloned.weights, strict=True)
    cloned.set_weights([weights.reshape(same.shape) for weights, same in pairs])
    return cloned


def _frozen(model: Any, size_px: int, reversed_channels: bool) -> bytes:
    model = _depthwise(model)

    def features(images: Any) -> Any:
        if reversed_channels:
            images = tf.reverse(images, [-1])
        found = model(images, training=False)
        return tf.reshape(found, [-1, found.shape[-1]])

    return freeze(features, size_px)
