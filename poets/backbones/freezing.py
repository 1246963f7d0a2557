"""Freezes a function of TensorFlow 2 to a backbone's graph.

Variables become constants, so that the result is a frozen graph like any other.
"""

from collections.abc import Callable
from typing import Any

from poets.backbones import Backbone, PerChannel
from poets.backbones.graph import bottleneck_size
from poets.backbones.old_ops import modernise
from poets.system.runtime import tf, v1

INPUT_NAME, BOTTLENECK_NAME = "input", "bottleneck"
HUB_INPUT_NAME = "Placeholder"
"""The original script's name for the input of graphs with a module."""


def freeze(features: Callable[[Any], Any], size_px: int) -> bytes:
    """Returns a function as a serialised GraphDef, the same bytes each time.

    Args:
      features: from float32 [N, S, S, 3] to float32 [N, D].
      size_px: S.
    """
    from tensorflow.python.framework import convert_to_constants

    spec = tf.TensorSpec([None, size_px, size_px, 3], tf.float32)
    function = tf.function(features, input_signature=[spec], autograph=False)
    frozen = convert_to_constants.convert_variables_to_constants_v2(
        function.get_concrete_function()
    )
    with tf.Graph().as_default() as graph:
        images = v1.placeholder(tf.float32, frozen.inputs[0].shape, name=INPUT_NAME)
        (found,) = v1.import_graph_def(
            frozen.graph.as_graph_def(),
            input_map={frozen.inputs[0].name: tf.identity(images, HUB_INPUT_NAME)},
            return_elements=[frozen.outputs[0].name],
            name="model",
        )
        tf.identity(found, name=BOTTLENECK_NAME)
    graph_def = modernise(graph.as_graph_def())
    graph_def = v1.graph_util.extract_sub_graph(graph_def, [BOTTLENECK_NAME])
    _number_nodes(graph_def)
    return graph_def.SerializeToString(deterministic=True)


def frozen_backbone(
    name: str, graph: bytes, size_px: int, mean: PerChannel, std: PerChannel
) -> Backbone:
    """Returns a graph that `freeze` made as a backbone, see there."""
    return Backbone(
        name=name,
        graph=graph,
        input_name=INPUT_NAME,
        bottleneck_name=BOTTLENECK_NAME,
        image_size_px=size_px,
        bottleneck_size=bottleneck_size(graph, BOTTLENECK_NAME, name),
        mean=mean,
        std=std,
    )


def _number_nodes(graph_def: Any) -> None:
    """Names nodes by their position in the graph.

    TensorFlow's names of constants depend on what the process did before, but the
    graph's digest must not: it names the features in the store.
    """
    kept = (INPUT_NAME, HUB_INPUT_NAME, BOTTLENECK_NAME)
    names = {
        node.name: node.name if node.name in kept else f"model/{i}"
        for i, node in enumerate(graph_def.node)
    }
    for node in graph_def.node:
        node.name = names[node.name]
        for i, given in enumerate(node.input):  # as "name" or "name:1"
            name = given.partition(":")[0]
            node.input[i] = given.replace(name, names[name], 1)
        node.attr.pop("_class", None)  # colocation, by the old names
