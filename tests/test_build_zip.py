"""The job zip: same bytes from the same files, whatever machine they lie on."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DEADLINE_S = 800.0


@pytest.fixture
def checkout(tmp_path):
    """A small copy of the project, as one would unpack it, without git."""
    root = tmp_path / "checkout"
    (root / "poets" / "cli").mkdir(parents=True)
    (root / "poets" / "__init__.py").write_text('__version__ = "1.2.3"\n')
    (root / "poets" / "cli" / "__init__.py").write_text("")
    (root / "poets" / "labels.txt").write_text("daisy\n")
    (root / "demo").mkdir()
    (root / "demo" / "poets.json").write_text("{}")
    shutil.copy(ROOT / "build_zip.py", root)
    return root


def git(root, *words):
    command = ["git", "-C", str(root), "-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(
        [*command, *words], check=True, capture_output=True, timeout=DEADLINE_S
    )


def build(root, *words):
    """Runs build_zip.py as one does; returns the zip and what was printed."""
    done = subprocess.run(
        [sys.executable, "build_zip.py", *words],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    printed = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    return root / printed["path"], printed, done.stderr


def test_the_zip_holds_the_package_and_nothing_else(checkout):
    archive, _, _ = build(checkout)
    assert archive == checkout / "dist" / "poets-1.2.3.zip"
    with zipfile.ZipFile(archive) as opened:
        assert opened.namelist() == [
            "poets-1.2.3/poets/__init__.py",
            "poets-1.2.3/poets/cli/__init__.py",
            "poets-1.2.3/poets/labels.txt",
        ]


def test_the_options_to_use_are_printed(checkout):
    archive, printed, _ = build(checkout, "--output", "out")
    assert archive.parent == checkout / "out"
    assert printed["size"] == f"{archive.stat().st_size:,} bytes"
    assert printed["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert printed["job_url"].startswith(f"file://{archive} ")
    assert printed["job_path"] == "poets-1.2.3"
    assert printed["job_name"] == "poets"


def test_the_same_files_make_the_same_bytes_with_and_without_git(checkout, tmp_path):
    first = build(checkout)[0].read_bytes()
    (checkout / "poets" / "__pycache__").mkdir()
    (checkout / "poets" / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"1")
    (checkout / "poets" / "labels.txt").chmod(0o600)
    os.utime(checkout / "poets" / "labels.txt", (0, 10**9))
    assert build(checkout)[0].read_bytes() == first
    (checkout / ".gitignore").write_text("__pycache__/\ndist/\n")
    git(checkout, "init", "--quiet")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message=all")
    clone = tmp_path / "clone"
    git(checkout, "clone", "--quiet", str(checkout), str(clone))
    for root in (checkout, clone):
        archive, _, said = build(root)
        assert archive.read_bytes() == first
        assert said == ""


def test_what_git_ignores_stays_out_and_what_is_not_committed_is_reported(checkout):
    (checkout / ".gitignore").write_text("*.tmp\n")
    git(checkout, "init", "--quiet")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message=all")
    (checkout / "poets" / "left.tmp").write_text("x")
    (checkout / "poets" / "new.py").write_text("x = 1\n")
    (checkout / "poets" / "labels.txt").unlink()
    archive, _, said = build(checkout)
    with zipfile.ZipFile(archive) as opened:
        names = [name.rpartition("/")[2] for name in opened.namelist()]
    assert names == ["__init__.py", "__init__.py", "new.py"]
    assert "poets/ has uncommitted changes" in said


def test_a_tree_without_a_version_is_refused(checkout):
    (checkout / "poets" / "__init__.py").write_text("version = 1\n")
    done = subprocess.run(
        [sys.executable, "build_zip.py"],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 1
    assert "has no line __version__" in done.stderr
    assert not (checkout / "dist").exists()


def test_serve_offers_the_zip_and_only_the_zip(checkout):
    (checkout / "dist").mkdir()
    (checkout / "dist" / "secret").write_text("x")
    with subprocess.Popen(
        [sys.executable, "build_zip.py", "--serve"],
        cwd=checkout,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as serving:
        try:
            url = ""
            while not url:
                line = serving.stdout.readline()
                assert line, "the server ended early"
                url = line.split()[1] if line.startswith("job_url") else ""
            with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
                content = answer.read()
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(
                    url.rpartition("/")[0] + "/secret", timeout=DEADLINE_S
                )
            caught.value.close()
        finally:
            serving.send_signal(2)
            serving.wait(DEADLINE_S)
    assert serving.returncode == 0
    assert caught.value.code == 404
    assert content == (checkout / "dist" / "poets-1.2.3.zip").read_bytes()


SMALL = """
[project]
dependencies = ["tensorflow-metadata", "absl-py", "jinja2>=3.1"]
"""  # instead of all of ours, which are 150 MB


fetches = pytest.mark.skipif(
    "pip" not in os.environ.get("POETS_REQUIRE", "").split(","),
    reason="downloads wheels; POETS_REQUIRE=pip runs it",
)


def tops_of(archive):
    """Returns the names at the top of what `job_path` finds."""
    with zipfile.ZipFile(archive) as opened:
        return {name.split("/")[1] for name in opened.namelist()}


@fetches
def test_dependencies_lie_beside_the_package_without_those_of_tensorflow(checkout):
    (checkout / "pyproject.toml").write_text(SMALL)
    archive, _, _ = build(checkout, "--with-dependencies")
    assert {"poets", "jinja2", "markupsafe"} <= tops_of(archive)
    assert not tops_of(archive) & {"tensorflow_metadata", "absl", "google", "bin"}
    data = archive.read_bytes()
    assert build(checkout, "--with-dependencies")[0].read_bytes() == data


@fetches
@pytest.mark.soak  # fetches TensorFlow to see what it needs
def test_all_our_dependencies_lie_beside_the_package(checkout):
    shutil.copy(ROOT / "pyproject.toml", checkout)
    archive, _, _ = build(checkout, "--with-dependencies")
    expected = {"poets", "pyarrow", "cv2", "ai_edge_litert", "simplejpeg"}
    assert expected <= tops_of(archive)
    assert not tops_of(archive) & {"tensorflow", "numpy", "requests", "bin"}


# Imports every module of the package it finds first, and says where it found them.
IMPORT_ALL = """
import importlib, os, pkgutil, sys
os.chdir(sys.argv[1])
for name in [name for name in sys.modules if name.partition(".")[0] == "poets"]:
    del sys.modules[name]
