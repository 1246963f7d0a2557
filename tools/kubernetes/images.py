"""Builds images with podman, without a registry, and stores them for containerd.

    mmdebstrap ──> localhost/python:3.11-slim ──> deploy/*/Dockerfile ──> CACHE/images/
                                    └──> localhost/tensorflow ──^            ^
    CACHE/bin/NAME ──> FROM scratch ─────────────────────────────────────────┘

No registry of images is needed: the base is Debian's own Python, so versions of Python
and of Debian's packages differ from those that the Dockerfiles pin. podman keeps its
files below CACHE, apart from those of the machine.
"""

import functools
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tools.kubernetes.build import CACHE, BuildError, source
from tools.kubernetes.components import COMPONENTS

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "localhost/python:3.11-slim"
POETS = "example.com/poets:1.0.0"
PAUSE = "localhost/pause:3.10"
ACTION = "example.com/poets-openwhisk:1.0.0"
ACTOR = "example.com/poets-actor:1.0.0"
NOTEBOOK = "example.com/poets-notebook:1.0.0"
TENSORFLOW = "localhost/tensorflow:2.21.0"
TASK = "example.com/poets-tensorflow:2.21.0"
DOCKERFILES = {
    POETS: "deploy/kubernetes/Dockerfile",
    ACTION: "deploy/openwhisk/Dockerfile",
    NOTEBOOK: "deploy/jupyterhub/Dockerfile",  # from the first
    TASK: "deploy/docker/Dockerfile",
}
"""Those that need no model. That of the actor is built with one, see checks.py."""
PACKAGES = "ca-certificates,python3,python3-venv,python3-pip,netbase,tzdata"
TIMEOUT_S = 3600
# crun refuses cgroups of two versions; the usual limits are above this machine's.
CONF = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
"""
PAUSE_C = """\
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void end(int number) { _exit(0); }
static void reap(int number) { while (waitpid(-1, 0, WNOHANG) > 0); }
int main(void) {
  signal(SIGINT, end); signal(SIGTERM, end); signal(SIGCHLD, reap);
  for (;;) pause();
}
"""
"""What keeps the namespaces of a pod."""


PROGRAM_IMAGES = [
    name for name, component in COMPONENTS.items() if component.user is not None
]


def tag_of(program: str) -> str:
    """Returns the name of the image of a program."""
    return f"localhost/{program}:{COMPONENTS[program].version}"


STORAGE_INITIALIZER = tag_of("kserve-manager").replace("manager", "storage")
CLUSTER_IMAGES = (PAUSE, *map(tag_of, PROGRAM_IMAGES), STORAGE_INITIALIZER, POETS)
"""The images that pods of the cluster run."""


class Images:
    """The images below a cache.

    Attributes:
      folder: with one archive for each image of the cluster.
    """

    def __init__(self, cache: Path = CACHE):
        self._cache = cache
        self.folder = cache / "images"

    def build_all(self) -> Iterator[tuple[str, float]]:
        """Builds all images; yields the name of each and the seconds it took."""
        digest = source_digest()  # files may change while they are built
        steps: dict[str, Callable[[], None]] = {PYTHON: self.build_base}
        steps[TENSORFLOW] = self.build_tensorflow
        steps[PAUSE] = self.build_pause
        for name in PROGRAM_IMAGES:
            steps[tag_of(name)] = functools.partial(self.build_program, name)
        steps[STORAGE_INITIALIZER] = self.build_storage_initializer
        for tag, dockerfile in DOCKERFILES.items():
            steps[tag] = functools.partial(self.build_dockerfile, dockerfile, tag)
        for tag, step in steps.items():
            start = time.monotonic()
            step()
            if tag in CLUSTER_IMAGES:
                self.store(tag)
            if tag == POETS:
                self._noted_source.write_text(digest)
            yield tag, time.monotonic() - start

    def close(self) -> None:
        """Removes the mount that podman leaves on its folder."""
        place = self._cache.resolve() / "podman" / "overlay"
        if os.path.ismount(place):
            _run(["umount", str(place)])

    def build_base(self) -> None:
        """Makes Debian's Python an image, unless it is there; 2 minutes."""
        if self.exists(PYTHON):
            return
        base = self._cache / "base.tar"
        if not base.exists():
            part = base.with_name("base.part.tar")
            _run(
                [
                    "mmdebstrap",
                    "--variant=minbase",
                    f"--include={PACKAGES}",
                    "bookworm",
                    str(part),
                ]
            )
            part.rename(base)
        self.podman("import", str(base), "localhost/debian-python:bookworm")
        links = "ln -s python3 /usr/bin/python && rm -f /usr/lib/python3*/EXTERNALLY*"
        text = f"FROM localhost/debian-python:bookworm\nRUN {links}\n"
        self._build_text(text, PYTHON, self._cache / "empty")

    def build_tensorflow(self) -> None:
        """Makes the image that deploy/docker takes from Docker Hub, without CUDA."""
        release = TENSORFLOW.rpartition(":")[2]
        install = f"pip install --no-cache-dir tensorflow-cpu=={release}"
        text = f"FROM {PYTHON}\nRUN {install}\n"
        self._build_text(text, TENSORFLOW, self._cache / "empty")

    def build_dockerfile(
        self, dockerfile: str, tag: str, *, context: Path = ROOT, **arguments: str
    ) -> None:
        """Builds a Dockerfile of the project.

        Args:
          dockerfile: its path in the project.
          tag: the image's name.
          context: the folder that it copies from.
          arguments: build arguments.
        """
        arguments = {"PYTHON": PYTHON, "TENSORFLOW": TENSORFLOW, **arguments}
        words = [f"--build-arg={key}={text}" for key, text in arguments.items()]
        ignored = ROOT / f"{dockerfile}.dockerignore"
        if ignored.exists():  # podman 4 does not look for it
            words.append(f"--ignorefile={ignored}")
        file = str(ROOT / dockerfile)
        self.podman("build", *_access(), *words, "-f", file, "-t", tag, str(context))

    def build_program(self, name: str) -> None:
        """Makes an image of a program in CACHE/bin and a folder for temporary files."""
        context = self._cache / "context"
        shutil.rmtree(context, ignore_errors=True)
        (context / "bin").mkdir(parents=True)
        os.link(self._cache / "bin" / name, context / "bin" / name)
        (context / "tmp").mkdir()
        (context / "tmp").chmod(0o1777)  # programs of add-ons run as any user
        text = (
            "FROM scratch\nCOPY . /\nENV PATH=/bin\n"
            f'USER {COMPONENTS[name].user}\nENTRYPOINT ["{name}"]\n'
        )
        self._build_text(text, tag_of(name), context)

    def build_storage_initializer(self) -> None:
        """Makes the image with which KServe copies models; without HDFS and clouds."""
        component = COMPONENTS["kserve-manager"]
        scripts = source(component, self._cache) / "python/storage-initializer/scripts"
        release = component.version.removeprefix("v")
        install = f"pip install --no-cache-dir kserve-storage=={release}"
        text = (
            f"FROM {PYTHON}\nRUN {install}\nCOPY initializer-entrypoint /\n"
            "RUN chmod 755 /initializer-entrypoint\nUSER 1000\n"
            'ENTRYPOINT ["python", "/initializer-entrypoint"]\n'
        )
        self._build_text(text, STORAGE_INITIALIZER, scripts)

    def build_pause(self) -> None:
        """Makes the image of the process that keeps a pod's namespaces."""
        folder = self._cache / "pause"
        folder.mkdir(exist_ok=True)
        (folder / "pause.c").write_text(PAUSE_C)
        _run(
            [
                "gcc",
                "-Os",
                "-static",
                "-o",
                str(folder / "pause"),
                str(folder / "pause.c"),
            ]
        )
        text = 'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n'
        self._build_text(text, PAUSE, folder)

    def store(self, tag: str) -> None:
        """Writes an image as an archive, unless that is there and of the same image."""
        self.folder.mkdir(exist_ok=True)
        archive = self.archive(tag)
        digest = self.podman("image", "inspect", "--format={{.Id}}", tag).strip()
        noted = archive.with_suffix(".id")
        if archive.exists() and noted.exists() and noted.read_text() == digest:
            return
        part = archive.with_suffix(".part")
        part.unlink(missing_ok=True)
        self.podman("save", "--format=docker-archive", "-o", str(part), tag)
        part.rename(archive)
        noted.write_text(digest)

    def is_current(self) -> bool:
        """Returns whether the stored image of poets was built from today's files."""
        noted = self._noted_source
        return noted.exists() and noted.read_text() == source_digest()

    @property
    def _noted_source(self) -> Path:
        return self.archive(POETS).with_suffix(".source")

    def archive(self, tag: str) -> Path:
        """Returns the path of an image's archive."""
        return self.folder / f"{tag.replace('/', '_').replace(':', '_')}.tar"

    def exists(self, tag: str) -> bool:
        """Returns whether podman has an image."""
        command = self._command("image", "exists", tag)
        return not subprocess.run(
            command, env=self._environment, check=False
        ).returncode

    def podman(self, *arguments: str, timeout_s: float = TIMEOUT_S) -> str:
        """Runs podman and returns its output.

        Raises:
          BuildError: if it fails, with the last lines of its output.
        """
        return _run(self._command(*arguments), self._environment, timeout_s)

    def _build_text(self, dockerfile: str, tag: str, context: Path) -> None:
        context.mkdir(exist_ok=True)
        file = self._cache / "Dockerfile"
        file.write_text(dockerfile)
        words = [*_access(), "--ignorefile=/dev/null", "-f", str(file), "-t", tag]
        self.podman("build", *words, str(context))

    def _command(self, *arguments: str) -> list[str]:
        places = [
            f"--root={self._cache / 'podman'}",
            f"--runroot={self._cache / 'run'}",
        ]
        return ["podman", *places, *arguments]

    @property
    def _environment(self) -> Mapping[str, str]:
        conf = self._cache / "containers.conf"
        conf.write_text(CONF)
        return os.environ | {"CONTAINERS_CONF": str(conf)}


def source_digest() -> str:
    """Returns the SHA-256 of all files that the image of poets is built from."""
    deploy = ROOT / "deploy" / "kubernetes"
    files = [ROOT / "pyproject.toml", ROOT / "README.md", ROOT / "LICENSE"]
    files += [
        deploy / name for name in ("Dockerfile", "requirements.txt", "retrain.py")
    ]
    code = (ROOT / "poets").rglob("*")
    files += [path for path in code if path.suffix in (".py", ".html", ".css")]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _access() -> list[str]:
    """Returns podman's arguments by which a build reaches packages as we do."""
    files = ["/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt"]
    return [
        "--network=host",
        *(f"--volume={name}:{name}:ro" for name in files if Path(name).exists()),
    ]


def _run(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> str:
    if not shutil.which(command[0]):
        raise BuildError(f"{command[0]} is not installed; run `make kubernetes`")
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(
            f"`{' '.join(command[:8])} ...` did not end within {timeout_s:g} s; "
            "run it again when the machine has less to do"
        ) from error
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-12:])
        raise BuildError(f"`{' '.join(command[:8])} ...` failed:\n{said}")
    return done.stdout
