"""Cuts, joins and converts frozen TensorFlow graphs.

The published archives hold more than the backbone, with a batch of 1 fixed in their
shapes. `cut` keeps the part between the input and the bottleneck, for any batch size.
All other graphs are made of it by joining GraphDefs, without functions or variables.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from poets.backbones import Backbone
from poets.backbones.old_ops import modernise
from poets.errors import ModelError, first_line
from poets.system.quiet import quiet_stderr
from poets.system.runtime import tf, v1

PIXELS_NAME, OUTPUT_NAME = "pixels", "output"
"""Input and output of the graphs for engines and `.tflite` files."""


def parse_graph(data: bytes, source: str) -> Any:
    """Returns the GraphDef in `data`.

    Raises:
      ModelError: if it is not a GraphDef.
    """
    graph_def = v1.GraphDef()
    try:
        graph_def.ParseFromString(data)
    except Exception as error:
        raise ModelError(
            f"cannot read {source}: its {len(data)} bytes are not a TensorFlow "
            "GraphDef; fetch the file again"
        ) from error
    return graph_def


def cut(
    data: bytes, input_name: str, bottleneck_name: str, size_px: int, source: str
) -> bytes:
    """Returns the part of a frozen graph from its input to its bottleneck.

    Args:
      data: serialised GraphDef.
      input_name: node that becomes a placeholder, float32 [N, size_px, size_px, 3].
      bottleneck_name: node whose output is the bottleneck.
      size_px: image size.
      source: the graph's name in errors.

    Raises:
      ModelError: if a node is missing.
    """
    graph_def = parse_graph(data, source)
    nodes = {node.name: node for node in graph_def.node}
    for name in (input_name, bottleneck_name):
        if name not in nodes:
            raise ModelError(
                f"{source} has no node {name!r} among its {len(nodes)}: it is not the "
                "network of its name; fetch the file again"
            )
    node = nodes[input_name]
    node.Clear()
    node.name, node.op = input_name, "Placeholder"
    node.attr["dtype"].type = tf.float32.as_datatype_enum
    for size in (-1, size_px, size_px, 3):
        node.attr["shape"].shape.dim.add(size=size)
    _free_batch(nodes, nodes[bottleneck_name])
    part = v1.graph_util.extract_sub_graph(graph_def, [bottleneck_name])
    return modernise(part).SerializeToString(deterministic=True)


def _free_batch(nodes: dict[str, Any], node: Any) -> None:
    """Changes a last reshape to [1, D] into one to [-1, D]."""
    if node.op != "Reshape":
        return
    constant = nodes.get(node.input[1].split(":")[0])
    if constant is None or constant.op != "Const":
        return
    shape = tf.make_ndarray(constant.attr["value"].tensor).copy()
    if shape.size == 2 and shape[0] == 1:
        shape[0] = -1
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(shape))


def bottleneck_size(graph: bytes, bottleneck_name: str, source: str) -> int:
    """Returns D of a cut graph with output [N, D].

    Raises:
      ModelError: if the output has another shape.
    """
    with tf.Graph().as_default():
        (output,) = v1.import_graph_def(
            parse_graph(graph, source),
            return_elements=[f"{bottleneck_name}:0"],
            name="",
        )
    if output.shape.rank != 2 or not output.shape[1]:
        raise ModelError(
            f"{source}: {bottleneck_name!r} has shape {output.shape}; a bottleneck is "
            "[N, D]"
        )
    return output.shape[1]


def pixel_placeholder(backbone: Backbone) -> Any:
    """Adds the placeholder `pixels`, float32 [N, S, S, 3] in 0..255."""
    size_px = backbone.image_size_px
    return v1.placeholder(tf.float32, [None, size_px, size_px, 3], name=PIXELS_NAME)


def scale(pixels: Any, backbone: Backbone) -> Any:
    """Adds the scaling of pixels in 0..255 for the backbone's input.

    The nodes are named as in the original graphs, where `Mul` is Inception's input.
    """
    name = "Mul/product" if backbone.input_name == "Mul" else "Mul"
    factor = tf.constant(1.0 / np.asarray(backbone.std), tf.float32, name="Mul/y")
    return tf.multiply(tf.subtract(pixels, backbone.mean, name="Sub"), factor, name)


def add_backbone(images: Any, backbone: Backbone) -> Any:
    """Adds the backbone to the current graph; returns float32 [N, D].

    Args:
      images: float32 [N, S, S, 3], scaled; replaces the backbone's placeholder.
      backbone: the network; its nodes keep their names.
    """
    graph_def = parse_graph(backbone.graph, backbone.name)
    kept = [node for node in graph_def.node if node.name != backbone.input_name]
    del graph_def.node[:]
    graph_def.node.extend(kept)
    (bottlenecks,) = v1.import_graph_def(
        graph_def,
        input_map={f"{backbone.input_name}:0": images},
        return_elements=[f"{backbone.bottleneck_name}:0"],
        name="",
    )
    return bottlenecks


def pixel_graph(backbone: Backbone) -> bytes:
    """Returns the backbone as a GraphDef from `pixels` to `output`."""
    with tf.Graph().as_default() as graph:
        images = scale(pixel_placeholder(backbone), backbone)
        tf.identity(add_backbone(images, backbone), name=OUTPUT_NAME)
    return graph.as_graph_def().SerializeToString()


def convert_to_litert(graph: bytes) -> bytes:
    """Returns a GraphDef from `pixels` to `output` as a LiteRT model.

    Raises:
      ModelError: if it has an operation that LiteRT does not have.
    """
    with tempfile.TemporaryDirectory(prefix="poets-litert-") as folder:
        path = os.path.join(folder, "graph.pb")
        Path(path).write_bytes(graph)
        # Takes a quarter of the time of the converter for functions.
        converter = v1.lite.TFLiteConverter.from_frozen_graph(
            path, [PIXELS_NAME], [OUTPUT_NAME]
        )
        try:
            with quiet_stderr():
                return converter.convert()
        except Exception as error:
            raise ModelError(
                f"cannot convert to LiteRT: {first_line(error)}"
            ) from error
