"""Poets as its wheel installs it: built from the sdist, away from the checkout.

    copy of the sources ──build──> sdist ──> wheel ──pip──> venv: poets, and nothing of
                                                            the checkout on its path
    demo/poets.ipynb ──nbclient──> a kernel of this venv

The venv takes its dependencies from the environment of the tests: TensorFlow alone is
600 MB.
"""

import ast
import email
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from poets import __version__
from poets.cli import VERBS
from tests import retraining

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 600
IMAGES = sorted((ROOT / "deploy").glob("*/Dockerfile"))
NOTEBOOK = ROOT / "demo" / "poets.ipynb"
EXECUTE = """
import nbclient, nbformat
book = nbformat.read("poets.ipynb", 4)
nbclient.execute(book, timeout=600)
nbformat.write(book, "poets.ipynb")
"""
FLAGS = {
    "architecture": "scattering_96",
    "how_many_training_steps": 60,
    "processes": 1,
}


def run(*command: object, cwd: Path, environment: Mapping[str, str] = {}) -> str:
    """Runs a command without our PYTHONPATH; returns what it printed."""
    settings = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    settings |= environment
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=settings,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sdist and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"  # setuptools writes beside pyproject.toml
    for name in ("poets", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, source)
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir")
    run(*build, folder / "dist", source, cwd=folder)
    return folder / "dist"


@pytest.fixture(scope="module")
def python(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment with the wheel."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=venv.parent)
    found = venv / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", found, "--no-cache-dir", "install")
    wheel = next(built.glob("*.whl"))
    run(*pip, "--quiet", "--no-deps", "--no-index", wheel, cwd=venv.parent)
    packages = run(
        *(found, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"),
        cwd=venv.parent,
    ).strip()
    dependencies = sysconfig.get_path("purelib")
    Path(packages, "dependencies.pth").write_text(dependencies + "\n")
    return found


def test_the_wheel_holds_the_package_and_the_licence(built):
    (wheel,) = built.glob("*.whl")
    about = f"poets-{__version__}.dist-info"
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
        licence = opened.read(f"{about}/licenses/LICENSE")
        metadata = email.message_from_bytes(opened.read(f"{about}/METADATA"))
    assert {name for name in names if not name.startswith(about)} == {
        str(path.relative_to(ROOT))
        for path in (ROOT / "poets").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert metadata["License-Expression"] == "Apache-2.0"


def test_the_sdist_holds_what_the_wheel_is_built_from(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as opened:
        paths = [Path(name).parts[1:] for name in opened.getnames()]
    assert {parts[0] for parts in paths if parts} == {
        *("poets", "poets.egg-info", "PKG-INFO", "setup.cfg"),
        *("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"),
    }


def test_an_index_takes_both(built):
    files = sorted(built.iterdir())
    assert len(files) == 2
    run(sys.executable, "-m", "twine", "check", "--strict", *files, cwd=built)


def test_every_verb_shows_its_help_without_a_checkout(python, tmp_path):
    poets = python.with_name("poets")
    where = run(python, "-c", "import poets; print(poets.__file__)", cwd=tmp_path)
    assert Path(where).is_relative_to(python.parents[1])
    assert run(poets, "--version", cwd=tmp_path).strip().endswith(__version__)
    for verb in VERBS:
        shown = run(poets, verb, "--help", cwd=tmp_path)
        assert shown.startswith(f"usage: poets {verb}")


def code_cells(path: Path) -> list[dict]:
    """Returns the cells of code of a notebook."""
    cells = json.loads(path.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def execute(python: Path, folder: Path, image_dir: object, **environment: str) -> Path:
    """Executes the notebook with other pictures and few steps; returns its path."""
    book = json.loads(NOTEBOOK.read_text())
    (parameters,) = (
        cell
        for cell in book["cells"]
        if "parameters" in cell["metadata"].get("tags", ())
    )
    parameters["source"] = "\n".join(
        f"{name} = {value!r}"
        for name, value in {
            "image_dir": str(image_dir),
            "output_dir": f"{str(image_dir).rpartition('/')[0]}/flowers",
            "flags": FLAGS,
        }.items()
    )
    (folder / NOTEBOOK.name).write_text(json.dumps(book))
    settings = {"POETS_CACHE": str(folder / "cache"), "HOME": str(folder)}  # Jupyter's
    settings |= environment
    run(python, "-c", EXECUTE, cwd=folder, environment=settings)
    return folder / NOTEBOOK.name


def check_outputs(path: Path) -> None:
    """Checks that an executed notebook shows what it promises, and no noise."""
    shown: dict[str, list[str]] = {}
    for cell in code_cells(path):
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            noise = re.search(r"Warning|INFO:", "".join(output.get("text", "")))
            assert not noise, output["text"]
            for kind, content in output.get("data", {}).items():
                shown.setdefault(kind, []).append("".join(content))
    run_shown, report, pictures, table = shown["text/html"]
    assert "95 % interval" in run_shown
    assert "report.html" in report
    assert 8 <= pictures.count("data:image/jpeg;base64,") <= 16
    assert len(table.splitlines()) == 7  # six combinations
    assert len(shown["image/png"]) == 2
    answer, code = shown["text/plain"][-2:]
    assert sum(score for _, score in ast.literal_eval(answer)) == pytest.approx(1)
    assert code == "0"  # the server ended as it should


def test_the_notebook_runs_without_a_checkout(python, tmp_path):
    image_dir = retraining.write_images(tmp_path / "images")
    check_outputs(execute(python, tmp_path, image_dir))
    assert (tmp_path / "flowers/run/report.html").is_file()


@pytest.mark.soak
def test_the_notebook_runs_on_hdfs(python, tmp_path, secure_hdfs):
    folder = f"/notebook-{tmp_path.name}"
    secure_hdfs.cluster.make_folder(folder, "alice:alice")
    images = retraining.write_images(tmp_path / "images")
    secure_hdfs.cluster.put(images, f"{folder}/images")
    url = f"{secure_hdfs.url}{folder}/images"
    environment = secure_hdfs.environment("alice")
    check_outputs(execute(python, tmp_path, url, **environment))


def test_the_notebook_shows_what_it_did_when_it_was_last_run():
    check_outputs(NOTEBOOK)
    numbers = [cell["execution_count"] for cell in code_cells(NOTEBOOK)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert str(ROOT) not in NOTEBOOK.read_text()
    assert len(NOTEBOOK.read_bytes()) < 500_000


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.parent.name)
def test_every_image_carries_the_licence(path):
    text = path.read_text()
    if "FROM ${POETS}" in text:  # of the job's image, which has it
        return
    assert len(re.findall(r"^COPY .*LICENSE", text, re.MULTILINE)) == 1
    ignored = path.with_name("Dockerfile.dockerignore")
    if ignored.exists():
        assert "!LICENSE" in ignored.read_text().splitlines()
