"""HDFS by Hadoop's own libhdfs and a JVM: `hdfs+libhdfs://`.

For those who have a Hadoop installation and need what only its client can do; the
other adapters need neither. pyarrow loads three things, once for each process:

    libjvm.so       from JAVA_HOME
    libhdfs.so      from ARROW_LIBHDFS_DIR, else HADOOP_HOME/lib/native
    Hadoop's jars   from CLASSPATH, else those below HADOOP_HOME/share/hadoop

The JVM reads the configuration and the ticket cache itself. It tells neither owners nor
permissions, and renames as `old_rename` describes.
"""

import contextlib
import errno
import os
import posixpath
import re
from collections.abc import Iterator
from glob import glob

import pyarrow.fs
from pyarrow.fs import FileSelector, FileType, HadoopFileSystem

from poets.errors import ConfigError, StorageError, together
from poets.kerberos.login import current_login
from poets.kerberos.tokens import TOKEN_FILE
from poets.storage.backend import Backend, Status
from poets.storage.hadoop.client_conf import replication
from poets.storage.hadoop.conf import HadoopConf, load_conf
from poets.storage.hadoop.old_rename import bring_back, refuse_target
from poets.storage.hadoop.tokens import rpc_token
from poets.storage.hadoop.url import locate
from poets.storage.handler import file_system, status_of
from poets.storage.streams import Reader, Writer

_DETAIL = re.compile(r"Detail: \[errno (\d+)\]")
_JARS = ("common", "common/lib", "hdfs", "hdfs/lib", "client")

_backends: dict[tuple[object, ...], "LibHdfs"] = {}
_jvm_process: int | None = None  # a JVM does not outlive a fork


