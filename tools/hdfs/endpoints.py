"""Serves the client configuration over loopback HTTP, as DC/OS HDFS does.

    GET /v1/endpoints                  ["core-site.xml", "hdfs-site.xml"]
    GET /v1/endpoints/core-site.xml    the file

`python endpoints.py FOLDER PORT MARK` runs until it is killed. MARK identifies the
process, see daemons.py. Only these two files are served.
"""

import json
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FILES = ("core-site.xml", "hdfs-site.xml")
PREFIX = "/v1/endpoints"


def serve(folder: Path, port: int) -> None:
    """Serves the configuration until the process ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802, the base class names it
            name = self.path.removeprefix(PREFIX).strip("/")
            if self.path.rstrip("/") == PREFIX:
                self._answer(json.dumps(FILES).encode(), "application/json")
            elif self.path.startswith(f"{PREFIX}/") and name in FILES:
                self._answer((folder / name).read_bytes(), "application/xml")
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

        def _answer(self, data: bytes, kind: str) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
