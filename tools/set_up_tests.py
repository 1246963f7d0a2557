"""Sets up what the tests run with, as far as this user may: `make test` runs it first.

    Debian packages   a KDC, a JDK, Maven, faketime, headers: by root, with apt-get
    webhdfs           the extra: by pip, gcc and the headers
    mediapipe         another reader of our models: by pip
    Hadoop            its jars, from Maven Central: by Maven

A part that cannot be had is named here with the reason, and its tests are skipped by
its name. The exit code is 0 all the same: the other tests run.
"""

import importlib.util
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":  # started as a file: its folder is on the path, not ours
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from poets.errors import PoetsError
from tools import packages
from tools.hdfs import maven

ATTEMPTS = 3
TIMEOUT_S = 900
WEBHDFS = ("hdfs", "gssapi", "requests_kerberos")


def install_packages() -> None:
    """Installs the Debian packages that are missing."""
    packages.ensure(list(packages.PACKAGES))


def install_webhdfs() -> None:
    """Installs the extra `webhdfs`."""
    if not all(importlib.util.find_spec(name) for name in WEBHDFS):
        _pip_install("--editable", ".[webhdfs]", "setuptools<82")


def install_mediapipe() -> None:
    """Installs MediaPipe without what it depends on.

    It asks for another build of OpenCV, which would overwrite ours, and for a sound
    library; classifying pictures needs neither.
    """
    if not importlib.util.find_spec("mediapipe"):
        _pip_install("--no-deps", "mediapipe>=1.2.3,<1.3")


def _pip_install(*words: str) -> None:
    """Runs pip, with retries.

    Raises:
      PoetsError: if pip cannot; a line of its output says why.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--retries", "10"]
    command += ["--disable-pip-version-check", *words]
    for attempt in range(ATTEMPTS):
        time.sleep(5 * attempt)
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        if done.returncode == 0:
            return
    lines = done.stderr.strip().splitlines() or ["no output"]
    why = next((line for line in lines if "rror" in line), lines[-1]).strip()
    raise PoetsError(f"pip cannot install it: {why}; run `{shlex.join(command)}`")


def fetch_hadoop() -> None:
    """Downloads Hadoop's jars, once."""
    packages.require_programs("java")
    maven.class_path()


STEPS: dict[str, Callable[[], None]] = {
    "Debian packages": install_packages,
    "webhdfs": install_webhdfs,
    "mediapipe": install_mediapipe,
    "Hadoop": fetch_hadoop,
}


def main() -> int:
    """Takes each step; returns the exit code."""
    for name, step in STEPS.items():
        try:
            step()
        except PoetsError as error:
            print(f"{name}: {error}", file=sys.stderr)
            print(f"{name}: tests that need it are skipped by name", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
