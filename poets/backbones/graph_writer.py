"""Writes a GraphDef node by node, as TensorFlow 1.5 and every later version reads it.

Attributes that have defaults are left out, so every version of TensorFlow writes the
same bytes: their digest names the features in the store.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from poets.system.runtime import tf, v1


class Maps(NamedTuple):
    """The node of float32 [N, size_px, size_px, channels]."""

    node: str
    size_px: int
    channels: int


def constant_node(name: str, value: Any) -> Any:
    """Returns the NodeDef of a constant: int32 for integers, else float32."""
    value = np.asarray(value)
    value = value.astype(np.int32 if value.dtype.kind == "i" else np.float32)
    node = v1.NodeDef(name=name, op="Const")
    node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    return node


class GraphWriter:
    """Writes a GraphDef; each method adds the nodes below `name`, returns the last."""

    def __init__(self) -> None:
        # TensorFlow 1.5's version, so that later ones read the nodes as it did.
        self._graph_def = v1.GraphDef(versions={"producer": 24})

    def serialise(self) -> bytes:
        """Returns the GraphDef."""
        return self._graph_def.SerializeToString(deterministic=True)

    def node(self, op: str, name: str, *inputs: str) -> Any:
        """Adds an operation without attributes and returns its NodeDef."""
        return self._graph_def.node.add(op=op, name=name, input=inputs)

    def add(self, op: str, name: str, *inputs: str, **attrs: Any) -> str:
        """Adds an operation on floats; attributes are bytes, bools, ints or lists."""
        node = self.node(op, name, *inputs)
        node.attr["T"].type = tf.float32.as_datatype_enum
        for key, value in attrs.items():
            kinds = {bytes: "s", bool: "b", int: "i"}
            if kind := kinds.get(type(value)):
                setattr(node.attr[key], kind, value)
            else:
                node.attr[key].list.i.extend(value)
        return name

    def placeholder(self, name: str, size_px: int, channels: int) -> Maps:
        """Adds the input, float32 [N, size_px, size_px, channels]."""
        node = self.node("Placeholder", name)
        node.attr["dtype"].type = tf.float32.as_datatype_enum
        for size in (-1, size_px, size_px, channels):
            node.attr["shape"].shape.dim.add(size=size)
        return Maps(name, size_px, channels)

    def constant(self, name: str, value: Any) -> str:
        """Adds integers as int32, other values as float32."""
        self._graph_def.node.append(constant_node(name, value))
        return name

    def bias(self, name: str, node: str, bias: np.ndarray) -> str:
        """Adds a value to each channel."""
        return self.add("BiasAdd", name, node, self.constant(f"{name}/bias", bias))

    def reshape(self, name: str, node: str, *sizes: int) -> str:
        """Adds a reshape to [-1, *sizes]."""
        shape = self.constant(f"{name}/shape", [-1, *sizes])
        return self.add("Reshape", name, node, shape)

    def concat(self, name: str, nodes: Sequence[str]) -> str:
        """Joins nodes [N, D] along D."""
        axis = self.constant(f"{name}/axis", 1)
        return self.add("ConcatV2", name, *nodes, axis, N=len(nodes))

    def pool(self, name: str, maps: Maps, width: int, stride: int) -> Maps:
        """Adds local averages, without pixels beyond the edge."""
        windows = {"ksize": [1, width, width, 1], "strides": [1, stride, stride, 1]}
        padding = b"SAME" if stride == 1 else b"VALID"
        self.add("AvgPool", name, maps.node, padding=padding, **windows)
        return Maps(name, maps.size_px // stride, maps.channels)

    def convolve(
        self,
        name: str,
        maps: Maps,
        kernel: np.ndarray,
        stride: int = 1,
        depthwise: bool = False,
    ) -> Maps:
        """Adds a convolution, with zeros beyond the edge.

        The kernel is [H, W, C, K] for C channels in and K out; depthwise [H, W, C, 1],
        a filter for each of C channels.
        """
        op = "DepthwiseConv2dNative" if depthwise else "Conv2D"
        strides = [1, stride, stride, 1]
        weights = self.constant(f"{name}/kernel", kernel)
        self.add(op, name, maps.node, weights, strides=strides, padding=b"SAME")
        channels = maps.channels if depthwise else kernel.shape[-1]
        return Maps(name, maps.size_px // stride, channels)
