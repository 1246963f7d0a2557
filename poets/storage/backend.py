"""The requests to one storage, each as its client makes it: what an adapter writes.

One request per method, no retry, no deadline, and errors as the built-ins that
`poets.errors` describes; what all share is `poets.storage.handler`'s.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

from poets.storage.streams import Reader, Writer


class Status(NamedTuple):
    """What a storage knows of a file or a folder.

    `mode` has nine permission bits (and perhaps the sticky bit); `size` and
    `replication` of a folder are 0.
    """

    path: str
    is_folder: bool
    size: int
    mtime_ms: int
    owner: str
    group: str
    mode: int
    replication: int
    has_acl: bool = False


class Attributes(NamedTuple):
    """What `hdfs dfs -ls` tells besides size and time; permissions as "rw-r--r--"."""

    owner: str
    group: str
    permissions: str
    replication: int
    has_acl: bool


class Backend(ABC):
    """The requests to one server, each as its client makes it.

    Paths are absolute and taken verbatim. `root` and a path make the URL that errors
    tell. `type_name` names the kind of file system.
    """

    type_name: str
    root: str

    @abstractmethod
    def status(self, path: str) -> Status:
        """Returns what is known of `path`; raises FileNotFoundError."""

    @abstractmethod
    def listing(self, folder: str) -> list[Status]:
        """Returns what is directly in a folder; raises NotADirectoryError."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Returns the content of a file, by as few requests as can be."""

    @abstractmethod
    def reader(self, path: str) -> Reader:
        """Opens a file to read parts of it."""

    @abstractmethod
    def writer(self, path: str) -> Writer:
        """Makes a file, in place of another and in a folder that exists."""

    @abstractmethod
    def make_folder(self, path: str, parents: bool) -> None:
        """Makes a folder; it may be there."""

    @abstractmethod
    def delete(self, path: str, recursive: bool) -> None:
        """Deletes a file or a folder; raises FileNotFoundError."""

    @abstractmethod
    def rename(self, source: str, target: str, overwrite: bool) -> None:
        """Renames at once; raises FileExistsError, with `overwrite` for folders only.

        A folder is never moved into an existing one.
        """

    def write(self, path: str, data: bytes) -> None:
        """Writes a file whole, or not at all."""
        self._write(self.writer(path), data)

    def _write(self, writer: Writer, data: bytes) -> None:
        try:
            writer.write(data)
            writer.close()
        except BaseException:
            writer.abort()
            raise
