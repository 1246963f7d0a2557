"""What the tests of packs share."""

import pytest


@pytest.fixture
def folder(tmp_path):
    """A folder for packs."""
    (tmp_path / "packs").mkdir()
    return tmp_path / "packs"
