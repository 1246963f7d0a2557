"""Classifies the picture of one Abaco message: `python -m poets.serve.abaco`.

    MSG or FIFO ──> Message ──> bytes ──> classifier ──> stdout: rose (score = 0.98347)
                                                    └──> results socket: JSON

The settings are flags or variables. Query parameters of a message become variables,
too: an image that takes messages from strangers gives its settings as flags.
"""

import json
import os
import socket

from poets.classifier import imagenet
from poets.errors import PoetsError
from poets.serve.abaco.message import read_message
from poets.serve.abaco.one_picture import (
    Best,
    add_network_flags,
    classify,
    fetch,
    run_program,
)
from poets.system.command_line import Parser
from poets.system.hosts import Hosts

FIFO = "/_abaco_binary_data"
RESULTS = "/_abaco_results.sock"
MAX_RESULT_BYTES = 131_072
SEND_TIMEOUT_S = 10.0


def build_parser() -> Parser:
    """Returns the parser of the flags."""
    parser = Parser(prog="python -m poets.serve.abaco", description=__doc__)
    variables = os.environ.get
    parser.add_argument(
        "--model",
        default=variables("MODEL", ""),
        help="as for poets label (default: $MODEL, else ImageNet's Inception of 2015)",
    )
    add_network_flags(parser)
    parser.add_argument(
        "--allow_urls",
        metavar="HOSTS",
        default=variables("POETS_ALLOW_URLS", "*"),
        help="hosts that data_url may name (default: $POETS_ALLOW_URLS, else * for all "
        "public addresses)",
    )
    parser.add_argument("--binary_data", default=FIFO, help="(default: %(default)s)")
    parser.add_argument("--results", default=RESULTS, help="(default: %(default)s)")
    return parser


def answer() -> Best:
    """Sends the best labels of the message's picture as a result, and returns them."""
    args = build_parser().parse_args()
    allowed = Hosts.parse(args.allow_urls)
    message = read_message(os.environ, args.binary_data)
    data = message.picture
    if isinstance(data, str):
        data = fetch("data_url", data, allowed)
    model = args.model or imagenet.unpack(args.model_dir, args.model_url)
    best = classify(model, data, message.predictions, message.reject)
    if os.path.exists(args.results):
        labels = [{"label": label, "score": score} for label, score in best]
        send_result({"image": message.name, "labels": labels}, args.results)
    return best


def send_result(result: object, path: str) -> None:
    """Sends a result, as JSON, through the datagram socket of an execution.

    Raises:
      PoetsError: if it is too long, or the platform does not receive it.
    """
    data = json.dumps(result).encode()
    if len(data) > MAX_RESULT_BYTES:
        raise PoetsError(
            f"the result has {len(data):,} bytes, and Abaco takes "
            f"{MAX_RESULT_BYTES:,}; ask for fewer predictions"
        )
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as results:
            results.settimeout(SEND_TIMEOUT_S)
            results.connect(path)
            results.send(data)
    except OSError as error:
        raise PoetsError(f"cannot send the result to {path!r}: {error}") from error


if __name__ == "__main__":
    run_program("abaco", answer)
