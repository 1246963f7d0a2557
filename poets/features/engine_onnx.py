"""ONNX Runtime: one session, one thread, for `.onnx` classifiers of any program.

    network = connect("digits.onnx")                  # takes float32 [N, 1, 28, 28]
    network.normalize(Normalization([0], [255]))      # 0..1
    logits = network.run([picture])                   # uint8 [28, 28, 1]

Networks take channels first or last, colour or grey, floats or bytes. The order of the
colours and the range of the pixels are read from the model's metadata, by the keys that
ONNX defines (https://onnx.ai/onnx/repo-docs/MetadataProps.html).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime

from poets.errors import ConfigError, ModelError, first_line
from poets.features.engines import RAW, Normalization

TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}

LABELS = "labels"
"""The key of our exports for the labels, one a line; ONNX defines none."""

PIXEL_FORMAT = "Image.BitmapPixelFormat"
PIXEL_RANGE = "Image.NominalPixelRange"

RANGES = {  # in lower case -> how pixels of 0..255 are fed
    "nominalrange_0_255": RAW,
    "normalized_0_1": Normalization([0], [255]),
    "normalized_1_1": Normalization([127.5], [127.5]),
}

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Grey of R, G and B (ITU-R BT.601), as Pillow's mode L."""


class Onnx:
    """A session; see `poets.features.engines.ImageEngine`.

    Attributes:
      channels: 3, or 1 for a network that takes grey pictures.
      metadata: the model's properties.
      pixel_range: how to feed pixels by the metadata, None without it.
    """

    def __init__(self, model_path: str, source: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors are raised, too
        self._session = onnxruntime.InferenceSession(
            model_path, options, providers=["CPUExecutionProvider"]
        )
        given = _image_input(self._session.get_inputs(), source)
        answer = _vector_output(self._session.get_outputs(), source)
        self._input_name, self._dtype = given.name, TYPES[given.type]
        self._channels_first = given.shape[1] in (1, 3)
        self.input_name = given.name.removesuffix(":0")
        self.takes_integers = self._dtype != np.float32
        self.channels = given.shape[1 if self._channels_first else 3]
        self.image_size_px = given.shape[2]
        self.output_size = answer.shape[-1]
        self.batch_size = 1
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.metadata: Mapping[str, str] = metadata
        described = {key.lower(): value.lower() for key, value in metadata.items()}
        self._is_bgr = described.get(PIXEL_FORMAT.lower(), "").startswith("bgr")
        self.pixel_range = RANGES.get(described.get(PIXEL_RANGE.lower(), ""))
        self.normalize(self.pixel_range)

    def normalize(self, normalization: Normalization | None) -> None:
        """Sets how pixels are fed; see `ImageEngine`. Bytes are fed as they are.

        Raises:
          ConfigError: if it has a value for each colour, and the network takes grey.
        """
        fed = RAW if normalization is None or self.takes_integers else normalization
        if len(fed.mean) > self.channels:
            raise ConfigError(
                f"mean {fed.mean} and std {fed.std} have {len(fed.mean)} values, and "
                "the network takes grey pictures; give one value of each"
            )
        self._mean = np.asarray(fed.mean, np.float32)
        self._std = np.asarray(fed.std, np.float32)
        self._is_raw = fed == RAW

    def run(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Returns float32 [N, D] for N images, each [S, S, 3 or 1] in 0..255.

        Raises:
          RuntimeError: if the network cannot be computed.
        """
        outputs = np.empty((len(images), self.output_size), np.float32)
        for row, image in enumerate(images):
            given = {self._input_name: self._fed(image)[None]}
            try:
                outputs[row] = self._session.run(None, given)[0].reshape(-1)
            except Exception as error:  # each code of the runtime is a class of its own
                raise RuntimeError(str(error)) from error
        return outputs

    def _fed(self, image: np.ndarray) -> np.ndarray:
        """Returns a picture as the network takes it, [S, S, C] or [C, S, S]."""
        if image.shape[2] > self.channels:
            image = (image @ LUMA)[..., None]
        elif image.shape[2] < self.channels:
            image = np.repeat(image, self.channels, axis=2)
        values = image if self._is_raw else (image - self._mean) / self._std
        if self._is_bgr:
            values = values[..., ::-1]
        if self._channels_first:
            values = values.transpose(2, 0, 1)
        if self.takes_integers:
            values = np.rint(values)
        return np.ascontiguousarray(values, self._dtype)


def connect(model_path: str, source: str = "") -> Onnx:
    """Returns the engine for a local `.onnx` file, called `source` in messages.

    Raises:
      ModelError: if the file is not a model with one image input and one output.
    """
    source = source or model_path
    try:
        return Onnx(model_path, source)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{source!r} is not an ONNX model: {first_line(error)}"
        ) from error


def _image_input(given: Sequence[Any], source: str) -> Any:
    """Returns the only input; raises ModelError unless it is one square picture."""
    if len(given) == 1 and given[0].type in TYPES and len(given[0].shape) == 4:
        batch, *sizes = given[0].shape
        channels = sizes.pop(0 if sizes[0] in (1, 3) else 2)
        is_square = isinstance(sizes[0], int) and sizes[0] == sizes[1]
        if channels in (1, 3) and is_square and _fits_one(batch):
            return given[0]
    raise ModelError(
        f"{source!r} takes {_described(given)}; a classifier must take one square "
        "picture of a fixed size, in 3 or 1 channels, float32 or uint8 [N, S, S, C] or "
        "[N, C, S, S]"
    )


def _vector_output(given: Sequence[Any], source: str) -> Any:
    """Returns the only output; raises ModelError unless it is one vector."""
    if len(given) == 1 and given[0].type == "tensor(float)" and len(given[0].shape) > 1:
        batch, *sizes = given[0].shape
        is_fixed = all(isinstance(size, int) for size in sizes)
        if is_fixed and math.prod(sizes) == sizes[-1] and _fits_one(batch):
            return given[0]
    raise ModelError(
        f"{source!r} gives {_described(given)}; a classifier must give one vector of "
        "scores, float32 [N, L]"
    )


def _fits_one(batch: int | str | None) -> bool:
    """Returns whether a batch may have one picture: of size 1, or of any size."""
    return batch == 1 or not isinstance(batch, int)


def _described(given: Sequence[Any]) -> str:
    return ", ".join(f"{each.name!r} {each.type} {each.shape}" for each in given)
