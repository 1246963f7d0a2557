"""A storage far away: `far:///tmp/x` is the folder /tmp/x behind a slow network.

It is a `PyFileSystem`, as the adapters of HDFS are, and real files lie behind it, so
tests look at what was written. The environment sets what it does, and child processes
inherit it; they find the scheme `far` by the `sitecustomize` of the fixture.

    FAR_LATENCY_S   what every request takes
    FAR_FAULTS      a JSON file: {part of a path: name of a built-in exception}
    FAR_LOG         a file that gets a line for every request: what, path
    FAR_SPANS       a file that gets a line for every request: begin, end, in seconds
"""

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.fs
import pytest

from poets import storage
from poets.errors import NotAuthenticatedError
from poets.storage.backend import Attributes
from poets.storage.handler import status_of

KINDS = {
    "ConnectionError": (ConnectionError, errno.ECONNREFUSED, "nobody answers"),
    "TimeoutError": (TimeoutError, errno.ETIMEDOUT, "no answer within 120 s"),
    "NotAuthenticatedError": (NotAuthenticatedError, errno.EACCES, "no ticket"),
    "PermissionError": (PermissionError, errno.EACCES, "Permission denied"),
    "FileNotFoundError": (FileNotFoundError, errno.ENOENT, os.strerror(errno.ENOENT)),
}
SITE = """
import poets.storage
poets.storage.ADAPTERS["far"] = ("tests.far", None)
"""


class Handler(pyarrow.fs.FileSystemHandler):
    """The local file system, late and faulty."""

    def __init__(self):
        self.local = pyarrow.fs.LocalFileSystem()

    def __eq__(self, other):
        return isinstance(other, Handler)

    def request(self, what, path):
        """Waits, fails or is logged, as the environment says."""
        begin_s = time.monotonic()  # one clock for all processes
        time.sleep(float(os.environ.get("FAR_LATENCY_S", 0)))
        if spans := os.environ.get("FAR_SPANS"):
            with open(spans, "a") as file:
                file.write(f"{begin_s} {time.monotonic()}\n")
        if log := os.environ.get("FAR_LOG"):
            with open(log, "a") as file:
                file.write(f"{what} {path}\n")
        if faults := os.environ.get("FAR_FAULTS"):
            for part, name in json.loads(Path(faults).read_text()).items():
                if part in f"{what} {path}":
                    kind, number, text = KINDS[name]
                    raise kind(number, text, f"far://{path}")

    def read_bytes(self, path):
        self.request("read", path)
        return Path(path).read_bytes()

    def write_bytes(self, path, data):
        self.request("write", path)
        Path(path).write_bytes(data)

    def rename(self, source, target, overwrite):
        self.request("rename", target)
        if not overwrite and os.path.exists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        os.replace(source, target)

    def attributes(self, folder):
        self.request("attributes", folder)
        found = Attributes("tensorflow", "supergroup", "rwxr-x---", 3, True)
        return dict.fromkeys(os.listdir(folder), found)

    def get_type_name(self):
        return "far"

    def normalize_path(self, path):
        return path

    def get_file_info(self, paths):
        return [self._info("status", path) for path in paths]

    def get_file_info_selector(self, selector):
        self.request("list", selector.base_dir)
        infos = self.local.get_file_info(selector)
        return [_in_milliseconds(info) for info in infos]

    def walk(self, folder, enters=None, forbidden=None):
        """One request for all of it, as an object store's."""
        selector = pyarrow.fs.FileSelector(folder, recursive=True)
        return map(status_of, self.get_file_info_selector(selector))

    def _info(self, what, path):
        self.request(what, path)
        return _in_milliseconds(self.local.get_file_info(path))

    def create_dir(self, path, recursive):
        self.request("mkdir", path)
        self.local.create_dir(path, recursive=recursive)

    def delete_dir(self, path):
        self.request("delete", path)
        shutil.rmtree(path)

    def delete_dir_contents(self, path, missing_dir_ok=False):
        raise NotImplementedError

    def delete_root_dir_contents(self):
        raise NotImplementedError

    def delete_file(self, path):
        self.request("delete", path)
        os.unlink(path)

    def move(self, src, dest):
        self.rename(src, dest, overwrite=False)

    def copy_file(self, src, dest):
        raise NotImplementedError

    def open_input_stream(self, path):
        self.request("open", path)
        return pa.PythonFile(open(path, "rb"), mode="r")  # noqa: SIM115

    def open_input_file(self, path):
        self.request("open", path)
        return pa.PythonFile(_Ranges(self, path), mode="r")

    def open_output_stream(self, path, metadata):
        self.request("write", path)
        return pa.PythonFile(open(path, "wb"), mode="w")  # noqa: SIM115

    def open_append_stream(self, path, metadata):
        raise NotImplementedError("append is not supported")


