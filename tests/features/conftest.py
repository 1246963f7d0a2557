"""Pictures as the job lists them, and real processes."""

import subprocess

import pytest

from poets.data.dataset import find_images
from poets.system import child


@pytest.fixture(autouse=True)
def _started_children(monkeypatch):
    """Processes that compute are started as users' are."""
    monkeypatch.setattr(child, "subprocess", subprocess)


@pytest.fixture
def image_dir(tmp_path, pictures):
    """Two labels with 20 images each."""
    for number, data in enumerate(pictures):
        folder = tmp_path / "images" / ("daisy", "tulips")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:02d}.jpg").write_bytes(data)
    return tmp_path / "images"


@pytest.fixture
def images(image_dir):
    return find_images(str(image_dir)).images
