"""The package under both of the names by which DC/OS imports it.

With `job_path` naming the package's own folder, every module directly in `poets/`
beats a module of the same name in the standard library or in site-packages.
"""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "poets"
OURS = {
    path.stem
    for path in PACKAGE.iterdir()
    if path.suffix in ("", ".py") and path.name != "__pycache__"
}

HEAVY = ("tensorflow", "numpy", "pyarrow", "PIL", "cv2", "requests")
HOOK = """
poets.main(None, "/nowhere", {"args": {"--image_dri": "x"}})
"""
SAYS = "unknown flag '--image_dri' (did you mean 'image_dir'?)"


def run(code: str, job_path: Path, cwd: Path) -> subprocess.CompletedProcess:
    """Runs Python as DC/OS does: `job_path` on PYTHONPATH, in a folder without us."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={"PYTHONPATH": str(job_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def dependencies(project: str, seen: set[str]) -> set[str]:
    """Returns the names of a project's dependencies, of all that are installed."""
    for wanted in importlib.metadata.requires(project) or []:
        if "extra ==" in wanted and project != "poets":
            continue
        name = re.match(r"[\w.-]+", wanted)[0].lower().replace("_", "-")
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if name not in seen:
            seen.add(name)
            dependencies(name, seen)
    return seen


def test_no_module_of_ours_hides_one_of_python():
    assert not OURS & set(sys.stdlib_module_names)


def test_no_module_of_ours_hides_one_of_our_dependencies():
    needed = dependencies("poets", set())
    assert {"tensorflow", "pyarrow", "keras", "tensorboard"} <= needed
    top_level = {
        name
        for name, owners in importlib.metadata.packages_distributions().items()
        if {owner.lower().replace("_", "-") for owner in owners} & needed
    }
    assert {"tensorflow", "keras", "PIL"} <= top_level
    assert OURS & top_level <= {"poets"}


def test_the_package_is_instant(tmp_path):
    code = "import sys, poets\nprint(*(name.split('.')[0] for name in sys.modules))"
    done = run(code, ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "poets" in loaded
    assert not loaded & set(HEAVY)


def test_tensorflow_waits_until_it_is_needed(tmp_path):
    modules = [
        "poets.job",
        "poets.cli.label",
        "poets.cli.logs",
        "poets.cli.retrain",
        "poets.cli.dcos",
        "poets.cli.results",
        "poets.features.process",
        "poets.features.engine_litert",
    ]
    lines = [f"import {name}; print('tensorflow' in sys.modules)" for name in modules]
    done = run("\n".join(["import sys", *lines]), ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    found = dict(zip(modules, done.stdout.split(), strict=True))
    assert found == dict.fromkeys(modules, "False")


@pytest.mark.parametrize(
    ("job_path", "file"),
    [(ROOT, "__init__.py"), (PACKAGE, "poets.py")],
    ids=["folder above", "own folder"],
)
def test_the_hook_runs_from_both_job_paths(job_path, file, tmp_path):
    done = run(f"import poets; print(poets.__file__){HOOK}", job_path, tmp_path)
    assert done.stdout.strip() == str(PACKAGE / file)
    assert done.returncode == 1
    assert SAYS in done.stderr


@pytest.mark.parametrize(
    "job_path", [ROOT, PACKAGE], ids=["folder above", "own folder"]
)
def test_modules_are_the_same_whichever_way_one_asks(job_path, tmp_path):
    code = (
        "import poets, poets.job, poets.errors\n"
        "from poets import main\n"
        "assert poets.main is main is poets.job.main\n"
        "from poets import __version__\n"
        "assert poets.__version__ == __version__\n"
        "try: main(None, '', '[]')\n"
        "except poets.errors.ConfigError as error: print(error)\n"
    )
    done = run(code, job_path, tmp_path)
    assert done.stdout.strip() == (
        'job_context is a list; give an object, as {"args": {...}}'
    ), done.stderr


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    import poets

    with pytest.raises(AttributeError, match="module 'poets' has no attribute 'mian'"):
        _ = poets.mian


def test_the_version_is_the_distributions():
    import poets

    assert importlib.metadata.version("poets") == poets.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", poets.__version__)
