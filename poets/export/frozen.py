"""Builds the retrained graph, a frozen GraphDef for TensorFlow 1.x, 2.x and OpenCV.

    DecodeJpeg/contents:0 (bytes) ─> DecodeJpeg ─> Cast ─> ExpandDims
        ─> ResizeBilinear ─> Sub ─> Mul ─> input:0 (floats) ─> backbone
        ─> input_1/BottleneckInputPlaceholder ─> final_training_ops ─> final_result:0

Programs address tensors by name, so all tensors keep the names and the meaning that
the original scripts gave them, and each can be fed or fetched. TensorFlow 1.x refuses
attributes that it does not know, while OpenCV needs some even at their default value:
attributes that TensorFlow 1.5 knows are written, newer ones are left out.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from poets.backbones import Backbone
from poets.backbones.graph import parse_graph, scale
from poets.classifier.with_tensorflow import FrozenGraphClassifier
from poets.errors import ConfigError
from poets.export import TrainedModel
from poets.export.graph import (
    CONTENTS_NAME,
    add_classifier,
    control_flow_v1,
    decode_and_resize,
)
from poets.export.verify import Check, Samples, compare, worst
from poets.head import Head
from poets.system.runtime import tf, v1

NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
"""The operation names of tensorflow/core/framework/node_def_util.cc."""

OLD_ATTRIBUTES = {
    "Tdim", "Tidx", "Tmultiples", "Tpaddings", "Tperm", "Tshape", "adj_x", "adj_y",
    "align_corners", "alpha", "begin_mask", "beta", "bias", "data_format",
    "depth_radius", "ellipsis_mask", "end_mask", "epsilon", "is_training", "keep_dims",
    "new_axis_mask", "shrink_axis_mask", "squeeze_dims", "transpose_a", "transpose_b",
    "use_cudnn_on_gpu",
}  # fmt: skip
"""Attributes with defaults that TensorFlow 1.5 knows wherever later versions do."""


def build(model: TrainedModel, path: str) -> None:
    """Writes the graph into a local file."""
    Path(path).write_bytes(frozen_graph(model))


def check(path: str, model: TrainedModel, samples: Samples) -> Check:
    """Scores a graph at both its inputs.

    Raises:
      ModelError: if a label differs.
    """
    data = Path(path).read_bytes()
    input_name = model.backbone.input_name
    classifier = FrozenGraphClassifier(
        data, "the retrained graph", model.labels, input_name
    )
    plain = samples.plain().few()
    pixels = samples.pixels(model.backbone.image_size_px)
    scaled = (pixels - model.backbone.mean) / model.backbone.std
    return worst(
        compare(
            f"the retrained graph at {input_name}:0",
            samples,
            lambda: classifier.predict_scaled(scaled),
        ),
        compare(
            "the retrained graph at DecodeJpeg/contents:0",
            plain,
            lambda: [classifier.predict_bytes(data) for data in plain.contents],
        ),
    )


def frozen_graph(model: TrainedModel) -> bytes:
    """Returns the serialised GraphDef of the whole classifier."""
    backbone = model.backbone
    with tf.Graph().as_default() as graph:
        contents = v1.placeholder(tf.string, [], name=CONTENTS_NAME)
        pixels = decode_and_resize(contents, backbone.image_size_px)
        images = _fed_or(scale(pixels, backbone), backbone)
        add_classifier(images, model)
    return without_defaults(graph.as_graph_def()).SerializeToString(deterministic=True)


def check_final_tensor_name(name: str, backbone: Backbone) -> None:
    """Checks the name of the output operation, before the work starts.

    Raises:
      ConfigError: if TensorFlow refuses the name, or the backbone already uses it.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"--final_tensor_name={name!r} is not a valid name of a TensorFlow "
            "operation; use letters, digits and _ . - /"
        )
    trial = Head(np.zeros((backbone.bottleneck_size, 2), "f4"), np.zeros(2, "f4"))
    model = TrainedModel(backbone, trial, name)
    graph = parse_graph(frozen_graph(model), backbone.name)
    if graph.node[-1].name != name:  # TensorFlow appended "_1"
        raise ConfigError(
            f"--final_tensor_name={name!r}: the graph of {backbone.name} has an "
            "operation of that name; choose another"
        )


def _fed_or(decoded: Any, backbone: Backbone) -> Any:
    """Adds the backbone's input: the decoded image, unless a batch is fed instead.

    The input is a condition that is always true, for OpenCV's sake. OpenCV cannot
    decode images and has no control flow: its importer keeps the False branch of a
    condition and drops what only the other branch needs. For OpenCV the graph thus
    begins at the False branch's placeholder, as the original MobileNets did.

    Args:
      decoded: float32 [1, S, S, 3], scaled.
      backbone: for the name of its input.

    Returns:
      float32 [N, S, S, 3].
    """
    # If one branch has an unknown batch size, a batch of any size can be fed. It is
    # not the placeholder, because TensorFlow 1.0 to 1.2 refuse one of unknown size.
    of_any_batch = v1.placeholder_with_default(
        decoded, [None, *decoded.shape[1:]], name="decoded"
    )
    with control_flow_v1():
        images = v1.cond(
            tf.constant(True, name="decode"),
            lambda: of_any_batch,
            lambda: v1.placeholder(tf.float32, decoded.shape, name="images"),
            name="fed",
        )
    return tf.identity(images, name=backbone.input_name)


def without_defaults(graph_def: Any) -> Any:
    """Removes newer attributes that have their default values from a GraphDef.

    TensorFlow's import adds them to the object again, so serialise it first.
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
                and name not in OLD_ATTRIBUTES
                and name in node.attr
                and node.attr[name] == attribute.default_value
            ):
                del node.attr[name]
        for name in [name for name in node.attr if name.startswith("_")]:
            del node.attr[name]
    return graph_def
