"""The model server as users start it: a process with ports of its own."""

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import requests

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 300
"""For hangs: a server starts in some two seconds."""


@dataclass
class Server:
    """A running server.

    Attributes:
      url: of HTTP, without a slash at its end.
      grpc: address of gRPC.
      process: ended by `serving` at the latest.
      lines: what it has logged until now.
    """

    process: subprocess.Popen
    url: str = ""
    grpc: str = ""
    lines: list[str] = field(default_factory=list)
    _new: "queue.SimpleQueue[str | None]" = field(default_factory=queue.SimpleQueue)

    def wait_for(self, pattern: str) -> re.Match:
        """Returns the first match in a line that is logged from now on."""
        while (line := self._new.get(timeout=TIMEOUT_S)) is not None:
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"it ended without {pattern!r}:\n{''.join(self.lines)}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends it, and returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_S)

    def get(self, path: str, **options: object) -> requests.Response:
        """Asks for a path."""
        return requests.get(self.url + path, timeout=TIMEOUT_S, **options)

    def post(self, path: str, **options: object) -> requests.Response:
        """Posts to a path."""
        return requests.post(self.url + path, timeout=TIMEOUT_S, **options)

    def follow(self) -> None:
        """Collects its lines until it ends."""
        for line in self.process.stderr:
            self.lines.append(line)
            self._new.put(line)
        self._new.put(None)


@contextlib.contextmanager
def serving(*words: object, environment: Mapping[str, str] = {}) -> Iterator[Server]:
    """Runs `poets serve` on free ports while the body runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "poets", "serve", *map(str, words)]
        + ["--port=0", "--grpc_port=0"],
        cwd=ROOT,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    server = Server(process)
    reader = threading.Thread(target=server.follow)
    reader.start()
    try:
        server.grpc = server.wait_for(r"gRPC on (\S+)")[1]
        server.url = server.wait_for(r"serving on (https?://\S+)/")[1]
        yield server
    finally:
        process.kill()
        process.wait(TIMEOUT_S)
        reader.join(TIMEOUT_S)
        process.stderr.close()
    assert "Traceback" not in "".join(server.lines), "".join(server.lines)
