"""Installs system packages for the tools: `python tools/packages.py krb5 jdk maven`.

Missing packages are installed with apt-get. Without root or apt-get, the command to run
is printed and the exit code is 2.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":  # sys.path[0] is the script's folder, not the root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from poets.errors import ConfigError

SBIN = ("/usr/sbin", "/sbin", "/usr/local/sbin")  # not on an ordinary user's PATH
APT_TIMEOUT_S = 900


@dataclass(frozen=True)
class Package:
    """Debian packages, and the programs and libraries that they provide."""

    debian: tuple[str, ...]
    programs: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()

    @property
    def is_here(self) -> bool:
        """Whether all programs and libraries are installed."""
        return all(map(find_program, self.programs)) and all(
            map(find_library, self.libraries)
        )


JDK = "openjdk-17-jdk-headless"
INSTEAD = {JDK: "default-jdk-headless"}  # for Debian releases without the first

PACKAGES = {
    "krb5": Package(
        ("krb5-kdc", "krb5-admin-server", "krb5-user"),
        ("krb5kdc", "kadmin.local", "kdb5_util", "kinit"),
    ),
    "jdk": Package((JDK,), ("java", "keytool")),
    "maven": Package(("maven",), ("mvn",)),
    "faketime": Package(("faketime",), ("faketime",)),
    "krb5-dev": Package(("libkrb5-dev", "gcc"), ("krb5-config", "gcc")),
    "containers": Package(
        (
            *("buildah", "containerd", "containernetworking-plugins", "gcc"),
            *("iptables", "mmdebstrap", "podman", "runc"),
        ),
        ("containerd", "gcc", "iptables", "mmdebstrap", "podman", "runc"),
    ),
    "gles": Package(("libegl1", "libgles2"), libraries=("EGL", "GLESv2")),
    "chromium": Package(("chromium",), ("chromium",)),
}


def find_program(name: str) -> str | None:
    """Returns the path of a program; also searches JAVA_HOME and the sbin folders."""
    java_home = os.environ.get("JAVA_HOME")
    first = [str(Path(java_home) / "bin")] if java_home else []
    path = os.pathsep.join([*first, os.environ.get("PATH", os.defpath), *SBIN])
    return shutil.which(name, path=path)


def require_programs(*names: str) -> None:
    """Raises ConfigError with the names of all programs that are not installed."""
    missing = [name for name in names if not find_program(name)]
    if missing:
        kinds = [
            kind
            for kind, package in PACKAGES.items()
            if not set(missing).isdisjoint(package.programs)
        ]
        raise ConfigError(
            f"{', '.join(missing)} not found on this machine; {how_to_install(kinds)}"
        )


def missing_packages(kinds: Sequence[str]) -> list[str]:
    """Returns the keys of `PACKAGES` that are not installed."""
    return [kind for kind in kinds if not PACKAGES[kind].is_here]


def how_to_install(kinds: Sequence[str]) -> str:
    """Returns a sentence on how to install keys of `PACKAGES`."""
    debian = " ".join(name for kind in kinds for name in PACKAGES[kind].debian)
    return f"install it with `sudo apt-get install {debian}` (names as in Debian)"


def ensure(kinds: Sequence[str]) -> None:
    """Installs the keys of `PACKAGES` that are missing.

    Raises:
      ConfigError: if a package is missing and cannot be installed.
    """
    missing = missing_packages(kinds)
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ConfigError(
            f"{', '.join(missing)} not installed, which needs root and apt-get; "
            f"{how_to_install(missing)}"
        )
    _apt_get("update")  # if it fails, so does the installation
    debian = [
        name if name not in INSTEAD or _is_known(name) else INSTEAD[name]
        for kind in missing
        for name in PACKAGES[kind].debian
    ]
    _apt_get("install", "--yes", "--no-install-recommends", *debian)
    if still := missing_packages(missing):
        raise ConfigError(
            f"apt-get did not install {', '.join(still)}; look at its output above, "
            "and run it yourself"
        )


def _apt_get(*arguments: str) -> None:
    command = ["apt-get", "-qq", "-o", "Acquire::Retries=5", *arguments]
    print(f"$ {' '.join(command)}", file=sys.stderr, flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(command, env=environment, timeout=APT_TIMEOUT_S, check=False)


def _is_known(name: str) -> bool:
    """Returns whether this machine's package lists have a package."""
    show = ["apt-cache", "show", name]
    done = subprocess.run(show, capture_output=True, timeout=60, check=False)
    return done.returncode == 0


def main(argv: Sequence[str] | None = None) -> int:
    """Installs the keys of `PACKAGES` in `argv`; returns the exit code."""
    kinds = list(sys.argv[1:] if argv is None else argv)
    unknown = [kind for kind in kinds if kind not in PACKAGES]
    if unknown or not kinds:
        found = ", ".join(map(repr, unknown)) or "nothing"
        known = ", ".join(PACKAGES)
        print(f"packages: cannot install {found}; known are {known}", file=sys.stderr)
        return 2
    try:
        ensure(kinds)
    except ConfigError as error:
        print(f"packages: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
