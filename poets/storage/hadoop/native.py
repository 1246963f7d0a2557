"""HDFS through hdfs-native: `hdfs://` and `viewfs://` without a JVM.

One client serves all threads of a process. A small file takes one request to the
NameNode and one to a DataNode. A client inherited over a fork would block for ever, so
each process has its own. A forked process waits three seconds before it makes one:
until then the library would reuse its parent's idle connections to DataNodes.
"""

import errno
import os
import posixpath
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import hdfs_native
import pyarrow.fs

from poets.errors import ConfigError, NotAuthenticatedError
from poets.kerberos.libkrb5 import Login, get_tgt
from poets.kerberos.login import current_login
from poets.kerberos.tokens import Token
from poets.storage import system_error
from poets.storage.backend import Backend, Status
from poets.storage.hadoop.client_conf import (
    AUTHENTICATION,
    client_conf,
    kerberos_is_on,
    modes,
    replication,
)
from poets.storage.hadoop.conf import HadoopConf, load_conf
from poets.storage.hadoop.errors import (
    Situation,
    closed_text,
    is_closed_at_once,
    translated,
)
from poets.storage.hadoop.tokens import addressed, rpc_token, token_file, why_none
from poets.storage.hadoop.url import Location, locate
from poets.storage.hadoop.user import PROXY_USER, USER, User, current_user
from poets.storage.handler import file_system
from poets.storage.streams import Reader, Writer

CLOSED_AT_ONCE = 3  # in a row, with no other answer ever: a rejection
DEFAULT_REPLICATION = 3  # Hadoop's
KDC_TIMEOUT_S = 5.0
REUSE_S = 3.5  # hdfs-native reuses an idle connection to a DataNode for 3 s
MIN_BLOCK_BYTES = 1 << 20  # the NameNode's; block sizes are multiples of it

_backends: dict[tuple[object, ...], "HdfsBackend"] = {}
_forked_s = -REUSE_S  # when this process was forked, by the monotonic clock
os.register_at_fork(after_in_child=lambda: globals().update(_forked_s=time.monotonic()))


