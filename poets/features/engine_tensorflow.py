"""TensorFlow: batches, for GPUs and for networks that LiteRT cannot hold."""

from collections.abc import Sequence

import numpy as np

from poets.backbones.graph import OUTPUT_NAME, PIXELS_NAME
from poets.system.runtime import tf, v1


class TensorFlow:
    """A session; see `poets.features.engines.Engine`."""

    batch_size = 32

    def __init__(self, model_path: str) -> None:
        with open(model_path, "rb") as file:
            graph_def = v1.GraphDef.FromString(file.read())
        with tf.Graph().as_default() as graph:
            self._input, self._output = v1.import_graph_def(
                graph_def,
                return_elements=[f"{PIXELS_NAME}:0", f"{OUTPUT_NAME}:0"],
                name="",
            )
        self.image_size_px = int(self._input.shape[1])
        self.output_size = int(self._output.shape[-1])
        has_gpu = bool(tf.config.list_physical_devices("GPU"))
        threads = 0 if has_gpu else 1  # on a CPU, processes use the cores
        config = v1.ConfigProto(
            intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads
        )
        config.gpu_options.allow_growth = True
        self._session = v1.Session(graph=graph, config=config)

    def run(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Returns float32 [N, D] for N images, each [S, S, 3] in 0..255."""
        batch = np.asarray(images, np.float32)
        return self._session.run(self._output, {self._input: batch})


def connect(model_path: str) -> TensorFlow:
    """Returns the engine for a frozen graph from `pixels` to `output`."""
    return TensorFlow(model_path)
