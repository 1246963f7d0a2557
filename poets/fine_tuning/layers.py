"""Finds the last layers of a frozen network, and cuts the network before them.

            ┌── trunk: a Backbone of its own ──┐┌────────── tail ──────────┐
    input ─>  conv ─> ... ─> conv ─> flatten ─>  split ─> conv ─> ... ─> D
                                    [N, F]                kernels, biases fed

A layer is a convolution or a matrix product with a constant kernel. The last layers are
those that follow the most others on the way from the input. The kernel of each is
trained, and the constant of a `BiasAdd` behind it. All other constants are unchanged.
Batch normalisation (mean, variance, scale and shift, as in the MobileNets of 2017 and
SavedModels) stays the fixed affine map of inference. Where it is already folded
(Inception, `backbones.old_ops`), its shift is such a `BiasAdd` and is trained; its
factor is not.

In a network with branches, several tensors cross the cut; they are joined to one row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from poets.backbones import Backbone
from poets.backbones.graph import parse_graph
from poets.errors import ConfigError, ModelError
from poets.system.runtime import tf, v1

KERNEL_OPS = ("Conv2D", "DepthwiseConv2dNative", "MatMul")
FEATURES_NAME = "fine_tuning/features"
CUT_NAME = "fine_tuning/cut"
RUN_AT_ONCE = 256


@dataclass(frozen=True)
class Tail:
    """The last layers, as a graph from the tensors at the cut to the bottleneck.

    Attributes:
      graph: serialised GraphDef; its placeholders are `fine_tuning/cut_0`, `_1`, ...
      bottleneck_name: the output's node.
      shapes: of the tensors at the cut, without the batch.
      constants: the nodes whose values are trained.
    """

    graph: bytes
    bottleneck_name: str
    shapes: tuple[tuple[int, ...], ...]
    constants: tuple[str, ...]

    @cached_property
    def feature_size(self) -> int:
        """F, the features of a picture at the cut."""
        return int(sum(np.prod(shape) for shape in self.shapes))

    def initial(self) -> dict[str, np.ndarray]:
        """Returns the values to be trained as they are in the backbone, by node."""
        graph_def = parse_graph(self.graph, "the last layers")
        nodes = {node.name: node for node in graph_def.node}
        return {
            name: tf.make_ndarray(nodes[name].attr["value"].tensor)
            for name in self.constants
        }

    def apply(self, features: Any, values: Mapping[str, Any]) -> Any:
        """Adds the last layers to the current graph or function: [N, F] to [N, D].

        `values` are the tensors that replace `constants`.
        """
        graph_def = parse_graph(self.graph, "the last layers")
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        parts = tf.split(features, sizes, axis=1)
        fed = {
            f"{CUT_NAME}_{index}:0": tf.reshape(part, [-1, *shape])
            for index, (part, shape) in enumerate(zip(parts, self.shapes, strict=True))
        }
        fed |= {f"{name}:0": tf.identity(value) for name, value in values.items()}
        (bottleneck,) = tf.import_graph_def(
            graph_def,
            input_map=fed,
            return_elements=[f"{self.bottleneck_name}:0"],
            name="",
        )
        return bottleneck

    def run(self, features: np.ndarray, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns float32 [N, D] for float32 [N, F], with values for `constants`."""

        @tf.function(
            input_signature=[tf.TensorSpec([None, self.feature_size], tf.float32)],
            autograph=False,
        )
        def bottlenecks(part: Any) -> Any:
            return self.apply(part, values)

        starts = range(0, len(features), RUN_AT_ONCE)
        parts = [bottlenecks(features[i : i + RUN_AT_ONCE]).numpy() for i in starts]
        return np.concatenate(parts)


@dataclass(frozen=True)
class Cut:
    """A backbone in two parts: `trunk` gives features [N, F], the input of `tail`."""

    trunk: Backbone
    tail: Tail


