"""KServe's Python server around an ONNX network, as its documentation shows.

    python -m benchmarks.kserve_server MODEL.onnx IMAGE_SIZE_PX PORT

One process, as it starts by default; onnxruntime takes all cores. With more (`workers`)
its supervisor ends those that do not start within seconds, on a busy machine all.

Needs kserve, onnxruntime and pillow, and nothing else of this project.
"""

import base64
import io
import sys

import kserve
import numpy as np
import onnxruntime
from PIL import Image


class Classifier(kserve.Model):
    """Scores pictures that come as Base64 in JSON."""

    def __init__(self, path: str, size_px: int) -> None:
        super().__init__("flowers")
        self._session, self._size_px = onnxruntime.InferenceSession(path), size_px
        self.ready = True

    def predict(self, payload: dict, headers=None, response_headers=None) -> dict:
        pixels = np.stack([self._pixels(each) for each in payload["instances"]])
        name = self._session.get_inputs()[0].name
        (scores,) = self._session.run(None, {name: pixels})
        return {"predictions": scores.tolist()}

    def _pixels(self, instance: dict) -> np.ndarray:
        data = base64.b64decode(instance["b64"])
        image = Image.open(io.BytesIO(data)).convert("RGB")
        image = image.resize((self._size_px, self._size_px), Image.Resampling.BILINEAR)
        return np.asarray(image, np.float32) / 127.5 - 1


if __name__ == "__main__":
    path, size_px, port = sys.argv[1:]
    server = kserve.ModelServer(
        http_port=int(port), enable_grpc=False, enable_latency_logging=False
    )
    server.start([Classifier(path, int(size_px))])
