"""Places for the images of a test."""

import pytest


@pytest.fixture
def folder(tmp_path):
    """An empty folder, for packs."""
    (tmp_path / "packs").mkdir()
    return tmp_path / "packs"


@pytest.fixture
def image_dir(tmp_path):
    """A place for a labelled folder; it is not there yet."""
    return tmp_path / "flowers"
