"""Runs retrained graphs and SavedModels in TensorFlow, also the original scripts'."""

import io
from typing import Any

import numpy as np
import PIL.Image

from poets.backbones.graph import parse_graph
from poets.classifier import Classifier, check_labels, refuse_normalization, staged
from poets.classifier.scaling import INPUTS
from poets.data.images import decode, is_plain, resize
from poets.errors import ModelError, first_line
from poets.features.engines import Normalization
from poets.system.runtime import tf, v1

CONTENTS = "DecodeJpeg/contents"


def load(
    model: str, labels: tuple[str, ...] | None, normalization: Normalization | None
) -> "SavedModelClassifier":
    """Returns the classifier in a SavedModel folder; see `poets.classifier`."""
    refuse_normalization(normalization, model)
    return staged(
        model,
        lambda folder: SavedModelClassifier(folder, model, labels),
        is_folder=True,
    )


def as_plain(data: bytes) -> bytes:
    """Returns image bytes that TensorFlow decodes to the pixels of `poets.data`.

    Raises:
      ImageError: if the bytes are not an image.
    """
    if is_plain(data):
        return data
    buffer = io.BytesIO()
    PIL.Image.fromarray(decode(data)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


class FrozenGraphClassifier(Classifier):
    """A frozen GraphDef with one softmax at its end."""

    def __init__(
        self, data: bytes, source: str, labels: tuple[str, ...], input_name: str = ""
    ) -> None:
        """Loads a graph.

        Args:
          data: serialised GraphDef.
          source: its name in messages.
          labels: L labels, in the order of the scores.
          input_name: the node of scaled images; "" finds it by its name in `INPUTS`.

        Raises:
          ModelError: if it is not a graph, or has no known input or output.
        """
        self.labels = labels
        graph_def = parse_graph(data, source)
        nodes = {node.name: node for node in graph_def.node}
        output = _final_softmax(graph_def, source)
        self.input_name = input_name or next(filter(nodes.__contains__, INPUTS), "")
        self.takes_bytes = CONTENTS in nodes
        if not self.takes_bytes and not self.input_name:
            raise ModelError(
                f"{source!r} has neither {CONTENTS!r} nor one of "
                f"{', '.join(map(repr, INPUTS))}: it is not a graph of retrain.py"
            )
        with tf.Graph().as_default() as graph:
            v1.import_graph_def(graph_def, name="")
        self._output = graph.get_tensor_by_name(f"{output}:0")
        self._session = v1.Session(graph=graph)
        check_labels(labels, int(self._output.shape[-1]), source)

    def score(self, data: bytes) -> np.ndarray:
        """Returns float32 [L]; see `Classifier`."""
        if self.takes_bytes:
            return self.predict_bytes(as_plain(data))
        placeholder = self._session.graph.get_tensor_by_name(f"{self.input_name}:0")
        pixels = resize(decode(data), int(placeholder.shape[1]))
        mean, std = INPUTS[self.input_name]
        return self.predict_scaled(((pixels.astype(np.float32) - mean) / std)[None])[0]

    def predict_bytes(self, data: bytes) -> np.ndarray:
        """Returns float32 [L] for JPEG or PNG bytes as TensorFlow decodes them."""
        return self._session.run(self._output, {f"{CONTENTS}:0": data})[0]

    def predict_scaled(self, images: np.ndarray) -> np.ndarray:
        """Returns float32 [N, L] for float32 [N, S, S, 3] scaled for the backbone."""
        return self._session.run(self._output, {f"{self.input_name}:0": images})


class SavedModelClassifier(Classifier):
    """A SavedModel whose `serving_default` takes one image's bytes."""

    def __init__(
        self, folder: str, source: str = "", labels: tuple[str, ...] | None = None
    ) -> None:
        """Loads a SavedModel.

        Args:
          folder: a local folder.
          source: its name in messages; "" takes the folder.
          labels: L labels that replace its own.

        Raises:
          ModelError: if it does not load, has another signature, or does not have L
            outputs.
        """
        source = source or folder
        graph = tf.Graph()
        self._session = v1.Session(graph=graph)
        try:
            with graph.as_default():
                loaded = v1.saved_model.load(self._session, ["serve"], folder)
        except Exception as error:
            raise ModelError(f"cannot load {source!r}: {first_line(error)}") from error
        # A dict, because protobuf maps create missing keys.
        self._signatures = dict(loaded.signature_def)
        try:
            signature = self._signatures["serving_default"]
            image = dict(signature.inputs)["image"]
            outputs = dict(signature.outputs)
            self._prediction = outputs["prediction"].name
            classes = outputs["classes"].name
        except KeyError as error:
            raise ModelError(
                f"{source!r} has no signature 'serving_default' from image to "
                f"prediction and classes: {error} is missing"
            ) from error
        if image.dtype != tf.string.as_datatype_enum:
            raise ModelError(
                f"'serving_default' of {source!r} takes "
                f"{tf.dtypes.as_dtype(image.dtype).name}, not the bytes of an image"
            )
        self._image = image.name
        names = self._session.run(classes)
        own = tuple(name.decode() for name in np.ravel(names))
        self.labels = own if labels is None else labels
        check_labels(self.labels, len(own), source)

    def score(self, data: bytes) -> np.ndarray:
        """Returns float32 [L]; see `Classifier`."""
        return self.predict_bytes(as_plain(data))

    def predict_bytes(self, data: bytes) -> np.ndarray:
        """Returns float32 [L] for JPEG or PNG bytes as TensorFlow decodes them."""
        return self._session.run(self._prediction, {self._image: data})[0]

    def run(self, signature_name: str, values: Any) -> dict[str, np.ndarray]:
        """Returns the outputs of a signature with one input."""
        signature = self._signatures[signature_name]
        (given,) = signature.inputs.values()
        outputs = {name: info.name for name, info in signature.outputs.items()}
        return self._session.run(outputs, {given.name: values})


def _final_softmax(graph_def: Any, source: str) -> str:
    consumed = {name.split(":")[0] for node in graph_def.node for name in node.input}
    ends = [
        node.name
        for node in graph_def.node
        if node.op == "Softmax" and node.name not in consumed
    ]
    if len(ends) != 1:
        raise ModelError(
            f"{source!r} has {len(ends)} softmax outputs; a retrained graph has one"
        )
    return ends[0]
