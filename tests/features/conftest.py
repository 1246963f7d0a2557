"""Pictures as the job lists them."""

import pytest

from poets.data.dataset import find_images


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
