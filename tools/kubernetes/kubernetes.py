"""Runs a real Kubernetes on this machine: control plane, kubelet and containers.

    kubernetes.py build [NAME ...]         the programs, from Go modules: 25 minutes
    kubernetes.py images [--check]         the images: 9 minutes; --check runs each
    kubernetes.py up [--pretend] [--addons]
    kubernetes.py run -- kubectl get pods
    kubernetes.py status
    kubernetes.py down [--purge]

Programs and images are below `--cache`, the cluster is below `--directory`. It has
network, mounts and processes of its own: no port is open on this machine, and nothing
is left after `down` but files. `up` can be repeated; it takes root, and Linux with
cgroups. `--pretend` has kwok in place of kubelet, for machines without containers.
Exit code 0: done, 1: failed (status: it is down), 2: the user's mistake; `run` exits
with the code of its command.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # sys.path[0] is the script's folder, not the root
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from poets.errors import ConfigError, PoetsError
from tools import packages
from tools.hdfs.folder import locked
from tools.kubernetes import build as building
from tools.kubernetes.checks import check_images
from tools.kubernetes.cluster import Cluster
from tools.kubernetes.components import COMPONENTS
from tools.kubernetes.images import CLUSTER_IMAGES, Images


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    at = words.index("--") if "--" in words else len(words)
    args = build_parser().parse_args(words[:at])
    args.command = words[at + 1 :]
    try:
        code: int = args.func(args)
        return code
    except PoetsError as error:
        print(f"kubernetes.py {args.verb}: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # `kubernetes.py status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(f"kubernetes.py {args.verb}: interrupted; run it again", file=sys.stderr)
        return 130


def build(args: argparse.Namespace) -> int:
    """Builds the programs that are missing, or the named ones."""
    packages.ensure(["containers"])
    if unknown := sorted(set(args.names) - set(COMPONENTS)):
        raise ConfigError(
            f"no program {', '.join(unknown)}; known are {', '.join(COMPONENTS)}"
        )
    for name in args.names or building.missing(args.cache):
        start = time.monotonic()
        building.build(name, args.cache)
        print(f"{name} built in {time.monotonic() - start:.0f} s", flush=True)
    return 0


def images(args: argparse.Namespace) -> int:
    """Builds all images, and stores those of the cluster."""
    packages.ensure(["containers"])
    _require_built(args.cache)
    with contextlib.closing(Images(args.cache)) as made:
        for tag, seconds in made.build_all():
            print(f"{tag} built in {seconds:.0f} s", flush=True)
        if args.check:
            for line in check_images(made, args.cache / "checks"):
                print(line, flush=True)
    return 0


def up(args: argparse.Namespace) -> int:
    """Starts the cluster, loads the images, installs the add-ons."""
    if os.geteuid():
        raise ConfigError("a cluster takes namespaces and cgroups: run it as root")
    if args.pretend and args.addons:
        raise ConfigError(
            "the controllers of the add-ons run in pods, and nothing runs in kwok's; "
            "give --addons or --pretend, not both"
        )
    _require_built(args.cache)
    cluster = Cluster(args.directory, args.cache)
    stored = Images(args.cache)
    with locked(cluster.folder):
        start = time.monotonic()
        cluster.start(pretend=args.pretend)
        print(f"ready after {time.monotonic() - start:.1f} s", flush=True)
        if not args.pretend:
            for tag in CLUSTER_IMAGES:
                if stored.archive(tag).exists():
                    cluster.load(stored.archive(tag))
        if args.addons:
            cluster.install_addons()
            print(f"add-ons ready after {time.monotonic() - start:.1f} s")
    print(f"KUBECONFIG={cluster.folder / 'admin.kubeconfig'}, on its machine only:")
    print("python tools/kubernetes/kubernetes.py run -- kubectl get nodes")
    return 0


def down(args: argparse.Namespace) -> int:
    """Stops the cluster; with --purge removes its folder, too."""
    cluster = Cluster(args.directory, args.cache)
    if cluster.folder.exists():
        with locked(cluster.folder):
            print("stopped" if cluster.stop() else "nothing runs")
        if args.purge:
            shutil.rmtree(cluster.folder)
    else:
        print("nothing runs")
    return 0


def status(args: argparse.Namespace) -> int:
    """Prints which processes run."""
    cluster = Cluster(args.directory, args.cache)
    found = cluster.status()
    for name, runs in found.items():
        print(f"{name:24} {'runs' if runs else 'is down'}")
    if not found:
        print(f"no cluster in {cluster.folder}")
    return 0 if found and all(found.values()) else 1


def run(args: argparse.Namespace) -> int:
    """Runs the command after `--` on the cluster's machine, as administrator."""
    if not args.command:
        raise ConfigError("no command; give it after --, as `-- kubectl get pods`")
    cluster = Cluster(args.directory, args.cache)
    command = cluster.command(*args.command)
    return subprocess.run(command, env=cluster.environment, check=False).returncode


def _require_built(cache: Path) -> None:
    if missing := building.missing(cache):
        raise ConfigError(f"not built: {', '.join(missing)}; run `make kubernetes`")


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line before `--`."""
    parser = argparse.ArgumentParser(
        prog="kubernetes.py", description="Runs a real Kubernetes on this machine."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)

    def verb(name: str, function: object, text: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=text)
        place = building.CACHE / "cluster"
        for flag, default in (("--cache", building.CACHE), ("--directory", place)):
            made.add_argument(flag, type=Path, default=default, metavar="DIR")
        made.set_defaults(func=function)
        return made

    made = verb("build", build, "build the programs that are missing")
    made.add_argument("names", nargs="*", metavar="NAME", help="or these, again")
    made = verb("images", images, "build the images")
    made.add_argument("--check", action="store_true", help="then run each once")
    made = verb("up", up, "start the cluster, wait for it")
    made.add_argument("--pretend", action="store_true", help="kwok, not kubelet")
    made.add_argument("--addons", action="store_true", help="install operator and Argo")
    made = verb("down", down, "stop it; keep its files")
    made.add_argument("--purge", action="store_true", help="remove its folder, too")
    verb("status", status, "show which processes run")
    verb("run", run, "run a command on its machine; the command after --")
    return parser


if __name__ == "__main__":
    sys.exit(main())
