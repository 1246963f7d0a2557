"""The engines that run a backbone: LiteRT on CPUs, else TensorFlow.

Both take pixels in 0..255, scale them inside, and give features that agree to 1e-4. An
engine belongs to one process and one thread.
"""

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

ADAPTERS = {  # name, of which --engine takes some -> module with connect(model_path)
    "litert": "poets.features.engine_litert",
    "onnx": "poets.features.engine_onnx",
    "tensorflow": "poets.features.engine_tensorflow",
}


@dataclass(frozen=True)
class Normalization:
    """The scaling for a network that does not scale inside: (pixel - mean) / std.

    Attributes:
      mean: one value in units of pixels, 0..255, or one each for R, G and B.
      std: as many values, none of them 0.

    Raises:
      ValueError: if the values are not finite, or their number is wrong.
    """

    mean: Sequence[float]
    std: Sequence[float]

    def __post_init__(self) -> None:
        sizes = len(self.mean), len(self.std)
        if sizes not in ((1, 1), (3, 3)):
            raise ValueError("mean and std have {} and {} values".format(*sizes))
        if not all(map(math.isfinite, (*self.mean, *self.std))) or not all(self.std):
            raise ValueError(f"mean {self.mean} or std {self.std} is not finite, or 0")


RAW = Normalization([0], [1])
"""Leaves pixels unchanged."""


class Engine(Protocol):
    """A loaded network.

    Attributes:
      image_size_px: S.
      output_size: D.
      batch_size: the number of images that it computes fastest at once.
    """

    image_size_px: int
    output_size: int
    batch_size: int

    def run(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Returns float32 [N, D] for N images, each [S, S, 3] in 0..255."""


class ImageEngine(Engine, Protocol):
    """An engine that also runs models of other programs.

    Attributes:
      input_name: name of the only input.
      takes_integers: whether that input takes integers.
    """

    input_name: str
    takes_integers: bool

    def normalize(self, normalization: Normalization | None) -> None:
        """Sets how pixels are fed.

        None feeds floats unchanged, and maps 0..255 to the whole range of an integer
        type.
        """


def load_engine(
    name: str, model_path: str, normalization: Normalization | None = None
) -> Engine:
    """Returns an engine with the model in a local file.

    Args:
      name: "litert" (a .tflite file), "onnx" (an .onnx file) or "tensorflow" (a frozen
        graph whose input is `pixels` and whose output is `output`).
      model_path: the file.
      normalization: for a model that does not scale its pixels.
    """
    engine = importlib.import_module(ADAPTERS[name]).connect(model_path)
    if normalization:
        engine.normalize(normalization)
    return engine
