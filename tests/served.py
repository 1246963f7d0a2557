"""A pytest plugin: one model server that many tests ask, and what it should answer.

A test module asks for it by `pytest_plugins = ["tests.finished", "tests.served"]`.
"""

from collections.abc import Iterator

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