def cut_before_last(backbone: Backbone, layers: int) -> Cut:
    """Returns a backbone cut before its last layers.

    Raises:
      ConfigError: if it has fewer layers.
      ModelError: if a tensor at the cut has no fixed shape.
    """
    network = _Network(backbone)
    found = network.layers()
    if len(found) < layers:
        raise ConfigError(
            f"--fine_tune_layers={layers}: {backbone.name} has {len(found)} layers "
            "with weights that can be trained"
            + ("; give fewer" if found else ", so it cannot be fine-tuned")
        )
    chosen = sorted(found, key=lambda name: (network.depth[name], name))[-layers:]
    constants = [found[name] for name in chosen] + network.biases_of(chosen)
    behind = network.behind(chosen)
    crossing = network.crossing(behind)
    graph, shapes = _trunk(backbone, crossing)
    tail = Tail(
        graph=network.tail(behind, crossing),
        bottleneck_name=backbone.bottleneck_name,
        shapes=shapes,
        constants=tuple(dict.fromkeys(constants)),
    )
    trunk = replace(
        backbone,
        name=f"{backbone.name}-before-last-{layers}",
        graph=graph,
        bottleneck_name=FEATURES_NAME,
        bottleneck_size=tail.feature_size,
    )
    return Cut(trunk, tail)


def with_constants(backbone: Backbone, values: Mapping[str, np.ndarray]) -> Backbone:
    """Returns a backbone with new values for some constants; its digest changes."""
    graph_def = parse_graph(backbone.graph, backbone.name)
    for node in graph_def.node:
        if node.name in values:
            tensor = tf.make_tensor_proto(values[node.name])
            node.attr["value"].tensor.CopyFrom(tensor)
    return replace(backbone, graph=graph_def.SerializeToString(deterministic=True))


