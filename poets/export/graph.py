"""Parts of the graphs that several exporters build."""

import contextlib
from collections.abc import Iterator
from typing import Any

from poets.backbones.graph import OUTPUT_NAME, add_backbone, pixel_placeholder, scale
from poets.export import TrainedModel
from poets.system.runtime import tf, v1

CONTENTS_NAME = "DecodeJpeg/contents"


def scoring_graph(model: TrainedModel) -> Any:
    """Returns a GraphDef from `pixels`, float32 [N, S, S, 3] in 0..255, to `output`."""
    with tf.Graph().as_default() as graph:
        images = scale(pixel_placeholder(model.backbone), model.backbone)
        add_classifier(images, model, OUTPUT_NAME)
    return graph.as_graph_def()


def decode_and_resize(contents: Any, size_px: int) -> Any:
    """Returns float32 [1, S, S, 3] in 0..255 from scalar JPEG or PNG bytes.

    Same as `poets.data.images`, except that TensorFlow ignores the EXIF orientation.
    """
    pixels = tf.image.decode_jpeg(
        contents, channels=3, dct_method="INTEGER_ACCURATE", name="DecodeJpeg"
    )
    batch = tf.expand_dims(tf.cast(pixels, tf.float32, name="Cast"), 0, "ExpandDims")
    return v1.image.resize_bilinear(batch, [size_px, size_px], name="ResizeBilinear")


@contextlib.contextmanager
def control_flow_v1() -> Iterator[None]:
    """Builds conditions and loops from operations that TensorFlow 1.x has."""
    enabled = v1.control_flow_v2_enabled()
    v1.disable_control_flow_v2()
    try:
        yield
    finally:
        if enabled:
            v1.enable_control_flow_v2()


def add_classifier(images: Any, model: TrainedModel, output_name: str = "") -> Any:
    """Adds backbone and head to the current graph; returns float32 [N, L].

    Args:
      images: float32 [N, S, S, 3], scaled.
      model: the classifier.
      output_name: of the scores, "" for the model's.
    """
    backbone, head = model.backbone, model.head
    bottlenecks = add_backbone(images, backbone)
    bottlenecks = tf.identity(bottlenecks, backbone.bottleneck_input_name)
    with tf.name_scope(backbone.head_scope):
        weights = _frozen_variable(head.weights, "weights")
        biases = _frozen_variable(head.biases, "biases")
        with tf.name_scope("Wx_plus_b"):
            products = tf.matmul(bottlenecks, weights, name="MatMul")
            logits = tf.nn.bias_add(products, biases, name="add")
    return tf.nn.softmax(logits, name=output_name or model.output_name)


def _frozen_variable(value: Any, name: str) -> Any:
    """Adds the two nodes that TensorFlow's freezing turns a variable into."""
    with tf.name_scope(name):
        constant = tf.constant(value, name=f"final_{name}")
        return tf.identity(constant, f"final_{name}/read")
