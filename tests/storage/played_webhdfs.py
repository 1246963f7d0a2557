"""The web interface of HDFS, played on loopback: it answers as a test says."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from poets.storage.hadoop.user import system_user
from tests.storage.hadoop_confs import bare_environment, properties, write_conf

__all__ = ["bare_environment"]  # a fixture, which `named_user` needs

TOKEN = "c2VjcmV0LXRva2Vu"
STATUS = {
    "FileStatus": {
        **{"type": "FILE", "length": 5, "modificationTime": 1_500_000_000_000},
        **{"owner": "alice", "group": "users", "permission": "1644"},
        **{"replication": 3, "aclBit": True},
    }
}


class Server:
    """Plays the web interface of a NameNode and a DataNode: `answers` says how.

    Attributes:
      answers: for each of the next requests, the status, the headers and the body;
        a body that is longer than its Content-Length is cut, None is never sent.
      requests: "METHOD path?query" of every request so far.
    """

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes | None]] = []
        self.requests: list[str] = []
        self.closed = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:  # noqa: N802, the base class names it
                length = int(self.headers.get("Content-Length") or 0)
                self.rfile.read(length)
                outer.requests.append(f"{self.command} {self.path}")
                status, headers, body = outer.answers.pop(0)
                if body is None:
                    outer.closed.wait(300)
                    self.close_connection = True
                    return
                self.send_response(status)
                headers = {"Content-Length": str(len(body)), **headers}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)

            do_PUT = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *args: object) -> None:
                """Keeps the tests' output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def add(self, status: int, body: object = b"", **headers: str) -> None:
        """Adds an answer; anything but bytes and None becomes JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append((status, named, body))

    def redirect(self, address: str) -> None:
        """Adds an answer that sends to a DataNode."""
        place = f"http://{address}/webhdfs/v1/graph?op=OPEN&delegation={TOKEN}&offset=0"
        self.add(307, Location=place)

    def close(self) -> None:
        """Stops to listen."""
        self.closed.set()
        self._server.shutdown()
        self._thread.join(300)
        self._server.server_close()


def refusal(java_class: str, message: str = "why") -> dict[str, dict[str, str]]:
    return {"RemoteException": {"exception": java_class, "message": message}}


@pytest.fixture(autouse=True)
def named_user(bare_environment, monkeypatch) -> None:
    """Tests may run as a user without a name, which WebHDFS wants."""
    if not system_user():
        monkeypatch.setenv("HADOOP_USER_NAME", "tests")


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    """A server that fails on demand, without Kerberos."""
    monkeypatch.setenv("HADOOP_USER_NAME", "alice")
    monkeypatch.setenv("POETS_STORAGE_TIMEOUT_S", "5")
    running = Server()
    yield running
    running.close()


def configure(folder, monkeypatch, values: dict[str, str]) -> None:
    """Writes a configuration of these values."""
    write_conf(folder, hdfs=properties(**values))
    monkeypatch.setenv("POETS_HADOOP_CONF", str(folder))


def configure_service(
    folder, monkeypatch, service: str, addresses: dict[str, str]
) -> None:
    """Writes a configuration with the NameNodes of a service."""
    values = {
        f"dfs.ha.namenodes.{service}": ", ".join(addresses),
        "fs.defaultFS": f"hdfs://{service}",
    }
    for name, address in addresses.items():
        values[f"dfs.namenode.http-address.{service}.{name}"] = address
        values[f"dfs.namenode.rpc-address.{service}.{name}"] = "localhost:8020"
    configure(folder, monkeypatch, values)
