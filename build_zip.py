"""Builds the job zip for DC/OS: `python build_zip.py`. Needs only Python.

    poets/ as in git ──> dist/poets-1.0.0.zip
                             poets-1.0.0/poets/…       the package
                             poets-1.0.0/…             --with-dependencies

The build is reproducible on all machines: names are sorted, times and permissions
fixed, and the package is stored without compression, whose output depends on the zlib
version. It prints `job_url`, `job_path` and `job_name` for the job's options. `--serve`
serves the zip over HTTP until Ctrl-C.

`--with-dependencies` adds our dependencies beside the package, where `job_path` finds
them, for clusters without internet: wheels for the Python and the platform of the
TensorFlow image. TensorFlow and its dependencies are left out: the image has them, in
matching versions, and they would add about 2 GB.

`--environment` packs a whole environment instead, for executors of Spark: Python's
packages with poets, by venv-pack or conda-pack, whichever fits the Python that runs
this. The environment needs poets installed as a copy: `pip install .`. Executors do
without TensorFlow: `--without-tensorflow` leaves its 2 GB out.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PACKAGE = "poets"
IMAGE_PYTHON = "3.11"
IMAGE_PLATFORMS = (
    "manylinux2014_x86_64",
    "manylinux_2_27_x86_64",
    "manylinux_2_28_x86_64",
)
OLDEST = (1980, 1, 1, 0, 0, 0)  # the oldest time that a zip can hold, for every entry
TENSORFLOW = "*/site-packages/tensorflow/*"
"""Its files in an environment; the packages that it needs may serve others."""

NOT_FOR_THE_ZIP = ("__pycache__", "bin")


class BuildError(Exception):
    """The zip cannot be built for a reason the user can act on."""


def main(argv: Sequence[str] | None = None) -> int:
    """Builds the zip and prints values for the options file; returns the exit code."""
    args = _parser().parse_args(argv)
    try:
        if args.environment:
            left_out = TENSORFLOW if args.without_tensorflow else ""
            packed = pack_environment(Path(args.output), left_out)
            print(f"path      {packed}\nsize      {packed.stat().st_size:,} bytes")
            return 0
        archive = build(
            Path(args.output),
            (args.python, args.platform or IMAGE_PLATFORMS)
            if args.with_dependencies
            else None,
        )
    except BuildError as error:
        print(f"build_zip: {error}", file=sys.stderr)
        return 1
    size_bytes = archive.stat().st_size
    print(f"path      {archive}\nsize      {size_bytes:,} bytes")
    print(f"sha256    {_sha256(archive)}")
    if args.serve:
        serve(archive, args.host, args.port)
    else:
        print(f"job_url   {archive.resolve().as_uri()}  (or where you upload it)")
        _print_names()
    return 0


def build(output: Path, vendored_for: tuple[str, Sequence[str]] | None = None) -> Path:
    """Writes the zip into a folder and returns its path.

    Args:
      output: the folder, created if absent. An earlier zip is replaced atomically.
      vendored_for: Python version and platforms of the dependencies to add.

    Raises:
      BuildError: if the tree is not a checkout of poets, or pip finds no wheels.
    """
    top = f"{PACKAGE}-{version()}"
    name = top
    files = {f"{top}/{path}": ROOT / path for path in package_files()}
    with tempfile.TemporaryDirectory() as scratch:
        if vendored_for:
            python, platforms = vendored_for
            name += f"-cp{python.replace('.', '')}-{platforms[0]}"
            vendor(Path(scratch), python, platforms)
            for path in _tree(Path(scratch)):
                files[f"{top}/{path}"] = Path(scratch, path)
        output.mkdir(parents=True, exist_ok=True)
        archive = output / f"{name}.zip"
        write_zip(archive, files, compress=bool(vendored_for))
    return archive


def pack_environment(output: Path, left_out: str = "") -> Path:
    """Packs the environment of this Python as an archive, and returns its path.

    Args:
      output: the folder, created if absent.
      left_out: a pattern of files that are not packed.

    Raises:
      BuildError: if this is no environment, or its packer is absent or fails.
    """
    is_conda = Path(sys.prefix, "conda-meta").is_dir()
    packer = "conda-pack" if is_conda else "venv-pack"
    if not is_conda and sys.prefix == sys.base_prefix:
        raise BuildError(
            f"{sys.executable} belongs to no environment; run this with the Python of "
            "a virtual environment that has poets"
        )
    if not importlib.util.find_spec(packer.replace("-", "_")):
        raise BuildError(f"{packer} is not installed; pip install {packer}")
    name = f"{PACKAGE}-{version()}-environment.tar.gz"
    output.mkdir(parents=True, exist_ok=True)
    archive, part = output / name, output / f"part-{name}"
    part.unlink(missing_ok=True)
    command = [sys.executable, "-m", packer.replace("-", "_"), "--prefix", sys.prefix]
    command += ["--exclude", left_out] * bool(left_out)
    done = subprocess.run(
        [*command, "--quiet", "--output", str(part)], capture_output=True, text=True
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        part.unlink(missing_ok=True)
        raise BuildError(f"{packer} cannot pack {sys.prefix}:\n{said}")
    os.replace(part, archive)
    return archive


def version() -> str:
    """Returns the package's version without importing it."""
    place = ROOT / PACKAGE / "__init__.py"
    try:
        found = re.search(r'^__version__ = "([^"]+)"$', place.read_text(), re.MULTILINE)
    except OSError as error:
        raise BuildError(f"cannot read {str(place)!r}: {error.strerror}") from error
    if not found:
        raise BuildError(f'{str(place)!r} has no line __version__ = "…"')
    return found[1]


