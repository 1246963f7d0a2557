"""The `poets` command: one verb a file.

Results go to stdout, progress and log lines to stderr. Exit code 0: done, 1: failed,
2: the user's mistake, 130: interrupted.
"""

import contextlib
import importlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from poets import __version__
from poets.errors import PoetsError
from poets.kerberos import login
from poets.system.command_line import Parser

NO_TEMPORARY_FOLDER = "No usable temporary directory found"
VERBS = ("retrain", "sweep", "label", "results", "logs", "dcos", "kubernetes", "doctor")


def build_parser(names: Sequence[str] = VERBS) -> Parser:
    """Returns the parser with the verbs named; each loads what it works with."""
    parser = Parser(
        prog="poets",
        description="Retrains an image classifier where the pictures are.",
    )
    parser.add_argument("--version", action="version", version=f"poets {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in names:
        importlib.import_module(f"poets.cli.{verb}").add_parser(verbs)
    return parser


def main() -> NoReturn:
    """Runs the command line of this process and ends it.

    Without the interpreter's own end: taking TensorFlow apart takes it half a second.
    """
    signal.signal(signal.SIGTERM, _interrupt)  # so that temporary files are removed
    code = run()
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
    known = argv[:1] if argv and argv[0] in VERBS else VERBS
    name = "poets" if known is VERBS else f"poets {argv[0]}"
    try:
        args = build_parser(known).parse_args(argv)
        return args.func(args)
    except PoetsError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except FileNotFoundError as error:  # a read-only container, and Python's own text
        if NO_TEMPORARY_FOLDER not in str(error):
            raise
        print(
            f"poets {args.verb}: {error.strerror}; name one by TMPDIR", file=sys.stderr
        )
        return 2
    except BrokenPipeError:  # `poets logs ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(f"{name}: interrupted; run it again to go on", file=sys.stderr)
        return 130


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
