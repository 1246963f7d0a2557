"""The KDC tool, as it is called, and an end to every KDC that a test starts."""

from collections.abc import Callable, Iterator

import pytest

from tools.kdc import kdc as tool
from tools.kdc.local import LocalKdc
from tools.packages import missing_packages


@pytest.fixture
def directory(tmp_path, require) -> Iterator:
    """A folder for a KDC, which is stopped after the test."""
    require("kdc", not missing_packages(["krb5"]))
    directory = tmp_path / "a kdc"
    yield directory
    if (directory / "krb5.conf").exists():
        LocalKdc(directory).stop()


@pytest.fixture
def run(capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs the tool; returns its exit code, and what it printed on both streams."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            code = tool.main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def principals_file(tmp_path):
    """A file with two principals."""
    path = tmp_path / "principals.txt"
    path.write_text("# two\ntensorflow@LOCAL\n\nhdfs/localhost\n")
    return path
