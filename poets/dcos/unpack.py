"""Unpacks untrusted archives safely.

Refused are names with `..`, absolute names, links that point outside the folder,
devices and pipes, and archives with too many bytes or entries. The folder changes only
if the whole archive is accepted.

The checks are our own: `tarfile`'s `data` filter came with Python 3.10.12 and 3.11.4
(Debian 12 has 3.11.2), `zipfile` has none, and neither limits the size.
"""

import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO

from poets.errors import ConfigError, StorageError

ARCHIVES = (".zip", ".tgz", ".tar.gz", ".tar", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")
"""The suffixes that the Mesos fetcher unpacks; it checks only the name's end."""

MAX_BYTES = 4 * 2**30
MAX_MEMBERS = 200_000
CHUNK_BYTES = 2**20

ZIP_KINDS = {
    0: "file",  # of a system without such modes
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
}
BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    LZMAError,
    EOFError,
    KeyError,  # a hard link to a missing member
    NotImplementedError,  # a compression method that zipfile does not support
    RuntimeError,  # an encrypted zip
    UnicodeError,
    ValueError,
)


@dataclass(frozen=True)
class Member:
    """One entry of an archive.

    Attributes:
      name: its path, as spelled in the archive.
      kind: `file`, `folder`, `link` (symbolic) or `other` (device, pipe).
      executable: whether a file is executable.
      open: opens a file's content.
      target: where a link points.
    """

    name: str
    kind: str
    executable: bool
    open: Callable[[], IO[bytes]]
    target: str = ""


def is_archive(name: str) -> bool:
    """Returns whether the Mesos fetcher would unpack a file of this name."""
    return name.endswith(ARCHIVES)


def unpack(
    archive: Path,
    folder: Path,
    max_bytes: int = MAX_BYTES,
    max_members: int = MAX_MEMBERS,
) -> None:
    """Unpacks a zip or tar archive into a folder.

    Args:
      archive: a file with one of the suffixes in `ARCHIVES`.
      folder: created if absent. Existing files of the same name are replaced.
      max_bytes: limit for the size of all files together.
      max_members: limit for the number of entries.

    Raises:
      ConfigError: if the archive is broken, too large, or has a member that would
        leave the folder. The folder is unchanged then.
      StorageError: if it cannot be read or the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=folder) as beside:
        try:
            _extract(_members(archive), Path(beside), max_bytes, max_members)
        except ConfigError as error:
            raise ConfigError(f"cannot unpack {archive.name!r}: {error}") from error
        except BROKEN as error:
            raise ConfigError(
                f"cannot unpack {archive.name!r}: {_finding(archive, error)}"
            ) from error
        except OSError as error:
            raise StorageError(
                f"cannot unpack {archive.name!r} into {str(folder)!r}: {error}"
            ) from error
        for entry in Path(beside).iterdir():
            _move(entry, folder / entry.name)


def _members(archive: Path) -> Iterator[Member]:
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                yield _zip_member(opened, info)
    else:
        with tarfile.open(archive) as opened_tar:
            for tar_info in opened_tar:
                yield _tar_member(opened_tar, tar_info)


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    mode = info.external_attr >> 16
    kind = "folder" if info.is_dir() else ZIP_KINDS.get(stat.S_IFMT(mode), "other")
    target = ""
    if kind == "link":
        with archive.open(info) as content:
            target = content.read(4096).decode()
    return Member(
        info.filename, kind, bool(mode & 0o111), lambda: archive.open(info), target
    )


def _tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    if info.isfile() or info.islnk():  # a hard link: the other member's content
        kind = "file"
    elif info.isdir():
        kind = "folder"
    else:
        kind = "link" if info.issym() else "other"

    def content() -> IO[bytes]:
        opened = archive.extractfile(info)
        if opened is None:
            raise KeyError(info.linkname)
        return opened

    return Member(info.name, kind, bool(info.mode & 0o111), content, info.linkname)


def _extract(
    members: Iterator[Member], folder: Path, max_bytes: int, max_members: int
) -> None:
    links: list[Member] = []
    left = max_bytes
    for count, member in enumerate(members, start=1):
        if count > max_members:
            raise ConfigError(f"more than {max_members:,} entries, which is refused")
        path = folder / _inside(member)
        if member.kind == "other":
            raise ConfigError(f"{member.name!r} is a device or a pipe")
        if member.kind == "folder":
            path.mkdir(parents=True, exist_ok=True)
        elif member.kind == "link":
            links.append(member)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            left = _write(member, path, left, max_bytes)
    _make_links(links, folder)


def _inside(member: Member) -> PurePosixPath:
    """Returns the member's relative path; refuses a path that leaves the folder."""
    name = member.name.replace("\\", "/")
    path = PurePosixPath(name)
    if (
        path.is_absolute()
        or ".." in path.parts
        or (path.parts and ":" in path.parts[0])
    ):
        raise ConfigError(f"{member.name!r} would leave the sandbox")
    if "\0" in name:
        raise ConfigError(f"{member.name!r} is not a file name")
    return path


def _write(member: Member, path: Path, left: int, max_bytes: int) -> int:
    path.unlink(missing_ok=True)
    with member.open() as source, path.open("xb") as sink:
        while chunk := source.read(CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                raise ConfigError(
                    f"unpacks to more than {max_bytes:,} bytes, which is refused"
                )
            sink.write(chunk)
    path.chmod(0o755 if member.executable else 0o644)
    return left


def _make_links(links: list[Member], folder: Path) -> None:
    """Makes the links of an archive, last, so that no file is written through one."""
    for link in links:
        path = folder / _inside(link)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or path.exists():
            raise ConfigError(f"{link.name!r} occurs twice, once as a link")
        path.symlink_to(link.target)
    root = os.path.realpath(folder)
    for link in links:
        end = os.path.realpath(folder / _inside(link))
        if os.path.isabs(link.target) or os.path.commonpath([root, end]) != root:
            raise ConfigError(
                f"link {link.name!r} points to {link.target!r}, outside the sandbox"
            )


def _move(entry: Path, place: Path) -> None:
    if entry.is_dir() and not entry.is_symlink() and place.is_dir():
        for inner in entry.iterdir():
            _move(inner, place / inner.name)
        return
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    os.replace(entry, place)


def _finding(archive: Path, error: Exception) -> str:
    with archive.open("rb") as opened:
        start = opened.read(64)
    if start.lstrip()[:1] == b"<":
        return f"it is a web page, found {start[:32]!r}; give the archive's own address"
    if not start:
        return "it is empty"
    return f"the archive is broken ({error})"
