"""The requests that docs/serving.md shows, sent to a real server."""

import contextlib
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytest_plugins = ["tests.finished", "tests.served"]

TEXT = (Path(__file__).parents[2] / "docs/serving.md").read_text()
REST, GRPC = "http://127.0.0.1:8501", "127.0.0.1:8500"


def shown(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


COMMANDS = [
    command
    for block in shown("console")
    for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    if "curl" in command
]


@pytest.fixture
def pictures(photo, tmp_path, monkeypatch):
    """A working folder with the pictures of the page."""
    for name in ("rose.jpg", "tulip.jpg"):
        (tmp_path / name).write_bytes(photo)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda text: text.split(REST)[-1])
def test_each_request_is_answered(server, pictures, require, command):
    require("curl", shutil.which("curl"))
    command = command.replace("curl ", "curl --fail --silent --show-error ")
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.replace(REST, server.url)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    if "/metrics" in command:
        assert "poets_requests_total" in done.stdout
    else:
        assert json.loads(done.stdout)


def test_the_answer_has_the_shown_form(server, photo):
    (example,) = map(json.loads, shown("json"))
    (best, *_), *_ = server.post("/v1/models/flowers:classify", data=photo).json()[
        "results"
    ]
    assert list(map(type, best)) == list(map(type, example["results"][0][0]))


def test_the_program_prints_a_label(server, pictures, finished):
    (program,) = shown("python")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(program.replace(GRPC, server.grpc), {})
    label, score = out.getvalue().rsplit(maxsplit=1)
    assert label in finished.labels
    assert 0 < float(score) <= 1


def test_metrics_named_are_those_of_the_server(server):
    names = set(re.findall(r"`(poets_\w+)`", TEXT))
    assert len(names) == 5
    text = server.get("/metrics").text
    assert [name for name in names if name not in text] == []
