"""Has a picture classified by the OpenWhisk action: uploads, invokes, deletes.

    python demo/minio/mnist_demo.py --endpoint localhost:9000 --file 6.png \\
        --mnist_api http://localhost:3234/api/.../ml/mnist
    {'code': 200, 'res': 6, 'label': '6', 'scores': {'6': 0.99, ...}}

It prints the action's reply as a Python dict, or None if there is none, and exits with
1 unless its code is 200. The object is deleted in any case.
"""

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

import requests
from uploads import FAILURES, Upload, build_parser

TIMEOUT_S = 75  # an action has 60


def invoke(api: str, url: str) -> dict[str, Any]:
    """Returns the action's reply for the picture at a URL.

    Args:
      api: the URL of the web action or of the API gateway, which wrap the parameters;
        `/run` of a container takes them wrapped.
    """
    parameters: dict[str, Any] = {"url": url}
    body = {"value": parameters} if api.endswith("/run") else parameters
    answer = requests.post(api, json=body, timeout=TIMEOUT_S)
    try:
        reply = answer.json()
    except ValueError:
        reply = None
    if not isinstance(reply, dict):
        raise ValueError(f"HTTP {answer.status_code} without a JSON object")
    return reply


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit code."""
    parser = build_parser("Has a picture classified by an OpenWhisk action.")
    parser.add_argument("--mnist_api", required=True, help="URL of the action")
    args = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)  # so that the object is deleted
    reply = None
    try:
        upload = Upload(args)
        try:
            print(reply := invoke(args.mnist_api, upload.put()["url"]))
        finally:
            upload.delete()
    except (*FAILURES, KeyboardInterrupt) as error:
        if reply is None:
            print(None)
        reason = str(error) or "interrupted"
        print(f"failed with {str(args.file)!r}: {reason}", file=sys.stderr)
        return 1
    return 0 if reply.get("code") == 200 else 1


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
