"""The image of deploy/kubernetes: its Dockerfile, and the packages it pins."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy" / "kubernetes"


def test_every_dependency_is_pinned_by_hash_and_fits_pyproject():
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = (DEPLOY / "requirements.txt").read_text("utf-8").replace("\\\n", " ")
    pins = {}
    for line in lines.splitlines():
        if line and not line.startswith("#"):
            requirement, *hashes = line.split("--hash=")
            pin = Requirement(requirement.strip())
            assert hashes
            assert all(re.fullmatch(r"sha256:[0-9a-f]{64}\s*", text) for text in hashes)
            pins.setdefault(pin.name, []).append(pin)
    needed = [Requirement(text) for text in project["dependencies"]]
    for requirement in needed:
        assert requirement.name in pins, f"{requirement.name}: make the list again"
        for pin in pins[requirement.name]:
            (version,) = [specifier.version for specifier in pin.specifier]
            assert requirement.specifier.contains(version)
    assert {"tensorflow-cpu", "tensorboard", "setuptools"} <= set(pins)


def test_the_image_is_not_roots_and_starts_the_job():
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert "USER 1000:1000" in lines
    assert lines[-1] == 'ENTRYPOINT ["tini", "--", "python", "/retrain.py"]'
    assert "--require-hashes" in text
    (base,) = re.findall(r"^ARG PYTHON=(.+)$", text, re.MULTILINE)
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / name).exists() for name in source.split())
        kept = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
        assert all(f"!{name}" in kept for name in source.split())
