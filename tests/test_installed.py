"""Poets as its wheel installs it: built from the sdist, away from the checkout.

    copy of the sources ──build──> sdist ──> wheel ──pip──> venv: poets, and nothing of
                                                            the checkout on its path

The venv takes its dependencies from the environment of the tests: TensorFlow alone is
600 MB.
"""

import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from poets import __version__
from poets.cli import VERBS

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 600
IMAGES = sorted((ROOT / "deploy").glob("*/Dockerfile"))


def run(*command: object, cwd: Path) -> str:
    """Runs a command without our PYTHONPATH; returns what it printed."""
    settings = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
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


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.parent.name)
def test_every_image_carries_the_licence(path):
    copied = re.findall(r"^COPY (.*LICENSE.*)", path.read_text(), re.MULTILINE)
    assert len(copied) == 1
    ignored = path.with_name("Dockerfile.dockerignore")
    if ignored.exists():
        assert "!LICENSE" in ignored.read_text().splitlines()
