"""Builds the ONNX model: float32 pixels [N, S, S, 3] in 0..255 to scores [N, L].

Input and output are named `pixels` and as `--final_tensor_name`. The model scales the
pixels. Its metadata holds the labels, one a line, and by the keys of ONNX the order of
the colours and the range of the pixels.
"""

import os
import subprocess
import sys

import onnx

from poets.backbones.graph import OUTPUT_NAME, PIXELS_NAME
from poets.errors import ModelError
from poets.export import TrainedModel
from poets.export.graph import scoring_graph
from poets.export.verify import Check, Samples, compare
from poets.features.engine_onnx import LABELS, PIXEL_FORMAT, PIXEL_RANGE, connect
from poets.system.child import child_environment

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
    converted.graph.ClearField("value_info")  # shapes, which readers compute
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
    """Converts a graph, in a process of its own for its names and sets to repeat.

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
        [sys.executable, "-m", "poets.export.convert_onnx", *flags],
        env={**child_environment(), "PYTHONHASHSEED": "0", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["killed"])[-1])


def check(path: str, model: TrainedModel, samples: Samples) -> Check:
    """Scores an `.onnx` file.

    Raises:
      ModelError: if a label differs.
    """
    network = connect(path)
    pixels = samples.pixels(network.image_size_px)
    return compare("the ONNX model", samples, lambda: network.run(list(pixels)))
