"""What runs the backbone: LiteRT on CPUs, TensorFlow where LiteRT cannot.

Both take pixels in 0..255, scaled inside, and give the same features to 1e-4. An
engine belongs to one process and one thread.
"""

import importlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

ADAPTERS = {  # --engine -> module with connect(model_path)
    "litert": "poets.bottlenecks.engine_litert",
    "tensorflow": "poets.bottlenecks.engine_tensorflow",
}


class Engine(Protocol):
    """A loaded network.

    Attributes:
      image_size_px: S.
      output_size: D.
      batch_size: how many images it likes at once.
    """

    image_size_px: int
    output_size: int
    batch_size: int

    def run(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Returns float32 [N, D] for N images, each [S, S, 3] in 0..255."""


def load_engine(name: str, model_path: str) -> Engine:
    """Returns an engine with the model in a local file.

    Args:
      name: "litert" (a .tflite file) or "tensorflow" (a frozen graph whose input is
        `pixels` and whose output is `output`).
      model_path: local file.
    """
    return importlib.import_module(ADAPTERS[name]).connect(model_path)
