"""LiteRT with XNNPACK: one interpreter, one thread.

The interpreter holds the GIL, so cores are used by processes, not by threads. One
image at a time is as fast as a batch on a CPU and keeps the caches warm.
"""

from collections.abc import Sequence

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from poets.errors import ModelError
from poets.quiet import quiet_stderr


class LiteRT:
    """An interpreter; see `poets.bottlenecks.engines.Engine`."""

    batch_size = 1

    def __init__(self, model_path: str) -> None:
        with quiet_stderr():  # "INFO: Created TensorFlow Lite XNNPACK delegate"
            self._interpreter = Interpreter(model_path=model_path, num_threads=1)
            self._interpreter.allocate_tensors()
        (given,) = self._interpreter.get_input_details()
        (answer,) = self._interpreter.get_output_details()
        self.image_size_px = int(given["shape"][1])
        self.output_size = int(answer["shape"][-1])
        self._input = self._interpreter.tensor(given["index"])
        self._output = self._interpreter.tensor(answer["index"])

    def run(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Returns float32 [N, D] for N images, each [S, S, 3] in 0..255."""
        outputs = np.empty((len(images), self.output_size), np.float32)
        for index, image in enumerate(images):
            self._input()[0] = image
            self._interpreter.invoke()
            outputs[index] = self._output()[0]
        return outputs


def connect(model_path: str) -> LiteRT:
    """Returns the engine for a `.tflite` file.

    Raises:
      ModelError: if the file is no model of one image input and one output.
    """
    try:
        return LiteRT(model_path)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{model_path!r} is no LiteRT model: {reason}") from error
