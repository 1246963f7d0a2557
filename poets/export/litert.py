"""Builds the LiteRT model: float32 pixels [N, S, S, 3] in 0..255 to scores [N, L].

The model scales the pixels, so a client needs only the image size, which it reads
from the input's shape. The TFLite Metadata holds the labels and, for clients that
scale by it, a normalization that leaves the pixels unchanged.
"""

from pathlib import Path

from poets.backbones.graph import convert_to_litert
from poets.classifier.tflite_metadata import add_metadata
from poets.export import TrainedModel
from poets.export.graph import scoring_graph
from poets.export.verify import Check, Samples, compare
from poets.features.engine_litert import connect
from poets.features.engines import RAW


def build(model: TrainedModel, path: str) -> None:
    """Writes a `.tflite` file with its metadata and labels.

    Raises:
      ModelError: if the backbone has operations that LiteRT does not support.
    """
    data = convert_to_litert(scoring_graph(model).SerializeToString())
    Path(path).write_bytes(add_metadata(data, model.labels, RAW))


def check(path: str, model: TrainedModel, samples: Samples) -> Check:
    """Scores a `.tflite` file.

    Raises:
      ModelError: if a label differs.
    """
    engine = connect(path)
    pixels = samples.pixels(engine.image_size_px)
    return compare("the LiteRT model", samples, lambda: engine.run(list(pixels)))
