"""The retrained graph: a frozen GraphDef that TensorFlow 1.x programs load too.

    DecodeJpeg/contents:0 (bytes) ─> decode ─> resize ─> scale ─> input:0 (floats)
        ─> backbone ─> final_training_ops ─> final_result:0

Feed either end. Attributes that have their default value are left out: an old
TensorFlow refuses attributes it does not know, even at their defaults.
"""

from typing import Any

from poets.backbones import Backbone
from poets.backbones.graph import add_backbone, scale
from poets.head import Head
from poets.runtime import tf, v1

CONTENTS_NAME = "DecodeJpeg/contents"


def frozen_graph(backbone: Backbone, head: Head, final_tensor_name: str) -> bytes:
    """Returns the serialised GraphDef of the whole classifier."""
    with tf.Graph().as_default() as graph:
        contents = v1.placeholder(tf.string, [], name=CONTENTS_NAME)
        pixels = decode_and_resize(contents, backbone.image_size_px)
        images = scaled_input(tf.expand_dims(pixels, 0), backbone)
        add_classifier(images, backbone, head, final_tensor_name)
    return without_defaults(graph.as_graph_def()).SerializeToString(deterministic=True)


def decode_and_resize(contents: Any, size_px: int) -> Any:
    """Returns float32 [S, S, 3] in 0..255 of scalar JPEG or PNG bytes.

    As `poets.images` does it, but for EXIF orientation, which TensorFlow ignores.
    """
    with tf.name_scope("preprocess"):
        pixels = tf.image.decode_jpeg(
            contents, channels=3, dct_method="INTEGER_ACCURATE"
        )
        batch = tf.expand_dims(tf.cast(pixels, tf.float32), 0)
        return tf.squeeze(v1.image.resize_bilinear(batch, [size_px, size_px]), [0])


def scaled_input(pixels: Any, backbone: Backbone) -> Any:
    """Returns the backbone's input, which may be fed in place of the pixels.

    Args:
      pixels: float32 [N, S, S, 3] in 0..255.
      backbone: for its scaling and the name of its input.
    """
    size_px = backbone.image_size_px
    shape = [None, size_px, size_px, 3]
    scaled = scale(pixels, backbone)
    return v1.placeholder_with_default(scaled, shape, name=backbone.input_name)


def add_classifier(
    images: Any, backbone: Backbone, head: Head, final_tensor_name: str
) -> Any:
    """Adds backbone and head to the current graph; returns float32 [N, L]."""
    bottlenecks = add_backbone(images, backbone)
    with tf.name_scope("final_training_ops"):
        weights = tf.constant(head.weights, name="weights")
        biases = tf.constant(head.biases, name="biases")
        logits = tf.nn.bias_add(tf.matmul(bottlenecks, weights), biases)
    return tf.nn.softmax(logits, name=final_tensor_name)


def without_defaults(graph_def: Any) -> Any:
    """Returns the GraphDef without attributes at their default values.

    Importing a GraphDef puts them back into the very object: serialise it first.
    """
    from tensorflow.python.framework import op_def_registry

    functions = [
        node for function in graph_def.library.function for node in function.node_def
    ]
    for node in [*graph_def.node, *functions]:
        definition = op_def_registry.get(node.op)
        for attribute in definition.attr if definition else ():
            name = attribute.name
            if (
                attribute.HasField("default_value")
                and name in node.attr
                and node.attr[name] == attribute.default_value
            ):
                del node.attr[name]
        for name in [name for name in node.attr if name.startswith("_")]:
            del node.attr[name]
    return graph_def