def connect(url: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """Returns the file system of a cluster, as libhdfs has it, and the path of `url`.

    Raises:
      ConfigError: if something that has to be installed is not found.
      StorageError: if the configuration lacks what the URL needs, or the JVM cannot
        connect.
      NotAuthenticatedError: if keytab, principal or delegation token cannot be used.
    """
    global _jvm_process
    conf, login = load_conf(), current_login()
    token = rpc_token(url, conf)
    named = (token and token.owner) or (login and login.principal)
    user = named or os.environ.get("HADOOP_USER_NAME", "")
    location = locate(url, conf, re.split("[/@]", user)[0])
    key = (location.root, id(conf), login, os.getpid())
    if key not in _backends:
        if _jvm_process not in (None, os.getpid()):
            raise StorageError(
                f"cannot open {url!r}: this process was forked from one with a JVM, "
                "which cannot be used any more; start processes by spawn"
            )
        _prepare(url, conf)
        _jvm_process = os.getpid()
        if login is not None and login.principal:
            os.environ.pop(TOKEN_FILE, None)  # the JVM would prefer a token
        if login is not None and token is None:
            login.keep_fresh()  # the JVM gets no ticket itself
        authority = location.root.partition("://")[2]
        host, _, port = authority.rpartition(":")
        try:
            client = HadoopFileSystem(
                host or authority,
                int(port) if host else 0,
                replication=replication(conf) or 3,
            )
        except OSError as error:
            raise StorageError(
                f"cannot open {url!r}: {error}; libhdfs says more on stderr"
            ) from error
        _backends.setdefault(key, LibHdfs(location.root, client))
    return file_system(_backends[key]), location.path


def _prepare(url: str, conf: HadoopConf) -> None:
    """Sets the variables that the libraries read.

    Raises:
      ConfigError: names all that is missing.
    """
    environment, problems = os.environ, []
    home = environment.get("HADOOP_HOME", "")
    java = environment.get("JAVA_HOME", "")
    if not (java and glob(f"{java}/**/server/libjvm.so", recursive=True)):
        problems.append(
            f"no libjvm.so below JAVA_HOME, which is {java!r}; name there the folder "
            "of a Java that Hadoop runs with"
        )
    native = environment.get("ARROW_LIBHDFS_DIR") or f"{home}/lib/native"
    if not os.path.isfile(f"{native}/libhdfs.so"):
        problems.append(
            f"no libhdfs.so in {native!r}; name its folder in ARROW_LIBHDFS_DIR, or "
            "Hadoop's in HADOOP_HOME"
        )
    classes = _expanded(environment.get("CLASSPATH", "")) or [
        jar for name in _JARS for jar in glob(f"{home}/share/hadoop/{name}/*.jar")
    ]
    if not any(posixpath.basename(jar).startswith("hadoop-") for jar in classes):
        problems.append(
            f"no Hadoop jar in CLASSPATH or below HADOOP_HOME, which is {home!r}; set "
            "CLASSPATH to what `hadoop classpath --glob` prints"
        )
    folders = {os.path.dirname(source): None for source in conf.sources}
    if any("://" in folder for folder in folders):
        problems.append(
            f"the configuration is on the web ({', '.join(conf.sources)}), where the "
            "JVM does not find it; give a local folder by --hadoop_conf"
        )
    if problems:
        raise ConfigError(together(f"cannot open {url!r}", problems))
    environment["CLASSPATH"] = ":".join(dict.fromkeys([*folders, *classes]))
    options = environment.get("LIBHDFS_OPTS", "")
    krb5_conf = environment.get("KRB5_CONFIG")
    if krb5_conf and "java.security.krb5.conf" not in options:
        given = f"-Djava.security.krb5.conf={krb5_conf}"  # the JVM ignores the variable
        environment["LIBHDFS_OPTS"] = f"{options} {given}".strip()


def _expanded(class_path: str) -> list[str]:
    """Returns the entries of a class path; the JVM of libhdfs expands no "*"."""
    found = []
    for entry in filter(None, class_path.split(":")):
        found += sorted(glob(f"{entry}.jar")) if entry.endswith("/*") else [entry]
    return found


class LibHdfs(Backend):
    """The requests to one cluster, by libhdfs."""

    type_name = "hdfs+libhdfs"

    def __init__(self, root: str, client: HadoopFileSystem) -> None:
        self.root, self._client = f"hdfs+libhdfs{root.removeprefix('hdfs')}", client

    def status(self, path: str) -> Status:
        """Returns what is known of `path`; the forbidden is not taken for missing."""
        with self._errors(path):
            info = self._client.get_file_info(path)
            if info.type != FileType.NotFound:
                return status_of(info)
            # libhdfs says so of what it may not see as well. Opening it tells.
            try:
                self._client.open_input_stream(path).close()
            except PermissionError:
                if self._is_below_file(path):
                    raise NotADirectoryError(errno.ENOTDIR, "") from None
                raise
            raise FileNotFoundError(errno.ENOENT, "")

    def _is_below_file(self, path: str) -> bool:
        kind = FileType.NotFound
        while kind == FileType.NotFound and path != "/":
            path = posixpath.dirname(path)
            kind = self._client.get_file_info(path).type
        return kind == FileType.File

    def listing(self, folder: str) -> list[Status]:
        """Returns what is directly in a folder."""
        if not self.status(folder).is_folder:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self.root + folder)
        with self._errors(folder):
            return [
                status_of(info)
                for info in self._client.get_file_info(FileSelector(folder))
            ]

    def read(self, path: str) -> bytes:
        """Returns a file's content."""
        with self._errors(path), self._client.open_input_stream(path) as stream:
            return stream.read()

    def reader(self, path: str) -> Reader:
        """Opens a file to read parts of it."""
        with self._errors(path):
            return _Reader(self, path, self._client.open_input_file(path))

    def writer(self, path: str) -> Writer:
        """Makes a file, in place of another and in a folder that exists."""
        self.status(posixpath.dirname(path))  # it would be made
        with self._errors(path):
            return _Writer(self, path, self._client.open_output_stream(path))

    def make_folder(self, path: str, parents: bool) -> None:
        """Makes a folder; it may be there."""
        if not parents:
            self.status(posixpath.dirname(path))
        with self._errors(path):
            self._client.create_dir(path, recursive=True)

    def delete(self, path: str, recursive: bool) -> None:
        """Deletes a file or a folder."""
        is_folder = self.status(path).is_folder
        with self._errors(path):
            if is_folder and recursive:
                self._client.delete_dir(path)
            else:
                self._client.delete_file(path)

    def rename(self, source: str, target: str, overwrite: bool) -> None:
        """Renames; pyarrow deletes a file that is in the way first."""
        refuse_target(self, source, target, overwrite)
        self._move(source, target)
        bring_back(self, self._move, source, target)

    def _move(self, source: str, target: str) -> None:
        with self._errors(target):
            self._client.move(source, target)

    @contextlib.contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        """Gives pyarrow's errors their number, and the URL."""
        try:
            yield
        except OSError as error:
            match = _DETAIL.search(str(error))
            number = error.errno or (int(match[1]) if match else errno.EIO)
            text = os.strerror(number)
            if number == errno.EIO:
                text = f"libhdfs failed: {error}; it says more on stderr"
            if number == errno.ENOENT and self._is_folder(path):
                number, text = errno.EISDIR, os.strerror(errno.EISDIR)
            raise OSError(number, text, self.root + path) from error

    def _is_folder(self, path: str) -> bool:
        return self._client.get_file_info(path).type == FileType.Directory


class _Reader:
    """An open file."""

    def __init__(self, backend: LibHdfs, path: str, file: pyarrow.NativeFile) -> None:
        self._backend, self._path, self._file = backend, path, file
        self.size = file.size()

    def read_range(self, offset: int, length: int) -> bytes:
        """Returns `length` bytes from `offset` on."""
        with self._backend._errors(self._path):
            return self._file.read_at(length, offset)


class _Writer:
    """A file in the making."""

    def __init__(self, backend: LibHdfs, path: str, file: pyarrow.NativeFile) -> None:
        self._backend, self._path, self._file = backend, path, file

    def write(self, data: bytes) -> None:
        """Adds to the end."""
        with self._backend._errors(self._path):
            self._file.write(data)

    def close(self) -> None:
        """Ends the file."""
        with self._backend._errors(self._path):
            self._file.close()

    def abort(self) -> None:
        """Ends the file and deletes it."""
        for end in (self._file.close, lambda: self._backend.delete(self._path, False)):
            with contextlib.suppress(OSError):
                end()
