"""Surgery on frozen TensorFlow graphs: cut, inspect, convert.

The published archives hold more than the backbone, with a batch of 1 written into
their shapes. `cut` leaves what lies between the input and the bottleneck, for any
batch.
"""

from typing import Any

from poets.backbones import Backbone
from poets.errors import ModelError
from poets.quiet import quiet_stderr
from poets.runtime import tf, v1


def parse_graph(data: bytes, source: str) -> Any:
    """Returns the GraphDef in `data`.

    Raises:
      ModelError: if it is none.
    """
    graph_def = v1.GraphDef()
    try:
        graph_def.ParseFromString(data)
    except Exception as error:
        raise ModelError(
            f"cannot read {source}: its {len(data)} bytes are no TensorFlow GraphDef; "
            "fetch the file again"
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
      source: what to call the graph in errors.

    Raises:
      ModelError: if a node is missing.
    """
    graph_def = parse_graph(data, source)
    nodes = {node.name: node for node in graph_def.node}
    for name in (input_name, bottleneck_name):
        if name not in nodes:
            raise ModelError(
                f"{source} has no node {name!r} among its {len(nodes)}: it is not the "
                "network that its name promises"
            )
    node = nodes[input_name]
    node.Clear()
    node.name, node.op = input_name, "Placeholder"
    node.attr["dtype"].type = tf.float32.as_datatype_enum
    for size in (-1, size_px, size_px, 3):
        node.attr["shape"].shape.dim.add(size=size)
    _free_batch(nodes, nodes[bottleneck_name])
    return v1.graph_util.extract_sub_graph(
        graph_def, [bottleneck_name]
    ).SerializeToString(deterministic=True)


def _free_batch(nodes: dict[str, Any], node: Any) -> None:
    """Makes a last reshape to [1, D] one to [-1, D]."""
    if node.op != "Reshape":
        return
    constant = nodes.get(node.input[1].split(":")[0])
    if constant is None or constant.op != "Const":
        return
    shape = tf.make_ndarray(constant.attr["value"].tensor).copy()
    if shape.size == 2 and shape[0] == 1:
        shape[0] = -1
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(shape))


def bottleneck_size(
    graph: bytes, input_name: str, bottleneck_name: str, source: str
) -> int:
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


def function_of(backbone: Backbone, scale: bool) -> Any:
    """Returns a concrete function of the backbone.

    Args:
      backbone: the network.
      scale: whether the function takes pixels in 0..255 and scales them itself.

    Returns:
      A function of float32 [N, S, S, 3] to float32 [N, D].
    """
    graph_def = parse_graph(backbone.graph, backbone.name)
    wrapped = v1.wrap_function(lambda: v1.import_graph_def(graph_def, name=""), [])
    extract = wrapped.prune(f"{backbone.input_name}:0", f"{backbone.bottleneck_name}:0")
    size_px = backbone.image_size_px
    spec = tf.TensorSpec([None, size_px, size_px, 3], tf.float32)

    @tf.function(input_signature=[spec])
    def bottlenecks(images):
        if scale:
            images = (images - backbone.mean) * (1.0 / backbone.std)
        return extract(images)

    return bottlenecks.get_concrete_function()


def constant_graph(function: Any) -> Any:
    """Returns a concrete function whose variables have become constants."""
    from tensorflow.python.framework import convert_to_constants

    return convert_to_constants.convert_variables_to_constants_v2(function)


def convert_to_litert(function: Any) -> bytes:
    """Returns a concrete function as a LiteRT model of builtin operations.

    Raises:
      ModelError: if the converter does not know an operation.
    """
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
    try:
        with quiet_stderr():
            return converter.convert()
    except Exception as error:
        text = str(error).strip().splitlines()
        raise ModelError(
            f"cannot convert to LiteRT: {text[0] if text else type(error).__name__}"
        ) from error
