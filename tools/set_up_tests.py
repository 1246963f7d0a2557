"""Installs what the tests need; `make test` runs it first.

    Debian packages   a KDC, a JDK, Maven, faketime, headers: with apt-get, as root
    webhdfs           the extra: with pip, gcc and the headers
    spark             the extra: with pip
    mediapipe         another reader of our models: with pip
    browser           Chromium, with apt-get; playwright and axe-core, with pip
    Hadoop            its jars, from Maven Central: with Maven

If a part cannot be installed, the reason is printed and its tests are skipped. The exit
code is still 0, so that the other tests run.
"""

import importlib.util
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":  # sys.path[0] is the script's folder, not the root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from poets.errors import PoetsError
from tools import packages
from tools.hdfs import maven

ATTEMPTS = 3
TIMEOUT_S = 900
NOT_FOR_ALL = ("chromium", "containers")
"""Packages of the browser's step, and of `make kubernetes`."""
WEBHDFS = ("hdfs", "gssapi", "requests_kerberos")


def install_packages() -> None:
    """Installs the Debian packages that are missing and all tests may need."""
    packages.ensure([kind for kind in packages.PACKAGES if kind not in NOT_FOR_ALL])


def install_webhdfs() -> None:
    """Installs the extra `webhdfs`."""
    if not all(importlib.util.find_spec(name) for name in WEBHDFS):
        _pip_install("--editable", ".[webhdfs]", "setuptools<82")


def install_spark() -> None:
    """Installs the extra `spark`, some 450 MB."""
    if not importlib.util.find_spec("pyspark"):
        _pip_install("--editable", ".[spark]")


def install_mediapipe() -> None:
    """Installs MediaPipe without its dependencies.

    They include another build of OpenCV, which would overwrite ours, and a sound
    library; image classification needs neither.
    """
    if not importlib.util.find_spec("mediapipe"):
        _pip_install("--no-deps", "mediapipe>=1.2.3,<1.3")


def install_browser() -> None:
    """Installs Chromium, which Ubuntu has no package of, what steers it, and axe."""
    packages.ensure(["chromium"])
    if not importlib.util.find_spec("playwright"):
        _pip_install("playwright>=1.50,<2")
    if not importlib.util.find_spec("axe_playwright_python"):
        _pip_install("--no-deps", "axe-playwright-python>=0.1.7,<0.2")


def _pip_install(*words: str) -> None:
    """Runs pip, with retries.

    Raises:
      PoetsError: if pip fails, with a line of its output.
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
    "spark": install_spark,
    "mediapipe": install_mediapipe,
    "browser": install_browser,
    "Hadoop": fetch_hadoop,
}


def main() -> int:
    """Runs all steps; returns the exit code."""
    for name, step in STEPS.items():
        try:
            step()
        except PoetsError as error:
            print(f"{name}: {error}", file=sys.stderr)
            print(f"{name}: tests that need it are skipped", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
