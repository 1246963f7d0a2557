"""Builds the ONNX model: float32 pixels [N, S, S, 3] in 0..255 to scores [N, L].

Input and output are named `pixels` and as `--final_tensor_name`. The model scales the
pixels. Its metadata holds the labels, one a line, and by the keys of ONNX the order of
the colours and the range of the pixels.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import onnx

from poets.backbones.graph import OUTPUT_NAME, PIXELS_NAME
from poets.errors import ModelError
from poets.export import TrainedModel
from poets.export.graph import scoring_graph
from poets.export.verify import Check, Samples, compare
from poets.features.engine_onnx import LABELS, PIXEL_FORMAT, PIXEL_RANGE, connect

OPSET = 17
"""Of ONNX 1.12 (2022), for runtimes that are some years old."""


def build(model: TrainedModel, path: str) -> None:
    """Writes an `.onnx` file with its metadata.

    Raises:
      ModelError: if the network has operations that ONNX does not have.
    """
    graph = f"{path}.graph"
    with open(graph, "wb") as file:
        file.write(scoring_graph(model).SerializeToString(deterministic=True))
    try:
        _convert(graph, path, model.output_name)
    except RuntimeError as error:
        raise ModelError(
            f"cannot convert {model.backbone.name} to ONNX: {error}; leave --onnx out"
        ) from error
    finally:
        os.remove(graph)
    converted = onnx.load(path)
    pixels, scores = converted.graph.input[0].type, converted.graph.output[0].type
    pixels.denotation = "IMAGE"
    for each in (pixels, scores):
        each.tensor_type.shape.dim[0].dim_param = "N"
    converted.graph.ClearField("doc_string")  # the name of the temporary file
    _number(converted.graph)
    metadata = {
        LABELS: "\n".join(model.labels),
        PIXEL_FORMAT: "Rgb8",
        PIXEL_RANGE: "NominalRange_0_255",
        "Image.ColorSpaceGamma": "SRGB",
    }
    onnx.helper.set_model_props(converted, metadata)
    with open(path, "wb") as file:
        file.write(converted.SerializeToString(deterministic=True))


def _convert(graph: str, path: str, output_name: str) -> None:
    """Converts a graph in a process of its own, so that it gives the same nodes again.

    tf2onnx follows the order of sets of objects, which depends on what the process did
    before: after a training, some transposes end up elsewhere.

    Raises:
      RuntimeError: if it fails, with the last line of the converter.
    """
    words = {
        "graphdef": graph,
        "inputs": f"{PIXELS_NAME}:0",
        "rename-inputs": PIXELS_NAME,
        "outputs": f"{OUTPUT_NAME}:0",
        "rename-outputs": output_name,
        "opset": OPSET,
        "output": path,
    }
    flags = [f"--{name}={value}" for name, value in words.items()]
    done = subprocess.run(
        [sys.executable, "-m", "tf2onnx.convert", *flags],
        env={**os.environ, "PYTHONHASHSEED": "0", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["killed"])[-1])


def _number(graph: onnx.GraphProto) -> None:
    """Orders and names nodes and constants by their way to the output.

    tf2onnx orders and names them by the addresses of its objects.
    """
    makers = {name: node for node in graph.node for name in node.output}
    constants = {constant.name: constant for constant in graph.initializer}
    start, end = graph.input[0].name, graph.output[0].name
    names = {start: start, "": ""}  # "": an input that is left out
    nodes: list[onnx.NodeProto] = []
    used: list[onnx.TensorProto] = []
    stack = [end]
    while stack:
        name = stack[-1]
        node = makers.get(name)
        if node and (left := [each for each in node.input if each not in names]):
            stack.append(left[0])
            continue
        stack.pop()
        if node:
            node.name = f"{node.op_type}_{len(nodes)}"
            names |= {each: f"{node.name}:{i}" for i, each in enumerate(node.output)}
            nodes.append(node)
        else:
            names[name] = f"constant_{len(used)}"
            used.append(constants[name])
    names[end] = end
    for node in nodes:
        node.input[:] = [names[each] for each in node.input]
        node.output[:] = [names[each] for each in node.output]
    for constant in used:
        constant.name = names[constant.name]
    graph.ClearField("value_info")
    _replace(graph.node, nodes)
    _replace(graph.initializer, used)


def _replace(field: Any, values: Sequence[Any]) -> None:
    """Sets a repeated field to some of its own values."""
    copies = [deepcopy(value) for value in values]
    del field[:]
    field.extend(copies)


def check(path: str, model: TrainedModel, samples: Samples) -> Check:
    """Scores an `.onnx` file.

    Raises:
      ModelError: if a label differs.
    """
    network = connect(path)
    pixels = samples.pixels(network.image_size_px)
    return compare("the ONNX model", samples, lambda: network.run(list(pixels)))
