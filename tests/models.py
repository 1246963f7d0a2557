"""Look-alikes of the published backbone archives, with random weights.

    mobilenet_v1_0.25_128_frozen.tgz        inception-2015-12-05.tgz
      mobilenet_v1_0.25_128/                  classify_image_graph_def.pb
        frozen_graph.pb                       LICENSE
        quantized_graph.pb
        labels.txt

Node names, shapes, old operations and the layout of the archives are those of the
originals, so a test or a benchmark runs without the originals and without a
network. The weights are random, but each layer is scaled on smooth random pictures
so that its outputs have mean 0 and deviation 1 in every channel: the features of
different pictures then differ clearly, which plain random layers do not give (each
ReLU pulls all pictures closer together).

Digests differ from the published ones; the features mean nothing.
"""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1

# Channels at width 1.0 and stride of MobileNet v1 (Howard et al., 2017, table 1):
# the first full convolution, then 13 depthwise separable ones.
MOBILENET_LAYERS = (
    (32, 2), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
MOBILENET_CLASSES = 1001
WIDTH_NAMES = {1.0: "1.0", 0.75: "0.75", 0.5: "0.50", 0.25: "0.25"}
INCEPTION_SIZE_PX = 299
INCEPTION_LAYERS = ((8, 2), (16, 2), (32, 2), (64, 2), (2048, 2))  # channels, stride
INCEPTION_CLASSES = 1008
# The last GraphDef version that takes BatchNormWithGlobalNormalization, with which
# the published Inception is made.
INCEPTION_PRODUCER = 8
CALIBRATION_PICTURES = 16


def write_mobilenet_archive(
    folder: str | Path, width: float = 0.25, size_px: int = 128, seed: int = 0
) -> Path:
    """Writes a random MobileNet v1 as its publisher packs it.

    `frozen_graph.pb` maps `input:0`, float32 [1, size_px, size_px, 3] in -1..1, to
    `MobilenetV1/Predictions/Reshape:0`, [1, 1001]; `quantized_graph.pb` is the same
    with the weights of its convolutions rounded to 8 bits.

    Args:
      folder: where the archive goes; made if absent.
      width: 1.0, 0.75, 0.5 or 0.25, the share of the channels.
      size_px: side of the input pictures, a multiple of 32.
      seed: the same seed gives the same weights.

    Returns:
      The path of `mobilenet_v1_<width>_<size_px>_frozen.tgz` in `folder`.
    """
    name = f"mobilenet_v1_{WIDTH_NAMES[width]}_{size_px}"
    weights = _mobilenet_weights(width, size_px, np.random.default_rng(seed))
    labels = "".join(f"{i}:class {i}\n" for i in range(MOBILENET_CLASSES))
    return _write_tgz(
        Path(folder) / f"{name}_frozen.tgz",
        {
            f"{name}/frozen_graph.pb": _mobilenet_graph(weights, size_px, False),
            f"{name}/quantized_graph.pb": _mobilenet_graph(weights, size_px, True),
            f"{name}/labels.txt": labels.encode(),
        },
    )


def write_inception_archive(folder: str | Path, seed: int = 0) -> Path:
    """Writes a tiny network under the names of the published Inception of 2015.

    Five convolutions instead of 94. As in the original, all shapes have batch 1,
    the JPEG bytes are a constant to be fed (`DecodeJpeg/contents:0`), normalisation
    is the old `BatchNormWithGlobalNormalization` and each layer has a `CheckNumerics`.

    Args:
      folder: where the archive goes; made if absent.
      seed: the same seed gives the same weights.

    Returns:
      The path of `inception-2015-12-05.tgz` in `folder`.
    """
    return _write_tgz(
        Path(folder) / "inception-2015-12-05.tgz",
        {
            "classify_image_graph_def.pb": _inception_graph(np.random.default_rng(seed)),
            "LICENSE": b"Random weights, made for tests.\n",
        },
    )


def _mobilenet_weights(
    width: float, size_px: int, rng: np.random.Generator
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns weights and biases by layer name, scaled on random pictures."""
    images = _smooth_pictures(CALIBRATION_PICTURES, size_px, rng)
    weights: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def layer(
        name: str, shape: tuple[int, ...], images: tf.Tensor, conv: Callable
    ) -> tf.Tensor:
        kernel = rng.standard_normal(shape).astype(np.float32)
        outputs = conv(images, kernel)
        mean, variance = tf.nn.moments(outputs, axes=[0, 1, 2])
        scale = 1 / np.sqrt(variance.numpy() + 1e-6)
        # A depthwise kernel is [h, w, channels, 1], a full one [h, w, in, channels].
        kernel *= scale[:, None] if conv is _depthwise_1 or conv is _depthwise_2 else scale
        weights[name] = kernel, -mean.numpy() * scale
        return (outputs - mean) * scale

    channels = 3
    for i, (depth, stride) in enumerate(MOBILENET_LAYERS):
        depth = max(8, round(depth * width))
        if i == 0:
            shape = (3, 3, channels, depth)
            images = tf.nn.relu6(layer("Conv2d_0", shape, images, _conv_2))
        else:
            conv = _depthwise_2 if stride == 2 else _depthwise_1
            name = f"Conv2d_{i}_depthwise"
            images = tf.nn.relu6(layer(name, (3, 3, channels, 1), images, conv))
            name = f"Conv2d_{i}_pointwise"
            images = tf.nn.relu6(layer(name, (1, 1, channels, depth), images, _conv_1))
        channels = depth
    pooled = tf.reduce_mean(images, axis=[1, 2], keepdims=True)
    layer("Conv2d_1c_1x1", (1, 1, channels, MOBILENET_CLASSES), pooled, _conv_1)
    return weights


def _conv_1(images: tf.Tensor, kernel: np.ndarray) -> tf.Tensor:
    return tf.nn.conv2d(images, kernel, strides=1, padding="SAME")


def _conv_2(images: tf.Tensor, kernel: np.ndarray) -> tf.Tensor:
    return tf.nn.conv2d(images, kernel, strides=2, padding="SAME")


def _depthwise_1(images: tf.Tensor, kernel: np.ndarray) -> tf.Tensor:
    return tf.nn.depthwise_conv2d(images, kernel, (1, 1, 1, 1), "SAME")


def _depthwise_2(images: tf.Tensor, kernel: np.ndarray) -> tf.Tensor:
    return tf.nn.depthwise_conv2d(images, kernel, (1, 2, 2, 1), "SAME")


def _mobilenet_graph(
    weights: dict[str, tuple[np.ndarray, np.ndarray]], size_px: int, quantized: bool
) -> bytes:
    """Returns the GraphDef with the published node names."""
    with tf.Graph().as_default() as graph:

        def bias_add(scope: str, outputs: tf.Tensor, name: str) -> tf.Tensor:
            biases = tf.constant(weights[scope][1], name=f"{name}/bias")
            return tf.nn.bias_add(outputs, biases, name=f"{name}/add_1")

        def kernel(scope: str, name: str) -> tf.Tensor:
            value = weights[scope][0]
            if not quantized:
                return tf.identity(tf.constant(value, name=name), name=f"{name}/read")
            low, high = float(value.min()), float(value.max())
            codes = np.round((value - low) / (high - low) * 255).astype(np.uint8)
            codes = tf.constant(codes, tf.quint8, name=f"{name}/quantized_const")
            return tf.quantization.dequantize(
                codes, low, high, mode="MIN_FIRST", name=name
            )

        inside = "MobilenetV1/MobilenetV1"
        images = v1.placeholder(tf.float32, [1, size_px, size_px, 3], name="input")
        for i, (_, stride) in enumerate(MOBILENET_LAYERS):
            scopes = ["Conv2d_0"] if i == 0 else []
            scopes += [f"Conv2d_{i}_depthwise", f"Conv2d_{i}_pointwise"] if i else []
            for scope in scopes:
                if scope.endswith("depthwise"):
                    images = v1.nn.depthwise_conv2d_native(
                        images,
                        kernel(scope, f"MobilenetV1/{scope}/depthwise_weights"),
                        (1, stride, stride, 1),
                        "SAME",
                        name=f"{inside}/{scope}/depthwise",
                    )
                else:
                    images = v1.nn.conv2d(
                        images,
                        kernel(scope, f"MobilenetV1/{scope}/weights"),
                        strides=stride if i == 0 else 1,
                        padding="SAME",
                        name=f"{inside}/{scope}/convolution",
                    )
                images = bias_add(
                    scope, images, f"{inside}/{scope}/BatchNorm/batchnorm"
                )
                images = tf.nn.relu6(images, name=f"{inside}/{scope}/Relu6")
        side_px = images.shape[1]
        images = v1.nn.avg_pool(
            images,
            [1, side_px, side_px, 1],
            [1, 1, 1, 1],
            "VALID",
            name="MobilenetV1/Logits/AvgPool_1a/AvgPool",
        )
        images = tf.identity(images, name="MobilenetV1/Logits/Dropout_1b/Identity")
        last = "MobilenetV1/Logits/Conv2d_1c_1x1"
        logits = v1.nn.conv2d(
            images,
            kernel("Conv2d_1c_1x1", f"{last}/weights"),
            strides=1,
            padding="SAME",
            name=f"{last}/convolution",
        )
        biases = tf.constant(weights["Conv2d_1c_1x1"][1], name=f"{last}/biases")
        logits = tf.nn.bias_add(logits, biases, name=f"{last}/BiasAdd")
        logits = tf.squeeze(logits, [1, 2], name="MobilenetV1/Logits/SpatialSqueeze")
        predictions = "MobilenetV1/Predictions"
        logits = tf.reshape(logits, [-1, MOBILENET_CLASSES], name=f"{predictions}/Reshape")
        scores = tf.nn.softmax(logits, name=f"{predictions}/Softmax")
        # The published graph fixes the batch here, and only here and at the input.
        tf.reshape(scores, [1, MOBILENET_CLASSES], name=f"{predictions}/Reshape_1")
    return graph.as_graph_def().SerializeToString(deterministic=True)


def _inception_graph(rng: np.random.Generator) -> bytes:
    """Returns the GraphDef with the published node names and its old operations."""
    size_px = INCEPTION_SIZE_PX
    activations = _smooth_pictures(CALIBRATION_PICTURES, size_px, rng)
    grey = np.full((8, 8, 3), 128, np.uint8)
    with tf.Graph().as_default() as graph:
        contents = tf.constant(
            tf.io.encode_jpeg(grey).numpy()
            if tf.executing_eagerly()
            else _run(lambda: tf.io.encode_jpeg(grey)),
            name="DecodeJpeg/contents",
        )
        image = tf.image.decode_jpeg(contents, channels=3, name="DecodeJpeg")
        image = tf.cast(image, tf.float32, name="Cast")
        images = tf.expand_dims(image, 0, name="ExpandDims")
        images = v1.image.resize_bilinear(
            images, [size_px, size_px], name="ResizeBilinear"
        )
        images = tf.subtract(images, 128.0, name="Sub")
        images = tf.multiply(images, 1 / 128, name="Mul")
    raise NotImplementedError(activations, images)