def connect(url: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """Returns the file system of a cluster and the path of `url` in it.

    Raises:
      StorageError: if the configuration lacks what the URL needs.
      ConfigError: if a user name is needed and there is none, if a proxy user is set
        without Kerberos, or if the file of delegation tokens cannot be read.
      NotAuthenticatedError: if keytab, principal or delegation token cannot be used.
    """
    conf, login = load_conf(), current_login()
    token = rpc_token(url, conf)
    with_kerberos = kerberos_is_on(conf, with_login=bool(token or login))
    user = current_user(login, with_kerberos, token)
    if user.acts_for and not with_kerberos:  # the client would ignore the proxy user
        raise ConfigError(
            f"cannot act for {user.acts_for!r} ({PROXY_USER}): hdfs:// does that with "
            f"Kerberos only, and {AUTHENTICATION} is not 'kerberos'; give the "
            "cluster's configuration with --hadoop_conf, or, if it trusts any name, "
            f"set {USER}={user.acts_for} and unset {PROXY_USER}"
        )
    location = locate(url, conf, user.home)
    # `id` is safe: configurations are never freed.
    key = (location.root, id(conf), user, token, login)
    if key not in _backends:
        for other in [other for other in _backends if other[-1] != login]:
            _backends.pop(other, None)  # its connections close with its last reference
        _backends.setdefault(key, HdfsBackend(location, conf, user, login, token))
    return file_system(_backends[key]), location.path


class HdfsBackend(Backend):
    """The requests to one cluster, through hdfs-native."""

    type_name = "hdfs"

    def __init__(
        self,
        location: Location,
        conf: HadoopConf,
        user: User,
        login: Login | None,
        token: Token | None,
    ) -> None:
        self.root = location.root
        self._login, self._token, self._made_by = login, token, os.getpid()
        self._client_root, links = addressed(location, conf)
        with_login = login is not None or token is not None
        self._conf = client_conf(conf, location, with_login) | links
        self._replication = replication(conf)
        self._file_mode, self._folder_mode = modes(conf)
        self._situation = Situation(
            who=user,
            authority=" or ".join(location.name_nodes) or location.root,
            kerberos=kerberos_is_on(self._conf),
            protection=self._conf.get("dfs.data.transfer.protection"),
            sources=conf.sources,
            token_file=token_file() if token else None,
        )
        self._hadoop_conf = conf
        self._clients: dict[int, hdfs_native.Client] = {}  # by process id
        self._answered, self._closed_at_once = False, 0

    def read(self, path: str) -> bytes:
        """Returns a file's content: one request for the blocks' list, one for each."""
        reader = self._open(path)
        data = reader.read_range(0, reader.size)
        self._check_length(path, len(data))
        return data

    def _check_length(self, path: str, length: int) -> None:
        """Raises ConnectionRefusedError if the last block is missing from the length.

        A file may be closed before the NameNode knows that its last block is complete
        (`dfs.namenode.file.close.num-committed-allowed`). This client then silently
        reads a block less. Only a length of whole blocks needs the extra request.
        """
        if length % MIN_BLOCK_BYTES:
            return
        listed = self.status(path).size
        if listed != length:
            raise ConnectionRefusedError(
                errno.EAGAIN,
                f"the NameNode does not know yet that its last block is complete: "
                f"{length} of {listed} bytes can be read; wait",
                self.root + path,
            )

    def reader(self, path: str) -> Reader:
        reader = self._open(path)
        self._check_length(path, reader.size)
        return reader

    def _open(self, path: str) -> Reader:
        with self.errors(path):
            file = self.client().read(path)
        return Reader(len(file), self.errors(path, of_data=True)(file.read_range))

    def writer(self, path: str) -> Writer:
        return self._create(path, self._replication)

    def write(self, path: str, data: bytes) -> None:
        """Writes the whole file, or none of it, even if a DataNode is lost.

        The client gives up if it cannot reach one of the file's DataNodes, and the
        NameNode keeps choosing a lost one for minutes. A single replica soon gets a
        DataNode that works; the NameNode makes the others.
        """
        try:
            super().write(path, data)
        except ConnectionRefusedError:  # by the NameNode
            raise
        except ConnectionError:
            self._write(self._create(path, replication=1), data)
            with self.errors(path):
                wanted = self._replication or DEFAULT_REPLICATION
                self.client().set_replication(path, wanted)

    def _create(self, path: str, replication: int | None) -> Writer:
        options = hdfs_native.WriteOptions(
            replication=replication,
            permission=self._file_mode,
            overwrite=True,
            create_parent=False,
        )
        with self.errors(path):
            file = self.client().create(path, options)

        def discard() -> None:
            with suppress(Exception):
                self.client().delete(path, False)

        translate = self.errors(path, of_data=True)
        return Writer(translate(file.write), translate(file.close), discard)

    def status(self, path: str) -> Status:
        with self.errors(path):
            return _status_of(path, self.client().get_file_info(path))

    def listing(self, folder: str) -> list[Status]:
        with self.errors(folder):
            found = list(self.client().list_status(folder, False))
        if len(found) == 1 and found[0].path == folder:  # a file lists itself
            raise system_error(errno.ENOTDIR, self.root + folder)
        return [
            _status_of(posixpath.join(folder, posixpath.basename(status.path)), status)
            for status in found
        ]

    def make_folder(self, path: str, parents: bool) -> None:
        with self.errors(path):
            self.client().mkdirs(path, self._folder_mode, parents)

    def delete(self, path: str, recursive: bool) -> None:
        with self.errors(path):
            if not self.client().delete(path, recursive):
                raise FileNotFoundError

    def rename(self, source: str, target: str, overwrite: bool) -> None:
        with self.errors(target):
            self.client().rename(source, target, overwrite)

    def client(self) -> hdfs_native.Client:
        """Returns this process's client."""
        found = self._clients.get(os.getpid())
        return found or self._clients.setdefault(os.getpid(), self._new_client())

    def _new_client(self) -> hdfs_native.Client:
        if (pause_s := _forked_s + REUSE_S - time.monotonic()) > 0:
            time.sleep(pause_s)
        given = {}
        # A forked process has its own tickets.
        login = self._login if os.getpid() == self._made_by else current_login()
        # The client looks for a delegation token only without these.
        if login and login.principal:
            given = {
                "kerberos_principal": login.principal,
                "kerberos_keytab": login.keytab,
                "kerberos_cache": login.cache,
            }
        # os.devnull as its folder: it reads no configuration besides `_conf`.
        return hdfs_native.Client(self._client_root, self._conf, os.devnull, **given)

    @contextmanager
    def errors(self, path: str, of_data: bool = False) -> Iterator[None]:
        """Translates what the client raises into built-ins.

        Args:
          of_data: whether the request goes to a DataNode.
        """
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a Rust panic is not an Exception
            raise self._translated(error, self.root + path, of_data) from error
        self._answered = True

    def _translated(self, error: BaseException, url: str, of_data: bool) -> OSError:
        if self._answered or not is_closed_at_once(error):
            self._closed_at_once = 0
            found = translated(error, url, self._situation, of_data)
            if isinstance(found, NotAuthenticatedError):
                return self._explained(found, url)
            return found
        self._closed_at_once += 1
        if self._closed_at_once < CLOSED_AT_ONCE and self._situation.kerberos:
            return translated(error, url, self._situation, of_data)
        text = closed_text(error, self._situation)
        return NotAuthenticatedError(errno.EACCES, text, url)

    def _explained(self, error: OSError, url: str) -> OSError:
        """Returns the error with a reason found in the token or ticket, if any."""
        try:
            if self._token is not None:
                rpc_token(self.root, self._hadoop_conf)
            elif self._situation.kerberos:
                get_tgt(self._login, KDC_TIMEOUT_S)
            why = "" if self._token else why_none(self.root, self._hadoop_conf)
        except (ConfigError, NotAuthenticatedError) as cause:
            text = getattr(cause, "strerror", None) or str(cause)
            return NotAuthenticatedError(errno.EACCES, text, url)
        text = f"{why}; {error.strerror}"
        return NotAuthenticatedError(errno.EACCES, text, url) if why else error


def _status_of(path: str, status: hdfs_native.FileStatus) -> Status:
    return Status(
        path,
        status.isdir,
        status.length,
        status.modification_time,
        status.owner,
        status.group,
        status.permission & 0o1777,
        status.replication or 0,
    )
