"""The `poets` command: one verb a file.

Results go to stdout, progress and log lines to stderr. Exit code 0: done, 1: failed,
2: the user's mistake, 130: interrupted.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from poets import __version__
from poets.errors import PoetsError

VERBS = ("retrain", "label", "results", "logs", "dcos")


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser with every verb."""
    parser = argparse.ArgumentParser(
        prog="poets",
        description="Retrains an image classifier where the pictures are.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"poets {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in VERBS:
        importlib.import_module(f"poets.cli.{verb}").add_parser(verbs)
    return parser


def run(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a label may not fit the terminal
    args = build_parser().parse_args(argv)
    try:
        return args.func(args)
    except PoetsError as error:
        print(f"poets {args.verb}: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # `poets logs ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(f"poets {args.verb}: interrupted; run it again to go on", file=sys.stderr)
        return 130
