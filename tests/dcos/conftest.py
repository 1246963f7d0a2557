"""A web server on loopback that answers as each test wants; what a run tells."""

import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Server:
    """Answers GET path with `pages[path]`, a function of the request handler."""

    def __init__(self):
        self.pages = {}
        self.requests = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):  # noqa: N802, the base class names it
                outer.requests.append((self.path, dict(self.headers)))
                page = outer.pages.get(self.path.partition("?")[0])
                if page is None:
                    self.send_error(404)
                elif callable(page):
                    page(self)
                    self.close_connection = True
                else:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(page)))
                    self.end_headers()
                    self.wfile.write(page)

            def log_message(self, *args):
                """Keeps the tests' output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def url(self, path):
        return f"http://{self.host}{path}"

    def close(self):
        self._server.shutdown()
        self._thread.join(300)
        self._server.server_close()


@pytest.fixture
def server():
    running = Server()
    yield running
    running.close()


@pytest.fixture
def lines():
    """An `emit` that keeps what it is given."""

    class Lines(list):
        def __call__(self, task, stream, text):
            self.append((task, stream, text))

    return Lines()


@pytest.fixture
def told():
    """What the scheduler logs, as it comes; `told.hook(text)` is called with each."""

    class Told(logging.Handler):
        def __init__(self):
            super().__init__()
            self.texts = []
            self.hook = lambda text: None

        def emit(self, record):
            self.texts.append(record.getMessage())
            self.hook(record.getMessage())

    handler = Told()
    logger = logging.getLogger("poets.dcos")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.setLevel(before)
    logger.removeHandler(handler)
