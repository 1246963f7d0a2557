"""The interface that an adapter for a storage implements: `Backend`.

Each method makes one request, without retries or a deadline, and raises the built-in
errors that `poets.errors` describes. `poets.storage.handler` adds the rest for all.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from poets.storage.streams import Reader, Writer


class Status(NamedTuple):
    """Metadata of a file or a folder.

    `mode` has nine permission bits (and perhaps the sticky bit); `size` and
    `replication` of a folder are 0; `mtime_ms` is 0 if the storage has no such time.
    Objects have neither owner nor mode.
    """

    path: str
    is_folder: bool
    size: int
    mtime_ms: int
    owner: str = ""
    group: str = ""
    mode: int = 0
    replication: int = 0
    has_acl: bool = False


@dataclass(frozen=True)
class Attributes:
    """What `hdfs dfs -ls` shows besides size and time; "?" marks an unknown value.

    `permissions` are nine characters such as "rw-r--r--"; `has_acl` is true if the file
    also has an access control list.
    """

    owner: str = "?"
    group: str = "?"
    permissions: str = "?????????"
    replication: int = 1
    has_acl: bool = False


class Backend(ABC):
    """The requests to one storage.

    Paths are absolute and taken verbatim. Errors show the URL `root + path`.
    `type_name` is the kind of file system, such as "hdfs".
    """

    type_name: str
    root: str

    @abstractmethod
    def status(self, path: str) -> Status:
        """Returns the metadata of `path`; raises FileNotFoundError."""

    @abstractmethod
    def listing(self, folder: str) -> list[Status]:
        """Returns the entries of a folder; raises NotADirectoryError."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Returns the content of a file, in as few requests as possible."""

    @abstractmethod
    def reader(self, path: str) -> Reader:
        """Opens a file for random access."""

    @abstractmethod
    def writer(self, path: str) -> Writer:
        """Creates or replaces a file; its folder must exist."""

    @abstractmethod
    def make_folder(self, path: str, parents: bool) -> None:
        """Creates a folder unless it exists."""

    @abstractmethod
    def delete(self, path: str, recursive: bool) -> None:
        """Deletes a file or a folder; raises FileNotFoundError."""

    @abstractmethod
    def rename(self, source: str, target: str, overwrite: bool) -> None:
        """Renames in one step; raises FileExistsError if the target exists.

        With `overwrite`, a file replaces a file. A folder is never moved into another
        one.
        """

    def write(self, path: str, data: bytes) -> None:
        """Writes the whole file, or none of it."""
        self._write(self.writer(path), data)

    def _write(self, writer: Writer, data: bytes) -> None:
        try:
            writer.write(data)
            writer.close()
        except BaseException:
            writer.abort()
            raise
