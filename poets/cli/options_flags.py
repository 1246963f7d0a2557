"""Flags that several verbs share, and the type of numbers above zero."""

import argparse
from typing import Any


def add_overrides(parser: "argparse._ActionsContainer", note: str = "") -> None:
    """Adds `--set` and `--arg`, for `read_options`; a note ends the help of `--arg`."""
    repeatable: dict[str, Any] = {"action": "append", "default": []}
    parser.add_argument(
        "--set",
        dest="settings",
        metavar="OPTION=VALUE",
        help="replace an option, as service.shared_filesystem=/results",
        **repeatable,
    )
    parser.add_argument(
        "--arg",
        dest="args",
        metavar="FLAG=VALUE",
        help=f"replace a flag in service.job_context, as image_dir=/photos{note}",
        **repeatable,
    )


def add_secrets(parser: "argparse._ActionsContainer") -> None:
    """Adds `--secrets`."""
    parser.add_argument(
        "--secrets",
        metavar="DIR",
        help="folder with the secrets that the options name, one file per secret: the "
        "keytab (tools/kdc/kdc.py --local makes one)",
    )


def add_spark(parser: "argparse._ActionsContainer") -> None:
    """Adds the flags of a Spark application."""
    parser.add_argument("--master", default="yarn", help="(default: yarn)")
    parser.add_argument(
        "--environment",
        metavar="ARCHIVE",
        default="",
        help="Python with poets and its dependencies, by its path or URL (python "
        "build_zip.py --environment builds it); replaces service.job_url",
    )
    parser.add_argument(
        "--python",
        metavar="PATH",
        default="",
        help="Python of the executors, if it is installed on their machines",
    )
    parser.add_argument(
        "--conf",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a setting of Spark; repeatable",
    )


def positive(text: str) -> float:
    """Returns a number above 0 from the command line; argparse words the error."""
    try:
        number = float(text)
    except ValueError:  # of which argparse would report this function's name
        number = 0.0
    if not 0 < number < 1e9:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number above 0 and below 1e9"
        )
    return number
