"""tools/set_up_tests.py: what can be had is set up, the rest is named."""

import subprocess

import pytest

from poets.errors import ConfigError
from tools import packages, set_up_tests


def test_a_part_that_cannot_be_had_is_named_and_the_others_are_set_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[str] = []

    def refuse() -> None:
        raise ConfigError("root only; ask for it")

    steps = {"a": lambda: done.append("a"), "b": refuse, "c": lambda: done.append("c")}
    monkeypatch.setattr(set_up_tests, "STEPS", steps)
    assert set_up_tests.main() == 0
    assert done == ["a", "c"]
    assert capsys.readouterr().err == (
        "b: root only; ask for it\nb: tests that need it are skipped\n"
    )


def test_who_may_not_install_gets_the_commands_to_run_by_hand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "note\nerror: no krb5-config\n")
    monkeypatch.setattr(packages, "find_program", lambda name: None)
    monkeypatch.setattr(packages, "find_library", lambda name: None)
    monkeypatch.setattr(packages.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(set_up_tests.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(set_up_tests, "ATTEMPTS", 1)
    monkeypatch.setattr(set_up_tests.subprocess, "run", lambda *_, **__: failed)
    assert set_up_tests.main() == 0
    told = capsys.readouterr().err
    assert "packages: krb5, jdk, maven, faketime, krb5-dev, gles not inst" in told
    assert "sudo apt-get install krb5-kdc" in told
    assert "mediapipe: pip cannot install it: error: no krb5-config; run `" in told
    assert "webhdfs: pip cannot install it: error: no krb5-config; run `" in told
    assert "browser: chromium not installed, which needs root and apt-get" in told
    assert "Hadoop: java not found on this machine; install it with" in told
