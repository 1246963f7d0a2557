"""Look-alikes of the published backbone archives, with random weights.

    mobilenet_v1_0.25_128_frozen.tgz        inception-2015-12-05.tgz
      mobilenet_v1_0.25_128/                  classify_image_graph_def.pb
        frozen_graph.pb                       imagenet_*.pbtxt, imagenet_*.txt
        quantized_graph.pb                    cropped_panda.jpg
        labels.txt                            LICENSE

Node names, shapes, old operations and the layout of the archives are those of the
originals, so tests and benchmarks run without the originals and without a network.
The weights are random, but each layer is scaled on smooth random pictures so that
its outputs have mean 0 and deviation 1 in every channel. The features of different
pictures then differ clearly, which plain random layers do not give: each ReLU pulls
all pictures closer together.

Digests differ from the published ones, and the classes mean nothing.
"""

import io
import tarfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as v1
from PIL import Image

# Channels at width 1.0 and stride of MobileNet v1 (Howard et al., 2017, table 1):
# one full convolution, then 13 depthwise separable ones.
MOBILENET_LAYERS = (
    (32, 2), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
MOBILENET_CLASSES = 1001
WIDTH_NAMES = {1.0: "1.0", 0.75: "0.75", 0.5: "0.50", 0.25: "0.25"}
INCEPTION_SIZE_PX = 299
INCEPTION_CHANNELS = (8, 16, 32, 32, 2048)
INCEPTION_CLASSES = 1008
# The last GraphDef version that takes BatchNormWithGlobalNormalization, of which the
# published Inception is made.
INCEPTION_PRODUCER = 8
CALIBRATION_PICTURES = 16


@dataclass(frozen=True)
class _Layer:
    """One convolution: kernel [h, w, in, out], or [h, w, in, 1] if depthwise."""

    scope: str
    shape: tuple[int, int, int, int]
    stride: int
    padding: str = "SAME"
    relu6: bool = True
    kernel: np.ndarray = field(default_factory=lambda: np.zeros(0))
    bias: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def depthwise(self) -> bool:
        return self.scope.endswith("depthwise")


def write_mobilenet_archive(
    folder: str | Path, width: float = 0.25, size_px: int = 128, seed: int = 0
) -> Path:
    """Writes a random MobileNet v1 as its publisher packs it.

    `frozen_graph.pb` maps `input:0`, float32 [1, size_px, size_px, 3] in -1..1, to
    `MobilenetV1/Predictions/Reshape:0`, [1, 1001]; `quantized_graph.pb` is the same
    with the kernels rounded to 8 bits.

    Args:
      folder: where the archive goes; made if absent.
      width: 1.0, 0.75, 0.5 or 0.25, the share of the channels.
      size_px: side of the input pictures, a multiple of 32.
      seed: the same seed gives the same weights.

    Returns:
      The path of `mobilenet_v1_<width>_<size_px>_frozen.tgz` in `folder`.
    """
    rng = np.random.default_rng(seed)
    layers, channels = [], 3
    for i, (depth, stride) in enumerate(MOBILENET_LAYERS):
        depth = max(8, round(depth * width))
        if i == 0:
            layers.append(_Layer("Conv2d_0", (3, 3, channels, depth), stride))
        else:
            scope = f"Conv2d_{i}_depthwise"
            layers.append(_Layer(scope, (3, 3, channels, 1), stride))
            scope = f"Conv2d_{i}_pointwise"
            layers.append(_Layer(scope, (1, 1, channels, depth), 1))
        channels = depth
    layers, features = _calibrate(layers, _smooth_pictures(size_px, rng), rng)
    shape = (1, 1, channels, MOBILENET_CLASSES)
    logits = _Layer("Conv2d_1c_1x1", shape, 1, relu6=False)
    pooled = tf.reduce_mean(features, axis=[1, 2], keepdims=True)
    [logits], _ = _calibrate([logits], pooled, rng)

    name = f"mobilenet_v1_{WIDTH_NAMES[width]}_{size_px}"
    labels = "".join(f"{i}:class {i}\n" for i in range(MOBILENET_CLASSES))
    return _write_tgz(
        Path(folder) / f"{name}_frozen.tgz",
        {
            f"{name}/frozen_graph.pb": _mobilenet_graph(layers, logits, size_px, False),
            f"{name}/quantized_graph.pb": _mobilenet_graph(
                layers, logits, size_px, True
            ),
            f"{name}/labels.txt": labels.encode(),
        },
    )


def write_inception_archive(folder: str | Path, seed: int = 0) -> Path:
    """Writes a tiny network under the names of the published Inception of 2015.

    Five convolutions instead of 94. As in the original, all shapes have batch 1,
    the JPEG bytes are a constant to be fed (`DecodeJpeg/contents:0`), a layer is
    normalised by the old `BatchNormWithGlobalNormalization` and has a
    `CheckNumerics`.

    Args:
      folder: where the archive goes; made if absent.
      seed: the same seed gives the same weights.

    Returns:
      The path of `inception-2015-12-05.tgz` in `folder`.
    """
    rng = np.random.default_rng(seed)
    layers, channels = [], 3
    for i, depth in enumerate(INCEPTION_CHANNELS):
        scope = f"conv_{i}" if i else "conv"
        layers.append(_Layer(scope, (3, 3, channels, depth), 2, "VALID", relu6=False))
        channels = depth
    layers, _ = _calibrate(layers, _smooth_pictures(INCEPTION_SIZE_PX, rng), rng)
    nodes = range(1, 1001)
    entries = [
        f'entry {{\n  target_class: {node}\n  target_class_string: "n{node:08}"\n}}\n'
        for node in reversed(nodes)
    ]
    names = [f"n{node:08}\tlabel {node}, also called {node}\n" for node in nodes]
    return _write_tgz(
        Path(folder) / "inception-2015-12-05.tgz",
        {
            "classify_image_graph_def.pb": _inception_graph(layers, rng),
            "imagenet_2012_challenge_label_map_proto.pbtxt": "".join(entries).encode(),
            "imagenet_synset_to_human_label_map.txt": "".join(names).encode(),
            "cropped_panda.jpg": _grey_jpeg(),
            "LICENSE": b"Random weights, made for tests.\n",
        },
    )


def _calibrate(
    layers: list[_Layer], images: tf.Tensor, rng: np.random.Generator
) -> tuple[list[_Layer], tf.Tensor]:
    """Draws the weights, layer by layer, and returns what comes out of the last."""
    drawn = []
    for layer in layers:
        kernel = rng.standard_normal(layer.shape).astype(np.float32)
        outputs = _convolve(images, kernel, layer)
        mean, variance = (x.numpy() for x in tf.nn.moments(outputs, axes=[0, 1, 2]))
        scale = 1 / np.sqrt(variance + 1e-6)
        kernel *= scale[:, None] if layer.depthwise else scale
        drawn.append(replace(layer, kernel=kernel, bias=-mean * scale))
        images = (outputs - mean) * scale
        images = tf.nn.relu6(images) if layer.relu6 else tf.nn.relu(images)
    return drawn, images


def _convolve(
    images: tf.Tensor, kernel: tf.Tensor, layer: _Layer, name: str | None = None
) -> tf.Tensor:
    strides = (1, layer.stride, layer.stride, 1)
    if layer.depthwise:
        return v1.nn.depthwise_conv2d_native(
            images, kernel, strides, layer.padding, name=name
        )
    return v1.nn.conv2d(images, kernel, strides, layer.padding, name=name)


def _smooth_pictures(size_px: int, rng: np.random.Generator) -> tf.Tensor:
    """Returns random float32 pictures in -1..1 with details of every size."""
    pictures = 0.0
    cells = 2
    while cells <= size_px // 2:
        noise = rng.standard_normal((CALIBRATION_PICTURES, cells, cells, 3))
        pictures += tf.image.resize(noise.astype(np.float32), [size_px, size_px])
        cells *= 2
    return tf.tanh(pictures)


def _mobilenet_graph(
    layers: list[_Layer], logits: _Layer, size_px: int, quantized: bool
) -> bytes:
    """Returns the GraphDef under the published names."""
    inside, last, predictions = (
        f"MobilenetV1/{scope}"
        for scope in ("MobilenetV1", "Logits/Conv2d_1c_1x1", "Predictions")
    )

    def kernel(layer: _Layer, name: str) -> tf.Tensor:
        if not quantized:
            return tf.identity(tf.constant(layer.kernel, name=name), f"{name}/read")
        low, high = layer.kernel.min(), layer.kernel.max()
        codes = np.round((layer.kernel - low) / (high - low) * 255)
        codes = tf.constant(codes, tf.quint8, name=f"{name}/quantized_const")
        return v1.dequantize(codes, low, high, mode="MIN_FIRST", name=name)

    with tf.Graph().as_default() as graph:
        images = v1.placeholder(tf.float32, [1, size_px, size_px, 3], name="input")
        for layer in layers:
            scope = f"{inside}/{layer.scope}"
            weights = "depthwise_weights" if layer.depthwise else "weights"
            convolution = "depthwise" if layer.depthwise else "convolution"
            weights = kernel(layer, f"MobilenetV1/{layer.scope}/{weights}")
            images = _convolve(images, weights, layer, f"{scope}/{convolution}")
            bias = tf.constant(layer.bias, name=f"{scope}/BatchNorm/batchnorm/sub")
            images = v1.nn.bias_add(
                images, bias, name=f"{scope}/BatchNorm/batchnorm/add_1"
            )
            images = tf.nn.relu6(images, name=f"{scope}/Relu6")
        pooled = v1.nn.avg_pool(
            images,
            [1, images.shape[1], images.shape[2], 1],
            [1, 1, 1, 1],
            "VALID",
            name="MobilenetV1/Logits/AvgPool_1a/AvgPool",
        )
        weights = kernel(logits, f"{last}/weights")
        outputs = _convolve(pooled, weights, logits, f"{last}/convolution")
        bias = tf.constant(logits.bias, name=f"{last}/biases")
        outputs = v1.nn.bias_add(outputs, bias, name=f"{last}/BiasAdd")
        outputs = tf.squeeze(outputs, [1, 2], name="MobilenetV1/Logits/SpatialSqueeze")
        outputs = tf.reshape(
            outputs, [-1, MOBILENET_CLASSES], name=f"{predictions}/Reshape"
        )
        scores = tf.nn.softmax(outputs, name=f"{predictions}/Softmax")
        # Beside the input the one node that fixes the batch, as published.
        tf.reshape(scores, [1, MOBILENET_CLASSES], name=f"{predictions}/Reshape_1")
    return graph.as_graph_def().SerializeToString(deterministic=True)


def _inception_graph(layers: list[_Layer], rng: np.random.Generator) -> bytes:
    """Returns the GraphDef under the published names, of operations of its time.

    Written node by node: TensorFlow no longer builds the old normalisation, though
    it still loads and runs it.
    """
    graph = v1.GraphDef()
    graph.versions.producer = INCEPTION_PRODUCER
    float_t = v1.AttrValue(type=tf.float32.as_datatype_enum)

    def node(op: str, name: str, *inputs: str, **attrs: v1.AttrValue) -> str:
        added = graph.node.add(op=op, name=name, input=inputs)
        for key, value in attrs.items():
            added.attr[key].CopyFrom(value)
        return name

    def const(name: str, value: object, dtype: tf.DType = tf.float32) -> str:
        tensor = v1.AttrValue(tensor=tf.make_tensor_proto(value, dtype))
        kind = v1.AttrValue(type=dtype.as_datatype_enum)
        return node("Const", name, dtype=kind, value=tensor)

    def ints(*values: int) -> v1.AttrValue:
        return v1.AttrValue(list=v1.AttrValue.ListValue(i=values))

    const("DecodeJpeg/contents", _grey_jpeg(), tf.string)
    node("DecodeJpeg", "DecodeJpeg", "DecodeJpeg/contents", channels=v1.AttrValue(i=3))
    byte_t = v1.AttrValue(type=tf.uint8.as_datatype_enum)
    node("Cast", "Cast", "DecodeJpeg", SrcT=byte_t, DstT=float_t)
    node("ExpandDims", "ExpandDims", "Cast", const("ExpandDims/dim", 0, tf.int32),
         T=float_t)  # fmt: skip
    size = const("ResizeBilinear/size", [INCEPTION_SIZE_PX] * 2, tf.int32)
    node("ResizeBilinear", "ResizeBilinear", "ExpandDims", size, T=float_t)
    node("Sub", "Sub", "ResizeBilinear", const("Sub/y", 128.0), T=float_t)
    images = node("Mul", "Mul", "Sub", const("Mul/y", 1 / 128), T=float_t)
    for layer in layers:
        scope, channels = layer.scope, layer.shape[-1]
        params = const(f"{scope}/conv2d_params", layer.kernel)
        images = node(
            "Conv2D", f"{scope}/Conv2D", images, params, T=float_t,
            strides=ints(1, layer.stride, layer.stride, 1),
            padding=v1.AttrValue(s=layer.padding.encode()),
        )  # fmt: skip
        norm = f"{scope}/batchnorm"
        images = node(
            "BatchNormWithGlobalNormalization",
            norm,
            images,
            const(f"{norm}/moving_mean", -layer.bias),
            const(f"{norm}/moving_variance", np.full(channels, 0.999)),
            const(f"{norm}/beta", np.zeros(channels)),
            const(f"{norm}/gamma", np.ones(channels)),
            T=float_t,
            variance_epsilon=v1.AttrValue(f=0.001),
            scale_after_normalization=v1.AttrValue(b=False),
        )
        message = v1.AttrValue(s=b"batch normalization")
        check = node("CheckNumerics", f"{scope}/CheckNumerics", images, T=float_t,
                     message=message)  # fmt: skip
        images = node("Identity", f"{scope}/control_dependency", images, f"^{check}",
                      T=float_t)  # fmt: skip
        images = node("Relu", scope, images, T=float_t)
    node(
        "AvgPool", "pool_3", images, T=float_t, ksize=ints(1, 8, 8, 1),
        strides=ints(1, 1, 1, 1), padding=v1.AttrValue(s=b"VALID"),
    )  # fmt: skip
    shape = const("pool_3/_reshape/shape", [1, layers[-1].shape[-1]], tf.int32)
    node("Reshape", "pool_3/_reshape", "pool_3", shape, T=float_t)
    # Of two values only, so that the archive stays small.
    weights = rng.choice([-0.02, 0.02], (layers[-1].shape[-1], INCEPTION_CLASSES))
    node("MatMul", "softmax/logits/MatMul", "pool_3/_reshape",
         const("softmax/weights", weights), T=float_t)  # fmt: skip
    biases = const("softmax/biases", np.zeros(INCEPTION_CLASSES))
    node("BiasAdd", "softmax/logits", "softmax/logits/MatMul", biases, T=float_t)
    node("Softmax", "softmax", "softmax/logits", T=float_t)
    return graph.SerializeToString(deterministic=True)


def _grey_jpeg() -> bytes:
    grey = io.BytesIO()
    Image.new("RGB", (8, 8), (128, 128, 128)).save(grey, "JPEG")
    return grey.getvalue()


def _write_tgz(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path
