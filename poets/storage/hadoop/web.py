"""HDFS through its web interface: `webhdfs://`, with TLS `swebhdfs://`, and HttpFS.

    webhdfs://host/p           http://host:9870, see `poets.storage.hadoop.url`
    swebhdfs://host/p          https://host:9871
    webhdfs://host:14000/p     HttpFS, which has the same interface

Kerberos is used if the configuration or the login has it, otherwise the user's name.
Both may act for another user (`doas`). HttpFS ignores the options of a rename, so a
file is replaced in two steps there.
"""

import contextlib
import errno
import os
import posixpath
import threading
from collections.abc import Iterator
from functools import partial
from queue import Full, Queue

import pyarrow.fs

from poets.errors import PoetsError, StorageError
from poets.kerberos.login import current_login
from poets.kerberos.tokens import Token
from poets.storage import system_error
from poets.storage.backend import Backend, Status
from poets.storage.hadoop.client_conf import kerberos_is_on, modes, replication
from poets.storage.hadoop.conf import HadoopConf, load_conf
from poets.storage.hadoop.errors import Situation
from poets.storage.hadoop.old_rename import bring_back, refuse_target
from poets.storage.hadoop.tokens import token_file, web_token
from poets.storage.hadoop.url import locate, web_addresses, web_root
from poets.storage.hadoop.user import current_user
from poets.storage.hadoop.web_client import Client
from poets.storage.handler import file_system
from poets.storage.streams import Reader, Writer

CA_VARIABLES = ("POETS_CA_FILE", "REQUESTS_CA_BUNDLE")  # the first that is set

_backends: dict[tuple[object, ...], "WebHdfs"] = {}


def _renew() -> None:
    for backend in _backends.values():
        backend.client.renew()


os.register_at_fork(after_in_child=_renew)


