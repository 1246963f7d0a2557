"""Replaces operations of 2015 to 2017 that TensorFlow or LiteRT no longer supports.

    Dequantize of constants              ─> the dequantised constants
    BatchNormWithGlobalNormalization     ─> Mul, BiasAdd with folded constants
    CheckNumerics                        ─> Identity

The published Inception (2015) uses the last two. The `_quantized` MobileNets store
their large weights in 8 bits and use the first.
"""

from typing import Any

import numpy as np

from poets.backbones.graph_writer import constant_node
from poets.system.runtime import tf, v1

BATCH_NORM = "BatchNormWithGlobalNormalization"


def modernise(graph_def: Any) -> Any:
    """Returns a frozen GraphDef with its old operations replaced.

    All nodes keep their names, even unused ones: programs fetch them.

    Control inputs are removed: operations of a frozen graph have no side effects, and a
    control input from the placeholder would require it even where it is replaced.
    """
    values = _constants(graph_def)
    replaced = v1.GraphDef(versions=graph_def.versions)
    for node in graph_def.node:
        if node.op == "Dequantize":
            replaced.node.append(constant_node(node.name, values[node.name]))
        elif node.op == BATCH_NORM:
            replaced.node.extend(_folded(node, values))
        else:
            added = replaced.node.add()
            added.CopyFrom(node)
            if node.op == "CheckNumerics":
                added.op = "Identity"
                del added.attr["message"]
    for node in replaced.node:
        node.input[:] = [name for name in node.input if not name.startswith("^")]
    return replaced


def _constants(graph_def: Any) -> dict[str, np.ndarray]:
    """Returns the constants for replacing old operations, by node."""
    wanted: list[str] = []
    for node in graph_def.node:
        if node.op == "Dequantize":
            wanted.append(node.name)
        elif node.op == BATCH_NORM:
            wanted.extend(node.input[1:])  # mean, variance, beta, gamma
    if not wanted:
        return {}
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        v1.import_graph_def(graph_def, name="")
        tensors = {name: f"{name}:0" for name in dict.fromkeys(wanted)}
        return session.run(tensors)


def _folded(node: Any, values: dict[str, np.ndarray]) -> list[Any]:
    """Returns (x - mean) * gamma / sqrt(variance + epsilon) + beta as x * s + t."""
    mean, variance, beta, gamma = (values[name] for name in node.input[1:])
    factor = 1 / np.sqrt(variance + node.attr["variance_epsilon"].f)
    if node.attr["scale_after_normalization"].b:
        factor = factor * gamma
    scale = constant_node(f"{node.name}/scale", factor)
    shift = constant_node(f"{node.name}/shift", beta - mean * factor)
    product = v1.NodeDef(
        name=f"{node.name}/product", op="Mul", input=[node.input[0], scale.name]
    )
    total = v1.NodeDef(name=node.name, op="BiasAdd", input=[product.name, shift.name])
    for made in (product, total):
        made.attr["T"].type = tf.float32.as_datatype_enum
    return [scale, shift, product, total]
