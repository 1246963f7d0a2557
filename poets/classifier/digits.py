"""Scores handwritten digits with the network of the original OpenWhisk demo.

    picture ──> 28 x 28 (Lanczos), gray, / 255 ──> input_0   float32 [N, 1, 28, 28]
                scores <── softmax <────────────── output_0  float32 [N, 10]

Colours are scaled before they become gray, as the original does it.
"""

from collections.abc import Sequence

import numpy as np
import PIL.Image

from poets.classifier import Classifier, check_labels, load_classifier, staged
from poets.data.image_files import ImageError
from poets.data.images import decode
from poets.features.engine_onnx import Onnx, connect
from poets.features.engines import Normalization
from poets.head import softmax

INPUT = "input_0"


def load_digits(model: str) -> Classifier:
    """Loads this network, or any other classifier in an `.onnx` file.

    Args:
      model: URL of the file, on any storage.

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


class DigitClassifier:
    """The network.

    Attributes:
      labels: "0" to "9".
    """

    labels = tuple("0123456789")

    def __init__(self, network: Onnx) -> None:
        network.normalize(Normalization([0], [255]))
        self._network = network

    def predict(self, images: Sequence[bytes]) -> list[np.ndarray | ImageError]:
        """Returns float32 [10] for each image, or why it cannot be classified."""
        return [self._predict(data) for data in images]

    def _predict(self, data: bytes) -> np.ndarray | ImageError:
        try:
            picture = PIL.Image.fromarray(decode(data))
        except ImageError as error:
            return error
        size = (self._network.image_size_px,) * 2
        gray = picture.resize(size, PIL.Image.Resampling.LANCZOS).convert("L")
        (logits,) = self._network.run([np.asarray(gray)[..., None]])
        return softmax(logits)
