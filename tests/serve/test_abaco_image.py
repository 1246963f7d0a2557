"""The files of deploy/abaco, with a `docker` that only records its arguments."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy" / "abaco"
DOCKER = """#!/bin/sh
printf '%s\\n' "$*" >> "$COMMANDS"
[ "$1" != run ] || { echo 'roses (score = 0.97872)'; exit 3; }
"""


@pytest.fixture
def deploy(tmp_path):
    """Returns a function that runs a script of a copy: exit code, streams, commands."""
    folder = tmp_path / "deploy" / "abaco"
    shutil.copytree(DEPLOY, folder, ignore=shutil.ignore_patterns("model"))
    settings = (folder / "config.rc.sample").read_text()
    filled = settings.replace("huborg=\n", "huborg=org\n")
    (folder / "config.rc").write_text(filled)
    docker, commands = tmp_path / "docker", tmp_path / "commands"
    docker.write_text(DOCKER)
    docker.chmod(0o755)

    def run(name, *arguments):
        commands.unlink(missing_ok=True)
        done = subprocess.run(
            [folder / name, *map(str, arguments)],
            cwd="/",
            env={**os.environ, "DOCKER": str(docker), "COMMANDS": str(commands)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        told = commands.read_text().splitlines() if commands.exists() else []
        told = [line.replace(f"{folder}/", "") for line in told]
        return done.returncode, done.stdout, done.stderr, told

    run.folder = folder
    return run


def test_the_image_has_the_version_and_latest_as_tags(deploy, tmp_path):
    version = (DEPLOY / "VERSION").read_text().strip()
    (tmp_path / "a.tflite").write_bytes(b"model")
    code, _, _, told = deploy("build.sh", tmp_path / "a.tflite", "--build-arg", "A=b")
    assert code == 0
    assert [line.rpartition(" ")[0] for line in told] == [
        f"build -f Dockerfile --build-arg A=b -t org/flowers:{version} "
        "-t org/flowers:latest"
    ]
    assert (deploy.folder / "model" / "a.tflite").read_bytes() == b"model"
    assert deploy("publish.sh")[3] == [
        f"push org/flowers:{version}",
        "push org/flowers:latest",
    ]


def test_another_model_replaces_the_first(deploy, tmp_path):
    (tmp_path / "a.tflite").touch()
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").touch()
    for model in ("a.tflite", "1"):
        assert deploy("build.sh", tmp_path / model)[0] == 0
    names = [path.name for path in (deploy.folder / "model").iterdir()]
    assert names == ["saved_model.pb"]


def test_a_build_without_a_model_is_refused(deploy):
    for arguments in ((), ("/nowhere/a.tflite",)):
        code, _, err, told = deploy("build.sh", *arguments)
        assert (code, told) == (2, [])
        assert "usage: " in err


def test_the_tester_runs_the_image_as_abaco_does(deploy):
    code, out, err, (command,) = deploy("tester.sh")
    assert (code, out) == (3, "roses (score = 0.97872)\n")
    assert re.fullmatch(r"tester-runtime: \d+ seconds\n", err)
    assert command == (
        "run --rm --user 12345:12345 --read-only --env-file tester.env "
        "org/flowers:latest"
    )
    message = "https://x/a b.jpg?c=1&d=*"
    (command,) = deploy("tester.sh", message)[3]
    assert f" --env MSG={message} org/flowers:latest" in command


def test_the_testers_message_is_one_line_that_the_actor_takes():
    from poets.serve.abaco.message import read_message

    (line,) = (DEPLOY / "tester.env").read_text().splitlines()
    name, _, text = line.partition("=")
    found = read_message({name: text}, "/nowhere")
    assert (found.name, found.predictions) == ("sunflower.jpg", 6)


def test_the_settings_are_flags_that_the_program_takes():
    """Variables could be set by any sender, as query parameters."""
    from poets.serve.abaco.__main__ import build_parser

    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    entry = re.findall(r'"([^"]+)"', text.rpartition("ENTRYPOINT")[2])
    assert entry[1:4] == ["-I", "-m", "poets.serve.abaco"]
    args = build_parser().parse_args(entry[4:])
    assert (args.model, args.allow_urls) == ("/model", "*")
    assert "USER 1000:1000" in text.splitlines()


def pins(path):
    """Returns name and version of each package in a list, with its hashes."""
    lines = path.read_text().replace("\\\n", " ").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def test_the_image_has_the_packages_of_the_other_image_without_tensorflow():
    """Whose versions were measured; `requirements.txt` says how it is made."""
    ours = pins(DEPLOY / "requirements.txt")
    assert ours <= pins(ROOT / "deploy" / "kubernetes" / "requirements.txt")
    names = {Requirement(line.split("--hash=")[0].strip()).name for line in ours}
    wanted = (DEPLOY / "requirements.in").read_text().splitlines()
    assert {name for name in wanted if not name.startswith("#")} <= names
    assert not {name for name in names if "tensor" in name or name == "keras"}
