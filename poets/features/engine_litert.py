"""LiteRT with XNNPACK: one interpreter, one thread.

The interpreter holds the GIL, so processes use the cores, not threads. Small pictures
go in small batches: at 128 px, a batch of four takes 8 % less time than four batches of
one. At 224 px, the activations of two pictures do not fit the caches, and batches of
one are faster.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from poets.errors import ModelError
from poets.features.engines import RAW, Normalization
from poets.system.quiet import quiet_stderr

BATCH_PIXELS = 4 * 128 * 128
"""Pixels in a batch of the fastest size."""

TYPES = (np.float32, np.uint8, np.int8)
"""Types of inputs and outputs; integers are quantised."""


class LiteRT:
    """An interpreter; see `poets.features.engines.ImageEngine`."""

    def __init__(self, model_path: str, source: str) -> None:
        with quiet_stderr():  # "INFO: Created TensorFlow Lite XNNPACK delegate"
            self._interpreter = Interpreter(model_path=model_path, num_threads=1)
            self._interpreter.allocate_tensors()
        given = _image_input(self._interpreter.get_input_details(), source)
        answer = _vector_output(self._interpreter.get_output_details(), source)
        self._given, self._answer = given, answer
        self.input_name = str(given["name"])
        self.takes_integers = given["dtype"] != np.float32
        self.image_size_px = int(given["shape"][1])
        self.output_size = int(answer["shape"][-1])
        any_batch = given["shape_signature"][0] == -1
        fitting = BATCH_PIXELS // self.image_size_px**2
        self.batch_size = max(1, fitting) if any_batch else 1
        self._allocated = 1
        self._input = self._interpreter.tensor(given["index"])
        self._output = self._interpreter.tensor(answer["index"])
        self.normalize(None)

    def normalize(self, normalization: Normalization | None) -> None:
        """Sets how pixels are fed; see `ImageEngine`."""
        given = self._given
        scale, zero = given["quantization"]
        if self.takes_integers and not (normalization and scale):
            normalization, scale, zero = None, 1, np.iinfo(given["dtype"]).min
        fed = normalization or RAW
        self._mean = np.asarray(fed.mean, np.float32)
        self._divisor = np.asarray(fed.std, np.float32) * (scale or 1)
        self._zero = zero
        raw = not self._mean.any() and (self._divisor == 1).all()
        self._as_they_are = raw and not self.takes_integers

    def run(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Returns float32 [N, D] for N images, each [S, S, 3] in 0..255."""
        outputs = np.empty((len(images), self.output_size), np.float32)
        for start in range(0, len(images), self.batch_size):
            batch = images[start : start + self.batch_size]
            self._allocate(len(batch))
            given = self._input()
            for row, image in enumerate(batch):
                given[row] = image if self._as_they_are else self._fed(image)
            del given  # a view of its memory, with which `invoke` fails
            self._interpreter.invoke()
            outputs[start : start + len(batch)] = self._answers()
        return outputs

    def _fed(self, image: np.ndarray) -> np.ndarray:
        """Returns [S, S, 3] in the units of the input's type."""
        values = (image - self._mean) / self._divisor + self._zero
        if not self.takes_integers:
            return values
        limits = np.iinfo(self._given["dtype"])
        return np.rint(values).clip(limits.min, limits.max)

    def _answers(self) -> np.ndarray:
        """Returns the output [N, D], dequantised if it is integers."""
        found = self._output().reshape(-1, self.output_size)
        scale, zero = self._answer["quantization"]
        return (found.astype(np.float32) - zero) * scale if scale else found

    def _allocate(self, batch_size: int) -> None:
        if batch_size == self._allocated:
            return
        shape = [batch_size, *self._given["shape"][1:]]
        self._interpreter.resize_tensor_input(self._given["index"], shape)
        self._interpreter.allocate_tensors()
        self._allocated = batch_size


def connect(model_path: str, source: str = "") -> LiteRT:
    """Returns the engine for a local `.tflite` file, called `source` in messages.

    Raises:
      ModelError: if the file is not a model with one image input and one output.
    """
    source = source or model_path
    try:
        return LiteRT(model_path, source)
    except (ValueError, RuntimeError) as error:
        why = str(error).splitlines()[0]
        raise ModelError(f"{source!r} is not a LiteRT model: {why}") from error


def _image_input(details: Sequence[dict[str, Any]], source: str) -> dict[str, Any]:
    """Returns the only input; raises ModelError unless it is one RGB picture."""
    if len(details) == 1 and details[0]["dtype"] in TYPES:
        batch, *rest = details[0]["shape_signature"]
        size = rest[0] if rest else 0
        if batch in (-1, 1) and size > 0 and rest == [size, size, 3]:
            return details[0]
    raise ModelError(
        f"{source!r} takes {_described(details)}; a classifier must take one "
        "square RGB picture, float32, uint8 or int8 [1, S, S, 3]"
    )


def _vector_output(details: Sequence[dict[str, Any]], source: str) -> dict[str, Any]:
    """Returns the only output; raises ModelError unless it is one vector."""
    if len(details) == 1 and details[0]["dtype"] in TYPES:
        *others, size = details[0]["shape"]
        if others and size == math.prod(details[0]["shape"]):
            return details[0]
    raise ModelError(
        f"{source!r} gives {_described(details)}; a classifier must give one "
        "vector of scores, float32, uint8 or int8 [1, L]"
    )


def _described(details: Sequence[dict[str, Any]]) -> str:
    return ", ".join(
        f"{each['name']!r} {np.dtype(each['dtype']).name} "
        f"{[int(size) for size in each['shape_signature']]}"
        for each in details
    )