def package_files() -> list[str]:
    """Returns the package's files, relative to the root and sorted.

    With git, these are the tracked files and those that `git add` would add; without
    git, all files of the folder.
    """
    listed = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = [name for name in listed.split("\0") if (ROOT / name).is_file()]
    if not listed:
        names = [f"{PACKAGE}/{name}" for name in _tree(ROOT / PACKAGE)]
    elif _git("status", "--porcelain"):
        print(
            f"build_zip: {PACKAGE}/ has uncommitted changes; they are in the zip",
            file=sys.stderr,
        )
    return sorted(names)


def write_zip(archive: Path, files: dict[str, Path], compress: bool) -> None:
    """Writes member name -> file as a reproducible zip, atomically."""
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    part = archive.with_name(f"{archive.name}.part")
    with zipfile.ZipFile(part, "w") as opened:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, OLDEST)
            entry.create_system = 3  # always Unix
            entry.external_attr = 0o100644 << 16
            entry.compress_type = method
            opened.writestr(entry, files[name].read_bytes())
    os.replace(part, archive)


def vendor(folder: Path, python: str, platforms: Sequence[str]) -> None:
    """Installs our dependencies, except TensorFlow and its own, into a folder."""
    needed = _dependencies()
    tensorflow = [line for line in needed if line.startswith("tensorflow")]
    where = ["--only-binary=:all:", f"--python-version={python}"]
    where += [f"--platform={platform}" for platform in platforms]
    in_image = _resolve(tensorflow, where)
    pins = [
        f"{name}=={number}"
        for name, number in sorted(_resolve(needed, where).items())
        if name not in in_image
    ]
    print(f"build_zip: vendoring {', '.join(pins)}", file=sys.stderr)
    _pip("--no-deps", "--no-compile", f"--target={folder}", *where, *pins)


def serve(archive: Path, host: str, port: int) -> None:
    """Serves one file over HTTP until Ctrl-C, and prints its address."""
    with ThreadingHTTPServer((host, port), _handler(archive)) as server:
        shown_host = f"[{host}]" if ":" in host else host
        print(f"job_url   http://{shown_host}:{server.server_port}/{archive.name}")
        _print_names()
        sys.stdout.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("build_zip: stopped", file=sys.stderr)


def _handler(archive: Path) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802, the base class names it
            if self.do_HEAD():
                self.wfile.write(archive.read_bytes())

        def do_HEAD(self) -> bool:  # noqa: N802
            if self.path != f"/{archive.name}":
                self.send_error(HTTPStatus.NOT_FOUND)
                return False
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "application/zip")
            self.send_header("Content-Length", str(archive.stat().st_size))
            self.end_headers()
            return True

    return Handler


def _tree(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in parts)
        left_out = hidden or not set(parts).isdisjoint(NOT_FOR_THE_ZIP)
        if path.is_file() and not left_out and path.suffix != ".pyc":
            yield "/".join(parts)


def _dependencies() -> list[str]:
    if sys.version_info < (3, 11):
        raise BuildError("--with-dependencies needs Python 3.11 or later to run")
    import tomllib

    with (ROOT / "pyproject.toml").open("rb") as opened:
        return tomllib.load(opened)["project"]["dependencies"]


def _resolve(requirements: Sequence[str], where: Sequence[str]) -> dict[str, str]:
    """Returns name -> version of all packages that pip would install."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        _pip(
            "--dry-run",
            "--ignore-installed",
            f"--report={report}",
            f"--target={folder}",
            *where,
            *requirements,
        )
        found = json.loads(report.read_text())["install"]
    return {
        re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower(): item["metadata"][
            "version"
        ]
        for item in found
    }


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet"]
    command += ["--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise BuildError(f"pip cannot find or install the dependencies:\n{said}")


def _git(*arguments: str) -> str:
    """Returns the output of git for the package, "" if git fails or is missing."""
    command = ["git", "-C", str(ROOT), *arguments, "--", PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def _print_names() -> None:
    print(f"job_path  {PACKAGE}-{version()}\njob_name  {PACKAGE}")


def _sha256(path: Path) -> str:
    with path.open("rb") as opened:
        digest = hashlib.sha256()
        while chunk := opened.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Builds the job zip for DC/OS.")
    parser.add_argument(
        "--output", metavar="DIR", default="dist", help="folder (default: dist)"
    )
    vendoring = parser.add_argument_group("dependencies in the zip")
    vendoring.add_argument(
        "--with-dependencies",
        action="store_true",
        help="add our dependencies, except TensorFlow and its own, which the image has",
    )
    vendoring.add_argument(
        "--python",
        metavar="X.Y",
        default=IMAGE_PYTHON,
        help=f"the image's Python (default: {IMAGE_PYTHON}); run this program with the "
        "same version, because pip evaluates some markers for its own Python",
    )
    vendoring.add_argument(
        "--platform",
        action="append",
        help=f"a platform tag of the image; repeatable (default: "
        f"{', '.join(IMAGE_PLATFORMS)})",
    )
    parser.add_argument(
        "--environment",
        action="store_true",
        help="pack the environment of this Python instead, for executors of Spark",
    )
    parser.add_argument(
        "--without-tensorflow",
        action="store_true",
        help="leave TensorFlow out of the environment, which executors do not import",
    )
    serving = parser.add_argument_group("serve the zip over HTTP")
    serving.add_argument("--serve", action="store_true", help="until Ctrl-C")
    serving.add_argument("--host", default="127.0.0.1", help="(default: 127.0.0.1)")
    serving.add_argument("--port", type=int, default=0, help="(default: a free one)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
