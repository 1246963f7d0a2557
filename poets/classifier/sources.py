"""Resolves the names of image files, each once, for `classify_files`.

rose.jpg               "/"                 data/rose.jpg   its length
hdfs://default/f/      "hdfs://default/"   f/1.jpg, ...    as listed
roses.tgz              "roses.tgz"         rose/1.jpg, ... as listed in the pack
http://host/rose.jpg   left as it is: it is downloaded first
"""

import os
import posixpath
from collections.abc import Sequence
from typing import NamedTuple

from pyarrow.fs import FileSystem, FileType

from poets.data.image_columns import Image
from poets.data.image_listing import ImageFiles
from poets.data.packs import suffix_of_pack
from poets.data.source import ImageSource
from poets.errors import ConfigError
from poets.storage import is_local, join, open_storage, scheme_of, storage_errors

WEB = ("http", "https")
HERE = ImageSource("/")


class Source(NamedTuple):
    """An image file.

    Attributes:
      name: as given, or as listed in a folder.
      source: the root of its storage ("/" for this machine), or its packs.
      image: its path below that, and its length, 0 if unknown.
    """

    name: str
    source: ImageSource
    image: Image


def find_sources(names: Sequence[str]) -> list[str | Source]:
    """Returns the images that a command names, and http(s) URLs as they are.

    For a folder, these are the images that a job with this `image_dir` would find.

    Raises:
      ConfigError: lists all names at which there is no image.
      StorageError: if a storage does not answer.
    """
    found: list[str | Source] = []
    missing = []
    for name in names:
        if scheme_of(name) in WEB:
            found.append(name)
            continue
        is_file = os.path.isfile(name) and not suffix_of_pack(name)
        sources = [source_of(name)] if is_file else _in_storage(name)
        if sources is None:
            missing.append(f"no file, folder or http(s) URL {name!r}")
        elif not sources:
            missing.append(f"no image below the folder {name!r}")
        else:
            found += sources
    if missing:
        raise ConfigError("; ".join(missing))
    return found


def source_of(name: str) -> Source:
    """Resolves the path or URL of one file, which may be absent.

    Raises:
      StorageError: if its storage cannot be opened.
    """
    path = os.path.abspath(name)
    if "://" in name:
        filesystem, path = open_storage(name)
        if not is_local(filesystem):
            root, top = _root_of(name, filesystem)
            return Source(name, ImageSource(root), _image(path, top))
    try:
        status = os.stat(path)
    except OSError:  # reading it reports the reason
        return Source(name, HERE, _image(path))
    return Source(name, HERE, _image(path, "/", status.st_size, status.st_mtime_ns))


def _in_storage(url: str) -> list[Source] | None:
    """Returns the file or the images of the folder at a URL; None if there is none."""
    filesystem, path = open_storage(url)
    with storage_errors(f"read {url!r}"):
        info = filesystem.get_file_info(path)
    if info.type == FileType.NotFound:
        return None
    root, top = _root_of(url, filesystem)
    if info.type == FileType.File and not suffix_of_pack(url):
        return [Source(url, ImageSource(root), _image(path, top, info.size or 0))]
    files = ImageFiles(url)
    entries = sorted(entry for entry in files if entry.kind is FileType.File)
    files.report()
    if files.packs:
        source, folder = files.source, ""
    else:
        source, folder = ImageSource(root), path.removeprefix(top).lstrip("/")
    found = []
    for entry in entries:
        below = posixpath.join(folder, entry.path)
        image = Image(below, "", entry.length, entry.mtime_ns, entry.place)
        found.append(Source(join(url, entry.path), source, image))
    return found


def _root_of(url: str, filesystem: FileSystem) -> tuple[str, str]:
    """Returns the root of a URL's storage, as URL and as path."""
    if is_local(filesystem):
        return "/", "/"
    scheme, _, rest = url.partition("://")
    root = f"{scheme}://{rest.partition('/')[0]}/"
    return root, open_storage(root)[1]


def _image(path: str, top: str = "/", length: int = 0, mtime_ns: int = 0) -> Image:
    return Image(path.removeprefix(top).lstrip("/"), "", length, mtime_ns)
