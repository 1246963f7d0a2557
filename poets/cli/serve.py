"""`poets serve MODEL...`: a model server with a page."""

import argparse
import importlib
import logging

from poets.errors import ConfigError, format_problems
from poets.system.hosts import Hosts
from poets.system.logs import log_to_stderr
from poets.system.machine import room_for_processes

INSTALL = "pip install 'poets[serve]'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    parser.description = (
        "Serves models as TensorFlow Serving does, by the Open Inference "
        "Protocol, and with a page for people."
    )
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="graph (.pb), .tflite, .onnx, SavedModel, results folder, or a folder of "
        "versions 1, 2, ..., on any storage; NAME=MODEL names it",
    )
    parser.add_argument("--name", help="of a single model (default: that of its file)")
    parser.add_argument("--labels", help="labels file (default: as for poets label)")
    parser.add_argument(
        "--version_label",
        action="append",
        default=[],
        metavar="LABEL=VERSION",
        help="also serve a version under a label; may be repeated",
    )
    for flag, default, what in (
        ("--host", "127.0.0.1", "address to listen on; 0.0.0.0 for all"),
        ("--port", 8501, "of REST and the page; 0 for any free one"),
        ("--grpc_port", 8500, "of gRPC; 0 for any free one, -1 for none"),
        ("--processes", room_for_processes(), "that score pictures, for each model"),
        ("--max_body_mb", 32, "longest request in MB"),
        ("--max_queue", 512, "pictures that may wait; beyond, 429"),
        ("--timeout_s", 60.0, "longest time for an answer"),
        ("--reject_below", 0.0, "score under which the page shows (none)"),
    ):
        parser.add_argument(
            str(flag),
            type=type(default),
            default=default,
            metavar=type(default).__name__.upper(),
            help=f"{what} (default: {'cores' if flag == '--processes' else default})",
        )
    parser.add_argument(
        "--reject",
        action="store_true",
        help="the page shows (none) below the reject threshold of the model's run",
    )
    parser.add_argument(
        "--allow_urls",
        type=str,
        metavar="HOSTS",
        help="fetch pictures from these hosts, as *.example.org,10.0.0.0/8; * for any "
        "public one (default: none)",
    )
    parser.add_argument(
        "--token_file", metavar="FILE", help="requests need the bearer token in it"
    )
    parser.add_argument("--certificate", metavar="PEM", default="", help="for TLS")
    parser.add_argument("--key", metavar="PEM", default="", help="of the certificate")
    parser.add_argument(
        "--access_log", action="store_true", help="log each request as JSON"
    )
    parser.set_defaults(func=_run)


def _run(args: argparse.Namespace) -> int:
    problems = _problems(args)
    if problems:
        raise ConfigError(format_problems("wrong flags", problems))
    try:
        server = importlib.import_module("poets.serve.server.run")
        models = importlib.import_module("poets.serve.server.models")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"poets serve needs {error.name}, which is not installed: {INSTALL}"
        ) from error
    labels = dict(_version_label(text) for text in args.version_label)
    least = None if args.reject else args.reject_below
    sources = [
        models.Source(*models.name_and_url(text, args.name), args.labels, labels, least)
        for text in args.models
    ]
    names = [source.name for source in sources]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(
            f"several models are named {', '.join(map(repr, repeated))}; give "
            "NAME=MODEL for each"
        )
    log_to_stderr()
    access = logging.getLogger("poets.access")
    access.setLevel(logging.INFO if args.access_log else logging.WARNING)
    settings = server.Settings(
        sources=sources,
        host=args.host,
        port=args.port,
        grpc_port=None if args.grpc_port < 0 else args.grpc_port,
        processes=args.processes,
        max_queue=args.max_queue,
        max_body_bytes=args.max_body_mb << 20,
        timeout_s=args.timeout_s,
        token=_token(args.token_file),
        certificate=args.certificate,
        key=args.key,
        allowed_urls=Hosts.parse(args.allow_urls) if args.allow_urls else None,
    )
    server.run(settings)
    return 0


def _problems(args: argparse.Namespace) -> list[str]:
    """Returns what is wrong with the flags."""
    problems = []
    for name in ("processes", "max_body_mb", "max_queue", "timeout_s"):
        if getattr(args, name) <= 0:
            problems.append(f"--{name}={getattr(args, name)}: must be more than 0")
    if not 0 <= args.reject_below <= 1:
        problems.append(f"--reject_below={args.reject_below}: must be 0 to 1")
    if args.reject and args.reject_below:
        problems.append("--reject and --reject_below: give one of them")
    if args.name and len(args.models) > 1:
        problems.append("--name with several models: give NAME=MODEL for each")
    if bool(args.certificate) != bool(args.key):
        problems.append("--certificate and --key: give both or none")
    for text in args.version_label:
        try:
            _version_label(text)
        except ValueError:
            problems.append(f"--version_label={text}: give LABEL=VERSION, as stable=3")
    return problems


def _version_label(text: str) -> tuple[str, int]:
    label, _, number = text.partition("=")
    if not label:
        raise ValueError(text)
    return label, int(number)


def _token(path: str | None) -> str:
    """Returns the token in a file; errors do not contain it."""
    if path is None:
        return ""
    try:
        with open(path, encoding="ascii") as file:
            token = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not ASCII text"
        raise ConfigError(f"--token_file={path}: {why}") from error
    if not token:
        raise ConfigError(f"--token_file={path}: the file is empty")
    return token
