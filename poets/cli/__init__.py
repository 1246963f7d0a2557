"""The `poets` command, with one module per verb.

Results go to stdout, progress and log lines to stderr. Exit code 0: done, 1: failed,
2: the user's mistake, 130: interrupted.
"""

import argparse
import contextlib
import importlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn, TypeAlias

from poets import __version__
from poets.errors import PoetsError
from poets.system.command_line import Parser

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

NO_TEMPORARY_FOLDER = "No usable temporary directory found"
VERBS = {  # verb -> its line in `poets --help`, for which no module is imported
    "retrain": "retrain a classifier on labelled folders",
    "sweep": "retrain with many combinations of flags and publish the best",
    "label": "classify images with a retrained model",
    "pack": "write many small pictures into few large files",
    "unpack": "write the pictures in packs as a labelled folder",
    "serve": "answer requests over HTTP and gRPC, with a page for people",
    "results": "list a results folder and summarize its run",
    "report": "write the report of a finished run: a page with pictures",
    "compare": "compare runs on the same test pictures, with a test of significance",
    "clean": "move the pictures that a list of the report names, and back",
    "logs": "review worker logs: steps, accuracy, warnings and errors",
    "dcos": "check or run a DC/OS options file",
    "kubernetes": "print a job or a model server as Kubernetes objects",
    "spark": "run a DC/OS options file as a Spark application",
    "abaco": "register an image as an Abaco actor, send it pictures, read its logs",
    "doctor": "find out why a storage cannot be used",
}


def build_parser(verb: str = "") -> Parser:
    """Returns the parser, with the arguments of one verb; imports only its module."""
    parser = Parser(
        prog="poets",
        description="Retrains image classifiers on pictures in any storage.",
    )
    parser.add_argument("--version", action="version", version=f"poets {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, text in VERBS.items():
        added = verbs.add_parser(name, help=text)
        if name == verb:
            importlib.import_module(f"poets.cli.{name}").add_arguments(added)
    return parser


def main() -> NoReturn:
    """Runs the command line of this process and exits.

    It skips the interpreter's shutdown, which takes half a second with TensorFlow.
    """
    signal.signal(signal.SIGTERM, _interrupt)  # so that temporary files are removed
    code = run()
    if login := sys.modules.get("poets.kerberos.login"):  # else there is no ticket
        login.close()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def run(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a label may not fit the terminal
    argv = sys.argv[1:] if argv is None else argv
    verb = next((word for word in argv if not word.startswith("-")), "")
    name = f"poets {verb}" if verb in VERBS else "poets"
    try:
        args = build_parser(verb).parse_args(argv)
        return args.func(args)
    except PoetsError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except FileNotFoundError as error:  # from `tempfile`, in a read-only container
        if NO_TEMPORARY_FOLDER not in str(error):
            raise
        print(f"{name}: {error.strerror}; set TMPDIR to one", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `poets logs ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(f"{name}: interrupted; run it again to continue", file=sys.stderr)
        return 130


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
