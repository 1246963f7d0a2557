"""What tests share: small pictures, a web server, real data where it is.

Each part is a fixture, so that no test imports this file:

    wait_until(ready)                        polls, with a deadline
    labelled_folder(tmp_path, {"daisy": 30}) draws a data set and returns its folder
    web_server                               files over HTTP, with ranges and faults
    closed_port                              a port without a listener
    unprivileged                             a folder where modes bind, even for root
    small_disk                               a disk that is soon full
    model_dir                                holds a random MobileNet 0.25/128
    s3, gs                                   object stores, see tests/objects.py
    kdc, secure_hdfs                         the real ones, see tests/secure
    cluster                                  the job in several, see tests/tasks
    nursery                                  starts tasks fast, see tests/forked
    network, pictures                        for engines, see tests/networks
    photographs, models                      the real ones, skipped where absent

Tests run in several processes (`pytest --numprocesses 2 --dist loadgroup`): those that
share something costly run in one of them, so that there is one of it a session.

A part of the world that is absent is skipped by its name, and
`POETS_REQUIRE=photographs,models` turns these skips into failures.
"""

import os
import re
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from tests import children
from tests.forked import nursery  # noqa: F401, a fixture
from tests.networks import network, pictures  # noqa: F401, fixtures
from tests.objects import gs, gs_server, s3, s3_server, store_settings  # noqa: F401
from tests.secure import (  # noqa: F401, fixtures
    hadoop,
    kdc,
    private_hdfs,
    secure_hdfs,
    start_hdfs,
)
from tests.tasks import (  # noqa: F401, fixtures
    cluster,
    drawn_images,
    one_process,
    two_processes,
)

ROOT = Path(__file__).parents[1]
NOBODY = 65534
LONGEST_ID = 200

SHARED = {  # a fixture that costs seconds -> the group of tests that share it
    "kubernetes": "kubernetes",  # first: one process holds its lock
    "pretended": "kubernetes",
    "spark_session": "own hdfs",
    "own_hdfs": "own hdfs",
    "private_hdfs": "own hdfs",
    "start_hdfs": "own hdfs",
    "hadoop": "hdfs",
    "s3_server": "stores",
    "gs_server": "stores",
    "finished": "finished",
    "one_process": "workers",
    "two_tuned": "workers",
    "built_as": "exports",
}
SLOW = (  # files of more than 10 s, which begin after these groups
    *("test_page", "test_build_zip", "test_chief_and_workers", "test_sweep_workers"),
    *("test_any_storage", "test_keras_networks", "test_installed"),
    *("test_every_backbone", "test_sweep", "test_tuned_run", "test_comparison"),
    *("test_imagenet", "test_sweep_resume", "test_heads_together", "test_docs"),
    *("test_scale", "test_abaco", "test_serving", "test_bad_input", "test_compute"),
)

pytest.register_assert_rewrite(
    *("tests.serve.action", "tests.serve.page"),
    *("tests.storage.at_once", "tests.storage.contract"),
)


@pytest.hookimpl(wrapper=True)  # before -m selects, and before xdist reads the groups
def pytest_collection_modifyitems(
    items: list[pytest.Item],
) -> Generator[None, None, None]:
    """Groups the tests that share a costly fixture, else those of a file.

    Long groups come first, so that no process works alone at the end.
    """
    order = [*dict.fromkeys(SHARED.values()), *SLOW]
    places = {name: place for place, name in enumerate(order)}

    def place_of(item: pytest.Item) -> int:
        used = getattr(item, "fixturenames", ())
        shared = [group for name, group in SHARED.items() if name in used]
        group = [*shared, str(item.path)][0]
        item.add_marker(pytest.mark.xdist_group(group))
        if not {"kdc", "hadoop"}.isdisjoint(used):
            item.add_marker(pytest.mark.hdfs)
        return places.get([*shared, item.path.stem][0], len(places))

    items.sort(key=place_of)
    return (yield)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Keeps megabytes of a parameter out of the test's name, which travels a lot."""
    if isinstance(val, str | bytes) and len(val) > LONGEST_ID:
        return f"{argname} of {len(val)}"
    return None


@pytest.fixture(scope="session", autouse=True)
def _forked_children() -> Iterator[None]:
    """Processes that compute bottlenecks are forked, see tests/children."""
    brood, process = children.start_brood()
    children.fork_children(brood, children.EXTRACTOR)
    yield
    children.start_children()
    brood.close()
    process.wait(300)


@pytest.fixture(name="wait_until", scope="session")
def _wait_until() -> Callable[..., None]:
    return wait_until


def wait_until(
    ready: Callable[[], object], timeout_s: float = 300.0, poll_s: float = 0.02
) -> None:
    """Returns once `ready()` is true; fails the test after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            pytest.fail(f"{ready.__name__} still false after {timeout_s:g} s")
        time.sleep(poll_s)


def require(name: str, condition: object) -> None:
    """Skips the test unless `condition`; fails it if POETS_REQUIRE has `name`."""
    if condition:
        return
    if name in re.split(r"[,\s]+", os.environ.get("POETS_REQUIRE", "")):
        pytest.fail(f"{name} is absent, and POETS_REQUIRE names it")
    pytest.skip(f"{name} is absent")


@pytest.fixture(name="require", scope="session")
def _require() -> Callable[[str, object], None]:
    return require


def _real(kind: str, name: str) -> Path | None:
    """Returns `data/<name>` or `models/<name>` of the test data, if it is there."""
    roots = [ROOT.parent / "shared"]
    if given := os.environ.get("POETS_TEST_DATA"):
        roots = [Path(given), Path(given).parent]
    places = [folder / name for root in roots for folder in (root, root / kind)]
    return next((place for place in places if place.exists()), None)


@pytest.fixture(scope="session")
def photographs() -> Path:
    """The folder of 4,317 flower photographs in 5 labels, 128 x 128 pixels."""
    found = _real("data", "flower_photos_128")
    require("photographs", found)
    assert found is not None
    return found


@pytest.fixture(scope="session")
def models() -> Path:
    """A `--model_dir` with the published MobileNet 0.25 archives of 128 and 224."""
    found = _real("models", "mobilenet_v1_0.25_128_frozen.tgz")
    require("models", found)
    assert found is not None
    return found.parent


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `--model_dir` with a random MobileNet 0.25/128; read it only."""
    from tests.models import write_mobilenet_archive

    return write_mobilenet_archive(tmp_path_factory.mktemp("models")).parent


