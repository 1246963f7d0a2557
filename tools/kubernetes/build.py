"""Builds the programs from Go modules, once: 25 minutes and 16 GB on 2 cores.

    CACHE/bin/        the programs
    CACHE/source/     a small Go module for each module that is built
    CACHE/go/         downloaded modules and Go's build cache

`make clean` removes all of it; a build that was interrupted goes on where it was.
"""

import json
import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from poets.errors import PoetsError
from tools.kubernetes.components import COMPONENTS, Component

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "kubernetes"
TIMEOUT_S = 3600


class BuildError(PoetsError):
    """A program or an image cannot be built."""


def missing(cache: Path = CACHE) -> list[str]:
    """Returns the names of the programs that are not built."""
    return [name for name in COMPONENTS if not (cache / "bin" / name).exists()]


def build(name: str, cache: Path = CACHE) -> None:
    """Builds a program of COMPONENTS, even if it is there.

    Raises:
      BuildError: if Go cannot download or compile it.
    """
    component = COMPONENTS[name]
    folder = _folder(component, cache)
    if not (folder / "go.mod").exists():
        _make_module(component, folder, cache)
    package = f"{component.module}/{component.package}".removesuffix("/.")
    variables = [f"-X {key}={text}" for key, text in component.variables.items()]
    command = ["build", "-mod=mod", "-ldflags", " ".join(["-s -w", *variables])]
    for file, other in component.stand_ins.items():
        module = source(component, cache)
        (module / file).parent.mkdir(parents=True, exist_ok=True)
        (module / file).write_text((module / other).read_text() if other else "\n")
    part = cache / "bin" / f"{name}.part"
    go([*command, "-o", str(part), package], folder, cache)
    part.rename(part.with_suffix(""))


def source(component: Component, cache: Path = CACHE) -> Path:
    """Returns the folder with a module's files; downloads it if it is not there."""
    wanted = f"{component.module}@{component.version}"
    found = go(["mod", "download", "-json", wanted], cache, cache)
    return Path(json.loads(found)["Dir"])


def go(arguments: Sequence[str], folder: Path, cache: Path) -> str:
    """Runs Go in a folder and returns its output.

    Raises:
      BuildError: if it fails, with the last lines of its errors, or takes too long.
    """
    environment = os.environ | {
        "GOPATH": str(cache / "go"),
        "GOCACHE": str(cache / "gocache"),
        "GOFLAGS": "-buildvcs=false -modcacherw",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",  # for images without libraries
        "GODEBUG": "goindex=0",  # an index of modules' files would hide the stand-ins
    }
    try:
        done = subprocess.run(
            ["go", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(
            f"`go {shlex.join(arguments)}` did not end within {TIMEOUT_S} s in "
            f"{folder}; run it again, it continues where it was"
        ) from error
    if done.returncode:
        lines = [text for text in done.stderr.splitlines() if "downloading" not in text]
        said = "\n".join(lines[-8:]) or "no output"
        raise BuildError(f"`go {shlex.join(arguments)}` failed in {folder}:\n{said}")
    return done.stdout


def _folder(component: Component, cache: Path) -> Path:
    return cache / "source" / component.module.replace("/", "_")


def _make_module(component: Component, folder: Path, cache: Path) -> None:
    """Makes a Go module that requires a component's.

    Kubernetes' own go.mod replaces its parts by folders that its zip lacks. They are
    published as modules, whose version has 0 for the 1 of Kubernetes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = f"{component.module}@{component.version}"
    found = json.loads(go(["mod", "download", "-json", wanted], folder, cache))
    own = json.loads(go(["mod", "edit", "-json", found["GoMod"]], folder, cache))
    edits = [f"-require={wanted}"]
    for replaced in own["Replace"] or []:
        name, new = replaced["Old"]["Path"], replaced["New"]
        if new["Path"].startswith("./staging"):
            version = component.version.replace("v1.", "v0.", 1)
            edits.append(f"-replace={name}={name}@{version}")
        elif not new["Path"].startswith("."):
            edits.append(f"-replace={name}={new['Path']}@{new['Version']}")
    go(["mod", "init", "poets.invalid/build"], folder, cache)
    go(["mod", "edit", *edits], folder, cache)
