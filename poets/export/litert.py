"""Builds the LiteRT model: float32 pixels [N, S, S, 3] in 0..255 to scores [N, L].

The model scales the pixels, so a client needs only the image size, which it reads
from the input's shape. The TFLite Metadata holds the labels and, for clients that
scale by it, a normalization that leaves the pixels unchanged.
"""

from collections.abc import Sequence

from poets.backbones import Backbone
from poets.backbones.graph import (
    OUTPUT_NAME,
    convert_to_litert,
    pixel_placeholder,
    scale,
)
from poets.classifier.tflite_metadata import add_metadata
from poets.export.frozen import add_classifier
from poets.features.engines import Normalization
from poets.head import Head
from poets.system.runtime import tf

RAW = Normalization([0], [1])
"""Leaves pixels unchanged."""


def litert_model(backbone: Backbone, head: Head, labels: Sequence[str]) -> bytes:
    """Returns the content of a `.tflite` file with its metadata and labels.

    Raises:
      ModelError: if the backbone has operations that LiteRT does not support.
    """
    with tf.Graph().as_default() as graph:
        images = scale(pixel_placeholder(backbone), backbone)
        add_classifier(images, backbone, head, OUTPUT_NAME)
    model = convert_to_litert(graph.as_graph_def().SerializeToString())
    return add_metadata(model, labels, RAW)
