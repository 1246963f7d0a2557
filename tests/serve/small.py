"""A pytest plugin: a tiny `.tflite`, which programs load in no time."""

from pathlib import Path

import pytest

from poets.classifier.tflite_metadata import add_metadata
from poets.features.engines import Normalization
from tests.serve.actor import LABELS


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `.tflite` that answers with the softmax of the mean of each channel."""
    from poets.system.runtime import tf, v1

    with tf.Graph().as_default():
        images = v1.placeholder(tf.float32, [1, 8, 8, 3], "input")
        scores = tf.nn.softmax(tf.reduce_mean(images, axis=[1, 2]))
        make = v1.lite.TFLiteConverter.from_session
        with v1.Session() as session:
            model = make(session, [images], [scores]).convert()
    path = tmp_path_factory.mktemp("model") / "small.tflite"
    path.write_bytes(add_metadata(model, LABELS, Normalization([0.0], [255.0])))
    return path