import poets
names = [module.name for module in pkgutil.walk_packages(poets.__path__, "poets.")]
for name in names:
    if name != "poets.__main__":
        importlib.import_module(name)
strangers = {
    module.__file__
    for name, module in sys.modules.items()
    if name.partition(".")[0] == "poets" and not module.__file__.startswith(sys.argv[1])
}
print(callable(poets.main), poets.__version__, len(names) > 40, strangers or "all ours")
"""


@pytest.mark.parametrize("job_path", ["{top}", "{top}/poets"])
def test_every_module_of_the_zip_loads_by_both_job_paths(
    nursery, tmp_path, job_path, require
):
    require("webhdfs", importlib.util.find_spec("requests_kerberos"))
    archive, printed, _ = build(ROOT, "--output", str(tmp_path))
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path)
    top = tmp_path / printed["job_path"]
    variables = os.environ | {"PYTHONPATH": job_path.format(top=top)}
    with (tmp_path / "log").open("wb") as log, (tmp_path / "out").open("wb") as out:
        task = nursery.start(IMPORT_ALL, variables, log, [str(top)], out)
    assert task.wait(DEADLINE_S) == 0, task.log.read_text()
    version = printed["job_path"].removeprefix("poets-")
    assert (tmp_path / "out").read_text() == f"True {version} True all ours\n"


@pytest.fixture
def environment(tmp_path):
    """A virtual environment without packages; what it has is in the folder returned."""
    venv.create(tmp_path / "environment")
    (packages,) = (tmp_path / "environment").glob("lib/python3*/site-packages")
    return packages


def pack(packages, *words):
    python = packages.parents[2] / "bin" / "python"
    command = [str(python), str(ROOT / "build_zip.py"), "--environment", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_an_environment_runs_where_it_is_unpacked(environment, tmp_path, require):
    found = importlib.util.find_spec("venv_pack")
    require("venv_pack", found)
    shutil.copytree(Path(found.origin).parent, environment / "venv_pack")
    shutil.copytree(ROOT / "poets", environment / "poets")
    (environment / "tensorflow").mkdir()
    (environment / "tensorflow" / "large.so").touch()
    words = ["--without-tensorflow", "--output", str(tmp_path / "dist")]
    done = pack(environment, *words)
    assert done.returncode == 0, done.stderr
    (archive,) = (tmp_path / "dist").iterdir()
    assert f"path      {archive}\n" in done.stdout
    (tmp_path / "node").mkdir()
    subprocess.run(["tar", "xzf", archive], cwd=tmp_path / "node", check=True)
    shutil.rmtree(environment.parents[2])
    code = "import poets; print(poets.__version__, poets.__file__)"
    python = [str(tmp_path / "node" / "bin" / "python"), "-I", "-c", code]
    said = subprocess.run(python, capture_output=True, text=True, cwd=tmp_path)
    version, path = said.stdout.split()
    assert version in archive.name
    assert Path(path).is_relative_to(tmp_path / "node")
    assert not list((tmp_path / "node").rglob("tensorflow"))


def test_a_missing_packer_is_named(environment):
    done = pack(environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert "venv-pack is not installed; pip install venv-pack" in done.stderr
