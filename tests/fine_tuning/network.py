"""A small frozen network of old operations with a branch, and inputs made of it."""

import numpy as np

from poets.backbones import Backbone
from poets.fine_tuning.files import Inputs
from poets.fine_tuning.layers import cut_before_last
from poets.fine_tuning.steps import BIASES, WEIGHTS
from poets.head import Head
from poets.head.standardizer import Standardizer
from poets.system.runtime import tf, v1

SIZE_PX, LABELS, DIMENSIONS = 8, 3, 6

LAYERS = ("first", "left", "right", "deep", "last")
"""In the order of their depth; `left` and `right` lie side by side."""


def backbone() -> Backbone:
    """Returns 5 layers: two convolutions, two depthwise ones side by side, a product.

    The first is normalised by FusedBatchNorm; the last two have a BiasAdd.
    """
    rng = np.random.default_rng(0)

    def constant(name, *shape, scale=0.4):
        value = rng.standard_normal(shape).astype(np.float32) * np.float32(scale)
        return tf.identity(tf.constant(value, name=name), f"{name}/read")

    strides = [1, 1, 1, 1]
    with tf.Graph().as_default() as graph:
        images = v1.placeholder(tf.float32, [None, SIZE_PX, SIZE_PX, 3], name="input")
        x = v1.nn.conv2d(images, constant("first/kernel", 3, 3, 3, 4), strides, "SAME")
        x, _, _ = v1.nn.fused_batch_norm(
            *(x, constant("gamma", 4), constant("beta", 4), constant("mean", 4)),
            tf.constant(np.ones(4, np.float32)),
            is_training=False,
        )
        x = tf.nn.relu6(x)
        sides = [
            v1.nn.depthwise_conv2d_native(
                x, constant(f"{side}/kernel", 3, 3, 4, 1), [1, 2, 2, 1], "SAME"
            )
            for side in ("left", "right")
        ]
        x = tf.nn.relu6(tf.concat(sides, 3))
        x = v1.nn.conv2d(x, constant("deep/kernel", 1, 1, 8, 5), strides, "SAME")
        x = tf.nn.relu6(tf.nn.bias_add(x, constant("deep/bias", 5)))
        x = tf.reduce_mean(x, [1, 2])
        x = tf.matmul(x, constant("last/kernel", 5, DIMENSIONS))
        tf.nn.bias_add(x, constant("last/bias", DIMENSIONS), name="bottleneck")
    graph_def = graph.as_graph_def()
    return Backbone(
        name="small",
        graph=graph_def.SerializeToString(deterministic=True),
        input_name="input",
        bottleneck_name="bottleneck",
        image_size_px=SIZE_PX,
        bottleneck_size=DIMENSIONS,
        mean=127.5,
        std=127.5,
    )


def run(network: Backbone, images: np.ndarray) -> np.ndarray:
    """Returns what a backbone makes of scaled images."""
    graph_def = v1.GraphDef.FromString(network.graph)
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        v1.import_graph_def(graph_def, name="")
        fed = {f"{network.input_name}:0": images}
        return session.run(f"{network.bottleneck_name}:0", fed)


def pictures(count: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = (count, SIZE_PX, SIZE_PX, 3)
    return rng.standard_normal(shape).astype(np.float32)


def head(seed: int = 2) -> Head:
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((DIMENSIONS, LABELS)).astype(np.float32) * 0.3
    return Head(weights, rng.standard_normal(LABELS).astype(np.float32))


def inputs(layers: int = 3, steps: int = 12, batch_size: int = 8, **more) -> Inputs:
    """Returns inputs of 40 training and 10 validation pictures."""
    network = backbone()
    cut = cut_before_last(network, layers)
    features = run(cut.trunk, pictures(50))
    bottlenecks = run(network, pictures(50))
    spread = bottlenecks.std(axis=0)
    standard = Standardizer(bottlenecks.mean(axis=0), 1 / spread)
    start = standard.unfold(head())
    values = {
        "tail": cut.tail,
        "standard": standard,
        "values": {**cut.tail.initial(), WEIGHTS: start.weights, BIASES: start.biases},
        "features": features,
        "labels": np.random.default_rng(3).integers(0, LABELS, 50).astype(np.int32),
        "trained": 40,
        "label_weights": np.array([1, 2, 0.5], np.float32),
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": 0.01,
        "seed": 0,
    }
    return Inputs(**{**values, **more})