class _Network:
    """A frozen graph with the depth of each node that depends on its input.

    Attributes:
      depth: node -> layers on the longest path from the input to it, itself included.
    """

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._graph_def = parse_graph(backbone.graph, backbone.name)
        self._nodes = {node.name: node for node in self._graph_def.node}
        self._order = self._sorted()
        self.depth: dict[str, int] = {backbone.input_name: 0}
        for name in self._order:
            if above := [self.depth[g] for g in self._given(name) if g in self.depth]:
                is_layer = self._nodes[name].op in KERNEL_OPS
                self.depth[name] = max(above) + is_layer

    def layers(self) -> dict[str, str]:
        """Returns the nodes that are layers -> the node of the kernel."""
        found = {}
        for name in self._order:
            node = self._nodes[name]
            is_layer = node.op in KERNEL_OPS and name in self.depth
            if is_layer and (kernel := self._constant(node.input[1])):
                found[name] = kernel
        return found

    def biases_of(self, layers: list[str]) -> list[str]:
        """Returns the constants of the `BiasAdd`s that follow the layers."""
        found = []
        for name in self._order:
            node = self._nodes[name]
            if node.op != "BiasAdd" or name not in self.depth:
                continue
            above = self._given(name)[0]
            while above in self.depth and self._nodes[above].op not in KERNEL_OPS:
                given = [g for g in self._given(above) if g in self.depth]
                if len(given) != 1:
                    break
                above = given[0]
            constant = self._constant(node.input[1])
            if above in layers and constant:
                found.append(constant)
        return found

    def behind(self, layers: list[str]) -> set[str]:
        """Returns the layers and all nodes that depend on them."""
        found = set(layers)
        for name in self._order:
            if not found.isdisjoint(self._given(name)):
                found.add(name)
        return found

    def crossing(self, behind: set[str]) -> list[str]:
        """Returns the tensors that cross the cut, as "node:0"."""
        tensors = {
            _tensor(given): None
            for name in self._order
            if name in behind
            for given in self._nodes[name].input
            if _node(given) in self.depth and _node(given) not in behind
        }
        return list(tensors)

    def tail(self, behind: set[str], crossing: list[str]) -> bytes:
        """Returns the graph behind the cut, with a placeholder for each tensor."""
        graph_def = v1.GraphDef(versions=self._graph_def.versions)
        graph_def.library.CopyFrom(self._graph_def.library)
        names = {tensor: f"{CUT_NAME}_{i}" for i, tensor in enumerate(crossing)}
        for name in names.values():
            placeholder = graph_def.node.add(name=name, op="Placeholder")
            placeholder.attr["dtype"].type = tf.float32.as_datatype_enum
        for name in self._order:
            if name in self.depth and name not in behind:
                continue
            node = graph_def.node.add()
            node.CopyFrom(self._nodes[name])
            given = [names.get(_tensor(g), g) for g in node.input]
            del node.input[:]
            node.input.extend(given)
        part = v1.graph_util.extract_sub_graph(
            graph_def, [self._backbone.bottleneck_name]
        )
        return part.SerializeToString(deterministic=True)

    def _given(self, name: str) -> list[str]:
        return [_node(given) for given in self._nodes[name].input]

    def _constant(self, given: str) -> str | None:
        """Returns the float constant behind an input, past Identity nodes, or None."""
        node = self._nodes[_node(given)]
        while node.op == "Identity":
            node = self._nodes[_node(node.input[0])]
        is_float = node.attr["dtype"].type == tf.float32.as_datatype_enum
        return node.name if node.op == "Const" and is_float else None

    def _sorted(self) -> list[str]:
        """Returns all nodes in topological order."""
        order: dict[str, None] = {}
        begun: set[str] = set()
        waiting = [self._backbone.bottleneck_name]
        while waiting:
            name = waiting[-1]
            missing = [g for g in self._given(name) if g not in order]
            if missing:
                begun.add(name)
                if not begun.isdisjoint(missing):
                    raise ModelError(
                        f"{self._backbone.name} cannot be fine-tuned: its graph has a "
                        f"loop through {name!r}; leave --fine_tune_steps out"
                    )
                waiting.extend(missing)
            else:
                order[waiting.pop()] = None
        return list(order)


def _node(given: str) -> str:
    return given.lstrip("^").partition(":")[0]


def _tensor(given: str) -> str:
    return given if ":" in given else f"{given}:0"


def _trunk(
    backbone: Backbone, crossing: list[str]
) -> tuple[bytes, tuple[tuple[int, ...], ...]]:
    """Returns the graph before the cut, which joins the crossing tensors to one row.

    And the shape of each tensor, without the batch. Raises ModelError if a tensor has
    no fixed shape, or is not float32.
    """
    graph_def = parse_graph(backbone.graph, backbone.name)
    with tf.Graph().as_default() as graph:
        found = v1.import_graph_def(graph_def, return_elements=crossing, name="")
        for name, tensor in zip(crossing, found, strict=True):
            why = ""
            if tensor.shape.rank is None or None in tensor.shape[1:]:
                why = f"has shape {tensor.shape}, which is not fixed"
            elif tensor.dtype != tf.float32:
                why = f"is {tensor.dtype.name}, not float32"
            if why:
                raise ModelError(
                    f"{backbone.name} cannot be cut there: its tensor {name!r} {why}; "
                    "change --fine_tune_layers"
                )
        shapes = tuple(tuple(tensor.shape[1:].as_list()) for tensor in found)
        rows = [
            tf.reshape(tensor, [-1, int(np.prod(shape))])
            for tensor, shape in zip(found, shapes, strict=True)
        ]
        joined = tf.concat(rows, axis=1) if len(rows) > 1 else rows[0]
        tf.identity(joined, name=FEATURES_NAME)
    part = v1.graph_util.extract_sub_graph(graph.as_graph_def(), [FEATURES_NAME])
    return part.SerializeToString(deterministic=True), shapes