@pytest.fixture(name="labelled_folder", scope="session")
def _labelled_folder() -> Callable[..., Path]:
    return labelled_folder


def labelled_folder(
    parent: Path, counts: Mapping[str, int], size_px: int = 48, seed: int = 0
) -> Path:
    """Draws a data set and returns its folder, `parent/images`.

    Labels differ in colour and in the direction of stripes, so that a head can learn
    them from features of any kind; no two files are alike.

    Args:
      parent: an existing folder.
      counts: label folder -> number of JPEGs, named `0000.jpg` and on.
      size_px: width; the height is a quarter less.
      seed: another value draws other pictures.
    """
    image_dir = parent / "images"
    rows, columns = np.mgrid[: size_px * 3 // 4, :size_px] / size_px
    for label, count in counts.items():
        folder = image_dir / label
        folder.mkdir(parents=True)
        key = zlib.crc32(label.encode())
        colour = np.random.default_rng(key).uniform(40, 215, 3)
        angle = np.pi * (key % 360) / 180
        for i in range(count):
            random = np.random.default_rng([seed, key, i])
            turn = angle + random.normal(0, 0.15)
            along = rows * np.cos(turn) + columns * np.sin(turn)
            stripes = np.sin(random.uniform(18, 26) * along + random.uniform(0, 6))
            picture = colour + 40 * stripes[..., None] + random.normal(0, 12, 3)
            picture += random.normal(0, 8, picture.shape)
            pixels = np.clip(picture, 0, 255).astype(np.uint8)
            data = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=90)
            (folder / f"{i:04}.jpg").write_bytes(data)
    return image_dir


class WebServer:
    """Serves `files` over HTTP on loopback, with the faults that a test sets.

    Attributes:
      files: path, as "/a.tgz" -> content, or a function of the request's handler that
        answers; what is not here is 404.
      headers: path -> more headers of its answers.
      takes_ranges: whether a Range header is obeyed.
      break_after: for each of the next answers, after how many bytes of content the
        connection breaks.
      statuses: the status of each of the next answers, with an empty body.
      requests: (path, Range header or None) of every request so far.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.files: dict[str, bytes | Callable[[BaseHTTPRequestHandler], None]] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.takes_ranges = True
        self.break_after: list[int] = []
        self.statuses: list[int] = []
        self.requests: list[tuple[str, str | None]] = []
        self._scheme = "http"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:  # noqa: N802, the base class names it
                outer._answer(self)

            def log_message(self, *args: object) -> None:
                """Keeps the tests' output clean."""

        self._server = ThreadingHTTPServer((address, 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda request, address: None  # clients that leave
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def url(self, path: str = "") -> str:
        """Returns the URL of a path that begins with a slash."""
        host, port = self._server.server_address[:2]
        return f"{self._scheme}://{host!s}:{port}{path}"

    def wrap(self, context: ssl.SSLContext) -> None:
        """Speaks TLS from now on."""
        self._scheme = "https"
        # In each connection's thread, as a handshake may hang.
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )

    def close(self) -> None:
        """Stops to listen."""
        self._server.shutdown()
        self._thread.join(300)
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.requests.append((request.path, wanted))
        without_query = self.files.get(request.path.partition("?")[0])
        data = self.files.get(request.path, without_query)
        if callable(data):
            request.close_connection = True
            data(request)
            return
        status, start = (200, 0) if data is not None else (404, 0)
        if self.statuses:
            status, data = self.statuses.pop(0), None
        elif data is not None and wanted and self.takes_ranges:
            match = re.fullmatch(r"bytes=(\d+)-", wanted)
            start = int(match[1]) if match else 0
            status = 206 if start < len(data) else 416
        body = data[start:] if data is not None and status < 400 else b""
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        if data is not None and status == 206:
            request.send_header(
                "Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}"
            )
        for name, value in self.headers.get(request.path, {}).items():
            request.send_header(name, value)
        request.end_headers()
        if self.break_after and status < 400:
            body = body[: self.break_after.pop(0)]
            request.close_connection = True
        request.wfile.write(body)


@pytest.fixture
def web_server() -> Iterator[WebServer]:
    """A running `WebServer`."""
    running = WebServer()
    yield running
    running.close()


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder of a user that file modes bind; the test runs as that user."""
    with tempfile.TemporaryDirectory(prefix="poets-test-") as made:
        folder = Path(made)
        user = os.geteuid()
        if user == 0:
            os.chown(folder, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            os.seteuid(user)
            for path in (folder, *folder.rglob("*")):
                if path.is_dir():
                    path.chmod(0o700)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB; skipped where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, timeout=300, check=False)
    require("tmpfs", done.returncode == 0)
    yield folder
    subprocess.run(["umount", str(folder)], check=True, timeout=300)


@pytest.fixture
def closed_port() -> int:
    """A port of 127.0.0.1 without a listener."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]
