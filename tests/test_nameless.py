"""A user id without a name, a home, or a folder that is its own: a pod's process.

OpenShift runs each pod as such a user. One process runs the verbs in turn. It may read
all files, since the Python of these tests is perhaps in a home that is closed to it.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

NAMELESS = 54321
AS_NAMELESS = (
    *("setpriv", f"--reuid={NAMELESS}", "--regid=0", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)
TIMEOUT_S = 240
VERBS = """
import getpass, json, os, sys
from poets.cli import run

for variable in ("HOME", "USER", "LOGNAME"):
    os.environ.pop(variable, None)
try:
    sys.exit(f"{getpass.getuser()!r} is a name")
except (KeyError, OSError):
    print("nobody")
try:
    open("here", "w")
    sys.exit("the current folder can be written")
except OSError:
    pass
for words in json.loads(sys.argv[1]):
    print(words[0], run(words), flush=True)
"""


@pytest.fixture
def as_nameless(require):
    """Runs Python code as a user without a name, in a folder that it may not write."""
    started = shutil.which("setpriv") and subprocess.run(
        [*AS_NAMELESS, sys.executable, "-c", ""], capture_output=True, timeout=60
    )
    require("setpriv", started and started.returncode == 0)

    def run(code: str, *arguments: str, **variables: str):
        return subprocess.run(
            [*AS_NAMELESS, sys.executable, "-c", code, *arguments],
            cwd="/",
            env={"PATH": os.environ["PATH"], **variables},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )

    return run


@pytest.fixture
def folder():
    """A folder that every user can enter; pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="poets-test-") as made:
        os.chmod(made, 0o755)
        yield Path(made)


def test_a_user_without_a_name_retrains_and_looks_at_it(
    as_nameless, labelled_folder, folder
):
    root = Path(__file__).parents[1]
    images = labelled_folder(folder, {"daisy": 12, "roses": 12})
    own = folder / "own"
    for name in ("", "tmp", "out"):
        (own / name).mkdir()
        os.chown(own / name, NAMELESS, 0)
    places = {
        "output_graph": "graph.pb",
        "output_labels": "labels.txt",
        "saved_model_dir": "saved_model",
        "checkpoint_path": "head",
        "summaries_dir": "summaries",
        "bottleneck_dir": "bottlenecks",
    }
    verbs = [
        [
            *("retrain", f"--image_dir={images}", "--architecture=scattering_96"),
            *("--how_many_training_steps=10", "--processes=1"),
            *(f"--{flag}={own}/out/{name}" for flag, name in places.items()),
        ],
        ["label", "--model", f"{own}/out/graph.pb", f"{images}/daisy/0000.jpg"],
        ["results", f"{own}/out"],
        ["doctor", str(images), f"--write={own}/out"],
    ]
    done = as_nameless(
        VERBS, json.dumps(verbs), TMPDIR=str(own / "tmp"), PYTHONPATH=str(root)
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "nobody"
    for words in verbs:
        assert f"{words[0]} 0" in said, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert f" {NAMELESS} " in done.stdout, "poets results shows the id of an owner"
    assert (own / "out" / "graph.pb").stat().st_uid == NAMELESS
