"""tools/packages.py: what is missing is installed by root, named to others."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import packages


def test_packages_that_are_there_are_left_alone(
    require: Callable[[str, object], None], capfd: pytest.CaptureFixture[str]
) -> None:
    require("kdc", not packages.missing_packages(["krb5"]))
    assert packages.main(["krb5"]) == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("kinds", "text"),
    [
        (["krb5", "hadoop"], "packages: cannot install 'hadoop'; known are krb5, jdk"),
        ([], "packages: cannot install nothing; known are krb5, jdk, maven, faketime"),
    ],
)
def test_unknown_packages_are_refused(
    kinds: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert packages.main(kinds) == 2
    assert text in capsys.readouterr().err


def test_root_has_apt_get_install_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stand_in = f"""#!/bin/sh
        echo "${{0##*/}} $*" >> {tmp_path}/calls
        case $* in *show*) exit 1;; esac  # a Debian that has it no more
        case $* in *install*) cd {tmp_path} && cp "$0" java && cp "$0" keytool
                              cp "$0" mvn;; esac
    """
    for name in ("apt-get", "apt-cache"):
        (tmp_path / name).write_text(stand_in)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(
        packages, "find_program", lambda name: shutil.which(name, path=str(tmp_path))
    )
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert packages.main(["jdk", "maven"]) == 0
    assert (tmp_path / "calls").read_text().splitlines() == [
        "apt-get -qq -o Acquire::Retries=5 update",
        "apt-cache show openjdk-17-jdk-headless",
        "apt-get -qq -o Acquire::Retries=5 install --yes --no-install-recommends "
        "default-jdk-headless maven",
    ]
    assert capfd.readouterr().err.startswith("$ apt-get -qq -o Acquire::Retries=5 upda")


def test_an_installation_that_fails_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("apt-get", "apt-cache"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 100\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(packages, "find_program", lambda name: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert packages.main(["krb5-dev"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "packages: apt-get did not install krb5-dev; look at its output above, and run "
        "it yourself"
    )


def test_what_cannot_be_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packages, "find_program", lambda name: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert packages.main(["jdk", "maven"]) == 2
    assert capsys.readouterr().err == (
        "packages: jdk, maven not installed, which needs root and apt-get; install it "
        "with `sudo apt-get install openjdk-17-jdk-headless maven` (names as in "
        "Debian)\n"
    )
