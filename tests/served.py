"""A pytest plugin: one model server that many tests ask, and what it should answer.

A test module asks for it by `pytest_plugins = ["tests.finished", "tests.served"]`.
"""

from collections.abc import Iterator

import numpy as np
import pytest

from tests.serving import Server, serving


@pytest.fixture(scope="session")
def server(finished) -> Iterator[Server]:
    """A server of the finished run, named `flowers`."""
    with serving(f"flowers={finished.folder}", "--processes=1") as running:
        yield running


@pytest.fixture(scope="session")
def photo(finished) -> bytes:
    """A picture that TensorFlow decodes, too."""
    return sorted((finished.image_dir / "tulips").glob("*.jpg"))[0].read_bytes()


@pytest.fixture(scope="session")
def expected(finished, photo: bytes) -> list[float]:
    """The scores that the SavedModel gives for `photo` in TensorFlow."""
    from poets.classifier.with_tensorflow import SavedModelClassifier

    classifier = SavedModelClassifier(str(finished.saved_model))
    return classifier.predict_bytes(photo).tolist()


@pytest.fixture(scope="session")
def scaled(finished) -> tuple[np.ndarray, list[list[float]]]:
    """Two pictures as float32 [2, S, S, 3], scaled, and TensorFlow's scores."""
    from poets.classifier.with_tensorflow import SavedModelClassifier

    classifier = SavedModelClassifier(str(finished.saved_model))
    side = finished.metrics["model"]["image_size_px"]
    random = np.random.default_rng(3)
    pixels = random.uniform(-1, 1, (2, side, side, 3)).astype(np.float32)
    return pixels, classifier.run("serving_images", pixels)["prediction"].tolist()
