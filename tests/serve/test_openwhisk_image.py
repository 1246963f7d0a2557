"""The image of the OpenWhisk action, and the commands of its document."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.serve.action import draw_digit

pytest_plugins = ["tests.serve.action"]

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "openwhisk"
DOCUMENT = ROOT / "docs" / "openwhisk.md"


def pins():
    """Returns the pinned requirements of the image, each with its hashes."""
    text = (DEPLOY / "requirements.txt").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    for line in lines:
        requirement, *hashes = line.split("--hash=")
        assert hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}\s*", each) for each in hashes)
        yield Requirement(requirement.strip())


def test_the_image_has_what_pyproject_asks_for_without_tensorflow():
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    own = (DEPLOY / "requirements.in").read_text("utf-8").splitlines()
    wanted = [
        *map(Requirement, project["dependencies"]),
        *(Requirement(line) for line in own if not line.startswith("#")),
    ]
    found = {}
    for pin in pins():
        found.setdefault(pin.name, []).append(pin)
    assert not any(name.startswith("tensorflow") for name in found)
    for requirement in wanted:
        if requirement.name == "tensorflow":
            continue
        assert requirement.name in found, f"{requirement.name}: make the list again"
        for pin in found[requirement.name]:
            (version,) = [specifier.version for specifier in pin.specifier]
            assert requirement.specifier.contains(version)


def test_the_image_is_not_roots_and_starts_the_action():
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert "USER 1000:1000" in lines
    assert "EXPOSE 8080" in lines
    assert lines[-1] == 'ENTRYPOINT ["python", "-m", "poets.serve.openwhisk"]'
    assert "--require-hashes" in text
    (base,) = re.findall(r"^ARG PYTHON=(.+)$", text, re.MULTILINE)
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for name in source.split():
            assert (ROOT / name).exists()
            assert f"!{name}" in kept


def test_the_requests_in_the_document_are_answered(
    run_action, digit_model, web_server, require, tmp_path
):
    require("curl", shutil.which("curl"))
    picture = draw_digit(5, format="JPEG")
    (tmp_path / "rose.jpg").write_bytes(picture)
    web_server.files["/rose.jpg"] = picture
    text = DOCUMENT.read_text().replace("https://example.com", web_server.url())
    commands = re.findall(r"^curl -d .* http://localhost:8080/run$", text, re.MULTILINE)
    assert len(commands) == 2
    hosts = "127.0.0.1"
    with run_action(PATH_TO_ONNX_MODEL=digit_model, POETS_ALLOW_URLS=hosts) as action:
        for command in commands:
            command = command.replace("http://localhost:8080", action.url)
            done = subprocess.run(
                ["sh", "-c", f"{command} --silent --show-error"],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert (done.returncode, done.stderr) == (0, "")
            assert json.loads(done.stdout)["res"] == 5
