"""Fills folders with files, and finds the images in them."""

import pytest

from poets.data.dataset import find_images
from poets.errors import DatasetError


def fill(folder, *paths, data=b"x"):
    """Writes files, which are images by their names alone unless `data` is one."""
    for path in paths:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def paths_of(image_dir):
    """Returns the paths of the images that are found."""
    return [image.path for image in find_images(str(image_dir)).images]


def refusal(image_dir):
    """Returns why a folder is refused, as the user's mistake."""
    with pytest.raises(DatasetError) as caught:
        find_images(str(image_dir))
    assert caught.value.exit_code == 2
    return str(caught.value)
