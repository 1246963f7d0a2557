"""Runs a real secure HDFS on this machine, for the walk-through and for tests.

    hdfs.py up DIR [--datanodes N] [--protection privacy] [--put LOCAL=PATH] [--yarn]
    hdfs.py status DIR [--json]
    hdfs.py shell DIR [--principal P --keytab FILE] -- -ls /
    hdfs.py down DIR

    up:  KDC ──> principals, keytab ──> configuration ──> NameNode, DataNodes
         ──> out of safe mode ──> /tensorflow_input_data, /tensorflow ──> put

RPC, block transfer and web interfaces all require Kerberos. All files are below DIR,
and all ports are on loopback. `up` can be repeated; `down` keeps files, ports and logs.
Exit code 0: done, 1: failed (status: a daemon is down), 2: the user's mistake; `shell`
exits with the code of `hdfs dfs`.
"""

import argparse
import importlib.util
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # sys.path[0] is the script's folder, not the root
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from poets.errors import ConfigError, PoetsError, format_problems
from tools.hdfs import folder as folders
from tools.hdfs import maven
from tools.hdfs.cluster import START_TIMEOUT_S, SecureHdfs
from tools.hdfs.configuration import PROTECTIONS
from tools.hdfs.shell import run_hadoop
from tools.hdfs.status import status, status_lines
from tools.packages import require_programs

