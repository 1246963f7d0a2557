"""Scores handwritten digits with the network of the original OpenWhisk demo.

    picture ──> 28 x 28 (Lanczos), gray, / 255 ──> input_0   float32 [N, 1, 28, 28]
                scores <── softmax <────────────── output_0  float32 [N, 10]

Colours are scaled before they become gray, as the original does it.
"""

import numpy as np
import PIL.Image

from poets.classifier import Classifier, check_labels, load_classifier, staged
from poets.data.images import decode
from poets.features.engine_onnx import Onnx, connect
from poets.features.engines import Normalization
from poets.head import softmax

INPUT = "input_0"


def load_digits(model: str) -> Classifier:
    """Loads this network, or any other classifier in an `.onnx` file on any storage.

    Raises:
      ModelError: if it is not a classifier.
    """

    def load(path: str) -> Classifier:
        network = connect(path, model)
        if network.input_name != INPUT:
            return load_classifier(model)
        check_labels(DigitClassifier.labels, network.output_size, model)
        return DigitClassifier(network)

    return staged(model, load)


class DigitClassifier(Classifier):
    """The network."""

    labels = tuple("0123456789")

    def __init__(self, network: Onnx) -> None:
        network.normalize(Normalization([0], [255]))
        self._network = network

    def score(self, data: bytes) -> np.ndarray:
        """Returns float32 [10]; see `Classifier`."""
        picture = PIL.Image.fromarray(decode(data))
        size = (self._network.image_size_px,) * 2
        gray = picture.resize(size, PIL.Image.Resampling.LANCZOS).convert("L")
        (logits,) = self._network.run([np.asarray(gray)[..., None]])
        return softmax(logits)