class _Ranges:
    """An open file; every range of it is a request."""

    def __init__(self, handler, path):
        self.handler, self.path = handler, path
        self.file = open(path, "rb")  # noqa: SIM115
        self.closed = False

    def read(self, size=-1):
        self.handler.request("range", self.path)
        return self.file.read(size)

    def seek(self, offset, whence=0):
        return self.file.seek(offset, whence)

    def tell(self):
        return self.file.tell()

    def size(self):
        return os.fstat(self.file.fileno()).st_size

    def readable(self):
        return True

    def seekable(self):
        return True

    def writable(self):
        return False

    def flush(self):
        pass

    def close(self):
        self.closed = True
        self.file.close()


def _in_milliseconds(info):
    """HDFS keeps times no finer."""
    mtime = info.mtime and datetime.fromtimestamp(
        info.mtime_ns // 10**6 / 1000, timezone.utc
    )
    return pyarrow.fs.FileInfo(info.path, info.type, mtime=mtime, size=info.size)


def connect(url):
    """Returns the file system and the path of a URL, as adapters do."""
    return pyarrow.fs.PyFileSystem(Handler()), url.removeprefix("far://") or "/"


class Far:
    """How a test sets what the storage does."""

    def __init__(self, folder, monkeypatch):
        self._folder = folder
        self._monkeypatch = monkeypatch
        self._set = {}

    def url(self, path):
        """Returns the URL of a local path."""
        return f"far://{path}"

    def wait(self, latency_s):
        """Has every request take so long."""
        self._monkeypatch.setenv("FAR_LATENCY_S", str(latency_s))

    def fail(self, faults):
        """Has requests fail from now on, in children too: {part of path: kind}."""
        path = self._folder / "faults.json"
        (self._folder / "new").write_text(json.dumps(faults))
        os.replace(self._folder / "new", path)
        self._monkeypatch.setenv("FAR_FAULTS", str(path))

    @contextlib.contextmanager
    def at_once(self, least):
        """Fails unless at some moment of the body so many requests were in flight."""
        path = self._folder / "spans"
        path.write_text("")
        self._monkeypatch.setenv("FAR_SPANS", str(path))
        yield
        self._monkeypatch.delenv("FAR_SPANS")
        spans = [
            tuple(map(float, line.split())) for line in path.read_text().splitlines()
        ]
        moments = sorted([(at, 1) for at, _ in spans] + [(at, -1) for _, at in spans])
        assert max(accumulate(step for _, step in moments)) >= least

    def log(self):
        """Returns the requests since the last call, and has them logged from now."""
        path = self._folder / "log"
        found = path.read_text().splitlines() if path.exists() else []
        path.write_text("")
        self._monkeypatch.setenv("FAR_LOG", str(path))
        return found


@contextlib.contextmanager
def far_storage(folder: Path) -> Iterator[Far]:
    """Gives the scheme `far`, here and in processes started in the body."""
    (folder / "sitecustomize.py").write_text(SITE)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setitem(storage.ADAPTERS, "far", ("tests.far", None))
        for name in ("FAR_LATENCY_S", "FAR_FAULTS", "FAR_LOG", "FAR_SPANS"):
            monkeypatch.delenv(name, raising=False)
        yield Far(folder, monkeypatch)


@pytest.fixture(name="far_storage", scope="session")
def _far_storage() -> Callable[..., contextlib.AbstractContextManager[Far]]:
    return far_storage


@pytest.fixture
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    """The scheme `far`, as long as the test runs."""
    with far_storage(tmp_path_factory.mktemp("far")) as given:
        yield given