def connect(url: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """Returns the file system of a cluster's web interface, and the path of `url`.

    Raises:
      StorageError: if the URL or the configuration does not name a web interface, or
        the file of POETS_CA_FILE or REQUESTS_CA_BUNDLE is missing.
      ConfigError: if a user name is needed and there is none, or if the file of
        delegation tokens cannot be read.
      NotAuthenticatedError: if keytab, principal or delegation token cannot be used.
    """
    conf, login = load_conf(), current_login()
    addresses = web_addresses(url, conf)
    token = web_token(addresses, url, conf)
    with_kerberos = bool(token or login) or kerberos_is_on(conf)
    user = current_user(login, with_kerberos, token)
    location = locate(url, conf, user.home)
    root = web_root(url, addresses, location.root)
    ca_file = _ca_file(url)
    # `id` is safe: configurations are never freed.
    key = (root, id(conf), token, user, ca_file, login)
    if key not in _backends:
        for other in [other for other in _backends if other[-1] != login]:
            _backends.pop(other, None)  # its connections close with its last reference
        situation = Situation(
            who=user,
            authority=" or ".join(addresses),
            kerberos=with_kerberos,
            protection=conf.get("dfs.data.transfer.protection"),
            sources=conf.sources,
            token_file=token_file() if token else None,
        )
        newest = partial(_newest, token, addresses, url, conf) if token else None
        client = Client(addresses, newest, ca_file, situation)
        _backends.setdefault(key, WebHdfs(root, client, conf))
    return file_system(_backends[key]), location.path


def _ca_file(url: str) -> str | None:
    """Returns the file of the certificates to trust; None for the usual ones."""
    variable = next(filter(os.environ.get, CA_VARIABLES), "")
    path = os.environ.get(variable)
    if path and not os.path.exists(path):
        raise StorageError(
            f"cannot open {url!r}: there is no file {path!r}; correct {variable}"
        )
    return path


def _newest(token: Token, addresses: list[str], url: str, conf: HadoopConf) -> str:
    """Returns the token for a request; a newer one if the file has it."""
    with contextlib.suppress(PoetsError):
        token = web_token(addresses, url, conf) or token
    return token.url_text()


class WebHdfs(Backend):
    """The requests to one cluster's web interface."""

    type_name = "webhdfs"

    def __init__(self, root: str, client: Client, conf: HadoopConf) -> None:
        self.root, self.client = root, client
        file_mode, folder_mode = modes(conf)
        self._file = {"permission": f"{file_mode:o}", "replication": replication(conf)}
        self._folder = {"permission": f"{folder_mode:o}"}

    def status(self, path: str) -> Status:
        with self.client.errors(self.root + path):
            found = self.client._get_file_status(path).json()["FileStatus"]
            return _status_of(path, found)

    def listing(self, folder: str) -> list[Status]:
        with self.client.errors(self.root + folder):
            answer = self.client._list_status(folder).json()
            found = answer["FileStatuses"]["FileStatus"]
            if len(found) == 1 and not found[0]["pathSuffix"]:
                raise system_error(errno.ENOTDIR, self.root + folder)
            return [
                _status_of(posixpath.join(folder, each["pathSuffix"]), each)
                for each in found
            ]

    def read(self, path: str) -> bytes:
        with self.client.errors(self.root + path):
            return self.client.read(path)

    def reader(self, path: str) -> Reader:
        """Opens a file for random access: gets its size."""
        status = self.status(path)
        if status.is_folder:
            raise system_error(errno.EISDIR, self.root + path)

        def read_range(offset: int, length: int) -> bytes:
            with self.client.errors(self.root + path):
                data = self.client.read(path, offset, length)
                if len(data) != length:
                    text = f"{len(data)} bytes came where {length} were asked for"
                    raise ConnectionError(errno.EIO, text)
                return data

        return Reader(status.size, read_range)

    def writer(self, path: str) -> Writer:
        """Creates an empty file, and uploads another in its place."""
        self.write(path, b"")
        upload = _Upload(self, path)
        return Writer(upload.write, upload.close, upload.abort)

    def write(self, path: str, data: bytes) -> None:
        """Writes the whole file, or none of it."""
        try:
            self.send(path, data)
        except OSError as error:
            if type(error) not in (ConnectionError, OSError):
                raise  # nothing was written
            with contextlib.suppress(ConnectionError):
                if data:  # the answer may be lost while data is sent: ask again
                    self.send(path, b"")
            self.discard(path)
            raise

    def send(self, path: str, data: bytes | Iterator[bytes]) -> None:
        """Creates or replaces a file."""
        with self.client.errors(self.root + path):
            self.client.write(path, data, createparent="false", **self._file)

    def discard(self, path: str) -> None:
        """Deletes a file if possible."""
        with contextlib.suppress(OSError):
            self.delete(path, recursive=False)

    def make_folder(self, path: str, parents: bool) -> None:
        """Creates a folder; the interface always creates its parents."""
        if not parents:
            self.status(posixpath.dirname(path))
        with self.client.errors(self.root + path):
            self.client._mkdirs(path, **self._folder)

    def delete(self, path: str, recursive: bool) -> None:
        with self.client.errors(self.root + path):
            answer = self.client._delete(path, recursive=str(recursive).lower())
            if not answer.json()["boolean"]:
                raise system_error(errno.ENOENT, self.root + path)

    def rename(self, source: str, target: str, overwrite: bool) -> None:
        """Renames in one step, except a file over another through HttpFS."""
        options = "OVERWRITE" if overwrite else "NONE"
        moved = self._rename(source, target, options)
        if moved is None:
            return
        if not moved and refuse_target(self, source, target, overwrite):
            self.delete(target, recursive=False)
            moved = self._rename(source, target, options)
        if not moved:
            raise OSError(errno.EIO, "the server did not rename it", self.root + target)
        bring_back(self, self._rename, source, target)

    def _rename(self, source: str, target: str, options: str = "NONE") -> bool | None:
        """Returns the answer of HttpFS, which ignores the options, or None."""
        with self.client.errors(self.root + target):
            answer = self.client._rename(
                source, destination=target, renameoptions=options
            )
            return answer.json()["boolean"] if answer.content else None


def _status_of(path: str, found: dict[str, str | int | bool]) -> Status:
    return Status(
        path=path,
        is_folder=found["type"] == "DIRECTORY",
        size=int(found["length"]),
        mtime_ms=int(found["modificationTime"]),
        owner=str(found["owner"]),
        group=str(found["group"]),
        mode=int(str(found["permission"]), 8),
        replication=int(found["replication"]),
        has_acl=bool(found.get("aclBit", False)),
    )


class _Upload:
    """A file that is being written: a thread uploads the parts.

    write ──> queue of one part ──> thread ──> one request, to a DataNode
    """

    def __init__(self, backend: WebHdfs, path: str) -> None:
        self._backend, self._path = backend, path
        self._parts: Queue[bytes | None] = Queue(1)
        self._written = 0
        self._failure: BaseException | None = None
        self._is_aborted = False
        self._thread = threading.Thread(target=self._send, name="upload", daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> None:
        """Adds to the end; waits while an earlier part is sent."""
        while self._thread.is_alive():
            try:
                self._parts.put(data, timeout=1)
            except Full:
                continue
            self._written += len(data)
            return
        raise self._failure or ConnectionError(errno.EIO, "the upload has ended")

    def close(self) -> None:
        """Waits until everything is sent, and checks that it arrived."""
        self._parts.put(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        size = self._backend.status(self._path).size
        if size != self._written:
            raise ConnectionError(
                errno.EIO,
                f"{self._written} bytes were sent and {size} are there",
                self._backend.root + self._path,
            )

    def abort(self) -> None:
        """Ends the request and deletes the file.

        It waits for the request: one that is cut off could be completed after the
        deletion.
        """
        self._is_aborted = True
        with contextlib.suppress(Full):  # the thread takes the part in the queue
            self._parts.put_nowait(None)
        self._thread.join()
        self._backend.discard(self._path)

    def _send(self) -> None:
        try:
            self._backend.send(self._path, self._taken())
        except BaseException as error:
            self._failure = error

    def _taken(self) -> Iterator[bytes]:
        while (part := self._parts.get()) is not None and not self._is_aborted:
            if part:  # an empty chunk would end the body
                yield part
