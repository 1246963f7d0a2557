"""MediaPipe's `ImageClassifier` takes our `.tflite` as it is and answers as we do.

It is another reader of TFLite Metadata, in C++, and scales and resizes by what it finds
there; so do ML Kit and Android's libraries. It runs in a process of its own, where
TensorFlow is not loaded.
"""

import ctypes.util
import importlib.util
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from poets.classifier import load_classifier
from poets.data.images import decode, resize

pytest_plugins = ["tests.finished"]

PROGRAM = """
import json, sys
sys.modules["tensorflow"] = None  # it would be imported where it is installed
import mediapipe, numpy
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import ImageClassifier, ImageClassifierOptions
model, pictures = sys.argv[1:]
base = BaseOptions(model_asset_path=model)
with ImageClassifier.create_from_options(ImageClassifierOptions(base)) as classifier:
    for pixels in numpy.load(pictures).values():
        image = mediapipe.Image(mediapipe.ImageFormat.SRGB, pixels)
        (head,) = classifier.classify(image).classifications
        print(json.dumps({each.category_name: each.score for each in head.categories}))
"""


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def mediapipe(require):
    """Returns a function: model, uint8 [H, W, 3] pictures -> scores by label."""
    libraries = [ctypes.util.find_library(name) for name in ("EGL", "GLESv2")]
    require("mediapipe", importlib.util.find_spec("mediapipe") and all(libraries))

    def classify(model, pictures, folder):
        np.savez(folder / "pictures.npz", *pictures)
        words = [sys.executable, "-c", PROGRAM, model, folder / "pictures.npz"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return classify


@pytest.fixture(scope="module")
def pictures(finished):
    """Oblong pictures of all labels, uint8 [H, W, 3], smaller than the model's."""
    paths = sorted(finished.image_dir.glob("*/[0-9]*.jpg"))[::5]
    return [decode(path.read_bytes()) for path in paths]


def test_it_answers_as_we_do(mediapipe, finished, pictures, tmp_path):
    """Where it resizes, it does so with other sample points."""
    model = str(finished.folder / "retrained_graph.tflite")
    fitting = [np.rint(resize(pixels, 96)).astype(np.uint8) for pixels in pictures]
    assert len(fitting) > 9
    answers = mediapipe(model, [*fitting, *pictures], tmp_path)
    ours = load_classifier(model)
    assert {frozenset(answer) for answer in answers} == {frozenset(ours.labels)}
    found = [[answer[label] for label in ours.labels] for answer in answers]
    expected = ours.predict([png(pixels) for pixels in [*fitting, *pictures]])
    difference = np.abs(np.subtract(found, expected)).max(axis=1)
    assert difference[: len(fitting)].max() < 1e-6
    assert difference.max() < 0.01
    assert np.array_equal(np.argmax(found, 1), np.argmax(expected, 1))
