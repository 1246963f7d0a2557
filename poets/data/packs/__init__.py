"""Packs: many pictures in few large files, in the forms of the table KINDS.

    packs/train-00000-of-00012.parquet ──> Reader.members()      names, labels, places
                                       ──> Reader.read(places)   the pictures of a block

A picture in a pack has the path that it has in a labelled folder (`packs.listing`), so
that the split, the feature store and the report are the same. Beside the path it has a
`Place`. Places of one block are read together: a row group, or some megabytes of the
file. `poets.data.source` reads the blocks, the next one ahead.

Each module of KINDS has a class `Reader`; tar and parquet also have `write`. They never
import each other.
"""

import contextlib
import importlib
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple, Protocol

import pyarrow as pa

from poets.data.image_files import ImageError
from poets.errors import PoetsError, first_line
from poets.storage.tree import Place

KINDS = {  # suffix -> module
    ".parquet": "poets.data.packs.parquet",
    ".tar": "poets.data.packs.tar",
    ".tar.gz": "poets.data.packs.tar",
    ".tgz": "poets.data.packs.tar",
    ".zip": "poets.data.packs.zip",
    ".tfrecord": "poets.data.packs.tfrecord",
    ".tfrecords": "poets.data.packs.tfrecord",
}

BLOCK_BYTES = 4 * 2**20
"""Size of a block where the form has none: 4 ms of a 10 Gbit/s network."""

COMPRESSION = 200
"""Pictures hardly shrink: a pack that grows this many times is a bomb."""

OURS = "poets.pack"
"""Key in the metadata of packs that `poets pack` wrote."""


class Pack(NamedTuple):
    """A pack of an image folder.

    Attributes:
      path: below `image_dir`; "" if `image_dir` is the pack.
      length: bytes; with another length it is another pack.
      mtime_ns: as `Image.mtime_ns`.
    """

    path: str
    length: int
    mtime_ns: int = 0


class Member(NamedTuple):
    """A picture in a pack, or another file.

    Attributes:
      name: as the pack has it; "" if it has none.
      label: None if the picture's folder is its label.
      length: bytes of the content, 0 if the pack does not say.
      mtime_ns: as `Image.mtime_ns`; 0 if it is the pack's.
      block: the number of its block.
      start: the byte or the row at which it begins.
      size: bytes that it takes in the pack.
      problem: why it cannot be used, and its place; "" if it can.
    """

    name: str
    label: str | None
    length: int
    mtime_ns: int
    block: int
    start: int
    size: int
    problem: str = ""


class PackError(ValueError):
    """A pack is damaged, or not what its name says; the message is the reason."""


class Reader(Protocol):
    """An open pack, for one thread at a time.

    Attributes:
      ours: whether `poets pack` wrote it, so that names are whole paths; known after
        `members`.
    """

    ours: bool

    def __init__(self, file: pa.NativeFile, name: str) -> None:
        """Opens a pack; raises PackError if it is damaged.

        Args:
          file: for reading any part.
          name: of the pack, whose suffix may say how it is compressed.
        """

    def members(self) -> Iterator[Member]:
        """Yields what is in the pack, in its order.

        Raises:
          PackError: if it is damaged, cut short or encrypted.
          OSError: as the storage reports it.
        """

    def read(self, places: Sequence[Place]) -> Iterator[bytes | ImageError]:
        """Yields the pictures at places of one block; ImageError for a damaged one.

        Args:
          places: in the pack's order; one or more.

        Raises:
          PackError: if the whole block is damaged.
          OSError: as the storage reports it.
        """


Picture = tuple[str, str, int, bytes]
"""Path, label's folder, mtime_ns and content of a picture to be packed."""

Writer = Callable[[pa.NativeFile, Iterable[Picture], Sequence[str]], None]
"""The function `write` of a module of KINDS, whose packs its reader knows as ours.

It takes a file, which the caller closes, the pictures, and all folders of labels.
"""


def suffix_of_pack(path: str) -> str:
    """Returns the suffix in KINDS of a pack's name; "" for another file."""
    name = path.rpartition("/")[2].lower()
    _, dash, number = name.partition(".tfrecord-")  # as TFDS: 00000-of-00002 follows
    if dash and number.replace("-of-", "").isdecimal():
        return ".tfrecord"
    return max((suffix for suffix in KINDS if name.endswith(suffix)), default="")


def open_pack(file: pa.NativeFile, path: str) -> Reader:
    """Returns the reader of a pack, by its name; raises PackError if it is damaged."""
    try:
        module = importlib.import_module(KINDS[suffix_of_pack(path)])
    except ModuleNotFoundError as error:
        raise PackError(
            f"{error.name} is not installed; python -m pip install google-crc32c"
        ) from error
    reader: Reader = module.Reader(file, path)
    return reader


def writer_of(form: str) -> Writer:
    """Returns the writer of a form, "parquet" or "tar"."""
    writer: Writer = importlib.import_module(KINDS[f".{form}"]).write
    return writer


@contextlib.contextmanager
def damage() -> Iterator[None]:
    """Turns what decoders raise on damaged bytes into PackError.

    Errors of the storage pass: they have an errno, or are our own.
    """
    try:
        yield
    except (PackError, PoetsError):
        raise
    except OSError as error:
        if error.errno:
            raise
        raise PackError(first_line(error)[:200]) from error
    except (
        *(pa.ArrowException, tarfile.TarError, zipfile.BadZipFile, zlib.error),
        *(EOFError, ValueError, KeyError, TypeError, NotImplementedError),
    ) as error:
        raise PackError(first_line(error)[:200]) from error


def span(file: pa.NativeFile | BinaryIO, places: Sequence[Place]) -> bytes:
    """Returns the bytes from the first place to the end of the last, in one read.

    Raises:
      PackError: if they are not in the file.
      OSError: as the storage reports it.
    """
    start = places[0].start
    with damage():
        file.seek(start)
        return file.read(places[-1].start + places[-1].size - start)
