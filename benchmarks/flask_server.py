"""A classifier as a small Flask app, as the OpenWhisk demo has it.

    python -m benchmarks.flask_server MODEL.onnx IMAGE_SIZE_PX PORT

One picture a request, Pillow, a new session for each, Flask's own server. The demo
fetches the picture from a URL, too; here it comes with the request.
"""

import base64
import io
import logging
import sys

import flask
import numpy as np
import onnxruntime
from PIL import Image

path, size_px, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
app = flask.Flask(__name__)


@app.post("/v1/models/flowers:predict")
def predict() -> flask.Response:
    (instance,) = flask.request.get_json()["instances"]
    image = Image.open(io.BytesIO(base64.b64decode(instance["b64"]))).convert("RGB")
    image = image.resize((size_px, size_px), Image.Resampling.LANCZOS)
    pixels = np.asarray(image, np.float32)[None] / 127.5 - 1
    session = onnxruntime.InferenceSession(path)
    (scores,) = session.run(None, {session.get_inputs()[0].name: pixels})
    return flask.jsonify({"code": 200, "res": int(scores.argmax())})


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    app.run(port=port)
