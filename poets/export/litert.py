"""The classifier for LiteRT: float32 pixels [N, S, S, 3] in 0..255 to [N, L].

It scales the pixels itself, so a client needs nothing but the image size, which is
its input's shape.
"""

from poets.backbones import Backbone
from poets.backbones.graph import convert_to_litert, function_of
from poets.head import Head
from poets.runtime import tf


def litert_model(backbone: Backbone, head: Head) -> bytes:
    """Returns the content of a `.tflite` file.

    Raises:
      ModelError: if the backbone has operations that LiteRT does not know.
    """
    bottlenecks = function_of(backbone, scale=True)
    weights, biases = tf.constant(head.weights), tf.constant(head.biases)
    size_px = backbone.image_size_px
    spec = tf.TensorSpec([None, size_px, size_px, 3], tf.float32)

    @tf.function(input_signature=[spec])
    def classify(pixels):
        return tf.nn.softmax(tf.matmul(bottlenecks(pixels), weights) + biases)

    return convert_to_litert(classify.get_concrete_function())
