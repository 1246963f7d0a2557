"""`poets abaco`: registers an image as an Abaco actor, sends it messages, shows logs.

ABACO_BASE_URL and ABACO_TOKEN name the platform and the user's token. Ids and results
go to stdout, progress to stderr.
"""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from poets.cli import Verbs
from poets.errors import ConfigError
from poets.system.logs import log_to_stderr


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    parser.description = __doc__.partition("\n\n")[2]
    steps = parser.add_subparsers(required=True, metavar="VERB")
    _add_register(steps)
    _add_submit(steps)
    logs = steps.add_parser("logs", help="print what an execution has printed")
    logs.set_defaults(func=print_logs)
    logs.add_argument("actor", metavar="ACTOR", help="the actor's id")
    logs.add_argument("execution", metavar="EXECUTION", help="the execution's id")


def _add_register(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "register", help="make an actor of an image, and print its id when it is ready"
    )
    parser.set_defaults(func=register)
    parser.add_argument("image", metavar="IMAGE", help="in a registry, as org/name:tag")
    parser.add_argument("--name", help="the actor's name")
    parser.add_argument("--description", help="what it does")
    parser.add_argument(
        "--stateful",
        action="store_true",
        help="run one message at a time; without it many workers may share them",
    )
    _add_timeout(parser, "until the actor is ready")


def _add_submit(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "submit",
        help="send pictures, and print their labels as lines of JSON",
        description="Sends a message for each picture, waits for it, and prints "
        '{"message": ..., "labels": [{"label": ..., "score": ...}, ...]} or '
        '{"message": ..., "error": ...}.',
    )
    parser.set_defaults(func=submit)
    parser.add_argument("actor", metavar="ACTOR", help="the actor's id")
    parser.add_argument(
        "messages",
        metavar="MESSAGE",
        nargs="*",
        help="URL, {'data_url': ...} as Python literal or JSON, or an image file, "
        "whose bytes are sent",
    )
    parser.add_argument("--from", dest="file", help="file of messages, one a line")
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="add the results to a file; messages that have labels there are not sent "
        "again",
    )
    parser.add_argument(
        "--parallel",
        metavar="N",
        type=int,
        default=8,
        help="messages that wait or run at once (default: %(default)s)",
    )
    _add_timeout(parser, "for one message")


def _add_timeout(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--timeout_s",
        metavar="SECONDS",
        type=float,
        default=600.0,
        help=f"how long to wait {what} (default: %(default)g)",
    )


def register(args: argparse.Namespace) -> int:
    """Registers an actor and prints its id; returns the exit code."""
    from poets.serve.abaco.client import from_environment  # takes long: not for --help

    fields = {"name": args.name, "description": args.description}
    given = {name: value for name, value in fields.items() if value}
    given["stateless"] = not args.stateful
    print(from_environment(os.environ).register(args.image, args.timeout_s, **given))
    return 0


def submit(args: argparse.Namespace) -> int:
    """Sends messages and prints the results; returns the exit code."""
    from poets.serve.abaco.batch import label_messages, labelled_in
    from poets.serve.abaco.client import CONNECTIONS, from_environment
    from poets.system.progress import track

    log_to_stderr()
    if not 1 <= args.parallel <= CONNECTIONS:
        raise ConfigError(f"--parallel={args.parallel}: must be 1 to {CONNECTIONS}")
    platform = from_environment(os.environ)
    messages = _messages(args)
    done = labelled_in(args.output) if args.output else set()
    left = [message for message in messages if message not in done]
    failed = 0
    with _opened(args.output) as output, track(len(left), "abaco", "messages") as note:
        for result in label_messages(
            platform, args.actor, left, args.parallel, args.timeout_s
        ):
            print(json.dumps(result, ensure_ascii=False), file=output, flush=True)
            failed += "error" in result
            note(1)
    return 1 if failed else 0


def print_logs(args: argparse.Namespace) -> int:
    """Prints the logs of an execution; returns the exit code."""
    from poets.serve.abaco.client import from_environment

    logs = from_environment(os.environ).logs(args.actor, args.execution)
    sys.stdout.write(logs if logs.endswith("\n") or not logs else f"{logs}\n")
    return 0


def _messages(args: argparse.Namespace) -> list[str]:
    """Returns all messages, each once, in the order given."""
    messages = list(args.messages)
    if args.file:
        try:
            with open(args.file, encoding="utf-8") as file:
                messages += filter(None, map(str.strip, file))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"cannot read the messages in {args.file!r}: {error}"
            ) from error
    if not messages:
        raise ConfigError("no messages: give some, or a file of them by --from")
    return list(dict.fromkeys(messages))


@contextlib.contextmanager
def _opened(path: str | None) -> Iterator[TextIO]:
    """Yields stdout, or a file at whose end whole lines may be added."""
    if path is None:
        yield sys.stdout
        return
    try:
        with open(path, "a+b") as file:
            if file.tell():  # a killed run may have left half a line
                file.seek(-1, os.SEEK_END)
                file.write(b"" if file.read(1) == b"\n" else b"\n")
        output = open(  # noqa: SIM115 - closed below
            path, "a", encoding="utf-8", errors="backslashreplace"
        )
    except OSError as error:
        raise ConfigError(f"cannot write {path!r}: {error.strerror}") from error
    with output:
        yield output