PROGRAMS = ("java", "kinit", "krb5kdc", "kadmin.local", "kdb5_util")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    own, passed = _split(words)
    args = build_parser().parse_args(own)
    args.arguments = passed
    try:
        code: int = args.func(args)
        return code
    except PoetsError as error:
        print(f"hdfs.py {args.verb}: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # `hdfs.py status ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(f"hdfs.py {args.verb}: interrupted; run it again", file=sys.stderr)
        return 130


def up(args: argparse.Namespace) -> int:
    """Creates and starts the HDFS, uploads folders, prints its addresses."""
    puts = _puts(args.put)
    require_programs(*PROGRAMS, *["keytool"] * bool(args.https))
    if importlib.util.find_spec("hdfs_native") is None:
        raise ConfigError(
            f"no hdfs-native for {sys.executable}; pip install 'hdfs-native>=0.14.7,"
            "<0.15', or run it as .cache/venv/bin/python tools/hdfs/hdfs.py after "
            "`make setup`"
        )
    wanted = {name: getattr(args, name) for name in OPTIONS}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    with folders.locked(args.directory):
        settings = folders.make(args.directory, wanted, args.kdc, args.principals)
        yarn = maven.class_path(args.cache, maven.YARN) if settings.yarn else ""
        jars = maven.class_path(args.cache)
        hdfs = SecureHdfs(args.directory, settings, jars, yarn)
        stopped = [daemon.name for daemon in hdfs.daemons if daemon.pid is None]
        if stopped:
            print(f"starting {', '.join(stopped)}", flush=True)
        else:
            print(f"HDFS at {hdfs.url} is already running")
        hdfs.start(args.timeout_s)
        hdfs.prepare()
        for local, path in puts:
            print(hdfs.put(local, path))
    print("\n".join(_access_lines(hdfs)))
    return 0


def down(args: argparse.Namespace) -> int:
    """Stops the daemons, and the KDC if it is in the folder."""
    hdfs = _existing(args.directory)
    with folders.locked(args.directory):
        stopped = hdfs.stop()
        if hdfs.kdc.is_running and hdfs.kdc.directory.parent == hdfs.folder:
            hdfs.kdc.stop()
            stopped.append("kdc")
    print(f"stopped {', '.join(stopped)}" if stopped else "nothing runs")
    return 0


def show_status(args: argparse.Namespace) -> int:
    """Prints all daemons, safe mode and live DataNodes."""
    hdfs = _existing(args.directory, args.cache)
    found = status(hdfs)
    print(json.dumps(found, indent=2) if args.json else "\n".join(status_lines(found)))
    return 0 if found["works"] else 1


def shell(args: argparse.Namespace) -> int:
    """Runs `hdfs dfs` with the arguments after `--`, as superuser or a principal."""
    if (args.principal is None) != (args.keytab is None):
        raise ConfigError("--principal and --keytab need each other; give both")
    hdfs = _existing(args.directory, args.cache)
    require_programs("java", "kinit")
    return run_hadoop(
        hdfs, args.arguments, principal=args.principal, keytab=args.keytab
    ).returncode


def _existing(directory: Path, cache: Path | None = None) -> SecureHdfs:
    """Returns the HDFS of a folder; only with `cache` can it start Hadoop programs."""
    settings = folders.find(directory)
    if settings is None:
        raise ConfigError(
            f"no HDFS in {str(directory)!r}; create it with `hdfs.py up {directory}`"
        )
    return SecureHdfs(directory, settings, maven.class_path(cache) if cache else "")


def _access_lines(hdfs: SecureHdfs) -> list[str]:
    """Returns addresses and environment for clients, as lines of text."""
    settings = hdfs.settings
    lines = [
        f"file system  {hdfs.url}",
        f"web          webhdfs://{settings.address('namenode.http')}",
    ]
    if settings.https:
        address = settings.address("namenode.https")
        lines.append(f"web, TLS     swebhdfs://{address}  ({hdfs.conf_dir}/ca.pem)")
    if settings.yarn:
        lines.append(f"YARN         http://{settings.address('resourcemanager.http')}")
    if settings.httpfs:
        lines.append(f"HttpFS       webhdfs://{settings.address('httpfs')}")
    lines.append(f"config_uri   {hdfs.config_uri}")
    environment = {
        "POETS_HADOOP_CONF": str(hdfs.conf_dir),
        "KRB5_CONFIG": str(hdfs.kdc.krb5_conf),
    }
    exports = [f"{key}={shlex.quote(text)}" for key, text in environment.items()]
    return [*lines, f"clients      export {' '.join(exports)}"]


def _puts(texts: Sequence[str]) -> list[tuple[Path, str]]:
    """Parses the values of `--put` and checks all of them."""
    found, problems = [], []
    for text in texts:
        local, _, path = text.rpartition("=")
        if not local or not path.startswith("/"):
            problems.append(f"{text!r} is not LOCAL=PATH with a path like /data/photos")
        elif not Path(local).is_dir():
            problems.append(f"{local!r} is not a folder; give a local folder of images")
        else:
            found.append((Path(local).absolute(), path))
    if problems:
        raise ConfigError(format_problems("--put", problems))
    return found


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Splits a command line at the first `--`; the rest is passed to Hadoop."""
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


OPTIONS = ("datanodes", "protection", "replication", "host", "httpfs", "https", "yarn")


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line before `--`."""
    parser = argparse.ArgumentParser(
        prog="hdfs.py", description="Runs a real secure HDFS on this machine."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)

    def verb(name: str, function: object, text: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=text)
        made.add_argument("directory", type=Path, metavar="DIR")
        made.add_argument(
            "--cache",
            type=Path,
            default=maven.CACHE,
            help="Hadoop's jars (%(default)s)",
        )
        made.set_defaults(func=function)
        return made

    add = verb("up", up, "create it if new, start it, wait for it").add_argument
    add("--kdc", type=Path, help="folder of a KDC of tools/kdc (default: DIR/kdc)")
    add("--principals", type=Path, default=folders.PRINCIPALS, metavar="FILE")
    add("--datanodes", type=int, metavar="N", help="default 1")
    add("--protection", choices=PROTECTIONS, help="default authentication")
    add("--replication", type=int, metavar="N", help="for new files; default 3")
    add("--host", help="this machine's name in principals; default localhost")
    add("--httpfs", action="store_true", default=None, help="run the gateway HttpFS")
    add("--https", action="store_true", default=None, help="add TLS, for swebhdfs://")
    add("--yarn", action="store_true", default=None, help="run YARN beside it")
    add("--put", action="append", default=[], metavar="LOCAL=PATH", help="repeatable")
    add("--timeout_s", type=float, default=START_TIMEOUT_S, help="default %(default)g")
    verb("down", down, "stop it; keep files, ports and logs")
    add = verb("status", show_status, "show daemons, safe mode, DataNodes").add_argument
    add("--json", action="store_true", help="print JSON")
    add = verb(
        "shell", shell, "run the real `hdfs dfs`; its arguments after --"
    ).add_argument
    add("--principal", help="the user; default: the superuser")
    add("--keytab", type=Path, help="the keytab of --principal")
    return parser


if __name__ == "__main__":
    sys.exit(main())
