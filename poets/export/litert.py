"""The classifier for LiteRT: float32 pixels [N, S, S, 3] in 0..255 to [N, L].

It scales the pixels itself, so a client needs nothing but the image size, which is
its input's shape.
"""

from poets.backbones import Backbone
from poets.backbones.graph import (
    OUTPUT_NAME,
    convert_to_litert,
    pixel_placeholder,
    scale,
)
from poets.export.frozen import add_classifier
from poets.head import Head
from poets.runtime import tf


def litert_model(backbone: Backbone, head: Head) -> bytes:
    """Returns the content of a `.tflite` file.

    Raises:
      ModelError: if the backbone has operations that LiteRT does not know.
    """
    with tf.Graph().as_default() as graph:
        images = scale(pixel_placeholder(backbone), backbone)
        add_classifier(images, backbone, head, OUTPUT_NAME)
    return convert_to_litert(graph.as_graph_def().SerializeToString())
