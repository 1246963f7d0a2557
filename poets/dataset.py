"""Labelled folders as a list of images.

    image_dir/                 one folder per label
        daisy/100080576.jpg
        Red Roses/2016/a.PNG   nested folders count for "Red Roses"

Nothing here reads a pixel or imports TensorFlow: names, lengths and times come from
one recursive listing, and every worker makes the same list of them. A storage far away
lists its folders side by side; 100,000 files take a few seconds.
"""

import logging
import posixpath
import re
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow.fs

from poets.errors import DatasetError, StorageError, together
from poets.storage import kind_of, open_storage, reason
from poets.storage.reading import OUTAGES

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
FEW_IMAGES = 20


class Image(NamedTuple):
    """One image file.

    Attributes:
      path: relative to `image_dir`, with "/"; the first part is the label's folder.
      folder: the label's folder, in its own spelling.
      length: bytes.
      mtime_ns: modification time, nanoseconds since 1970, 0 if the storage has none.
    """

    path: str
    folder: str
    length: int
    mtime_ns: int


@dataclass(frozen=True)
class Dataset:
    """The images below a folder, by label.

    Attributes:
      image_dir: as the user gave it.
      folders: the labels' own spelling, in the order of the labels.
      labels: the labels as `retrained_labels.txt` has them, sorted.
      images: sorted by path.
    """

    image_dir: str
    folders: tuple[str, ...]
    labels: tuple[str, ...]
    images: tuple[Image, ...]


def clean_label(folder: str) -> str:
    """Returns a folder's name as the original script writes labels.

    Lower case, each run of characters outside a-z and 0-9 becomes one space. A name
    that has none of those characters keeps its own, for else all would be one blank.
    """
    cleaned = re.sub(r"[^a-z0-9]+", " ", folder.lower())
    return cleaned if cleaned.strip() else " ".join(folder.lower().split())


def find_images(image_dir: str) -> Dataset:
    """Returns the labelled images below a folder.

    Raises:
      DatasetError: if the folder is missing or cannot be listed, if fewer than two
        labels have images, or if two folders clean up to one label.
      StorageError: if the storage does not answer.
    """
    infos = _list_files(image_dir)
    images = []
    folders = set()
    passed_over = 0
    for relative, info in infos:
        folder, separator, _ = relative.partition("/")
        if _is_hidden(relative):
            continue
        if info.type == pyarrow.fs.FileType.Directory:
            folders.update([] if separator else [folder])
        elif separator and _is_image(relative, info):
            mtime_ns = info.mtime_ns or 0
            images.append(Image(relative, folder, info.size or 0, mtime_ns))
        else:
            passed_over += 1
    if passed_over:
        logger.info("%d files that are no images passed over", passed_over)
    return _label(image_dir, sorted(folders), sorted(images))


def _list_files(image_dir: str) -> list[tuple[str, pyarrow.fs.FileInfo]]:
    kind = kind_of(image_dir)
    if kind == pyarrow.fs.FileType.NotFound:
        raise DatasetError(
            f"Image directory {image_dir!r} not found; give --image_dir a folder with "
            "one folder of images per label"
        )
    if kind != pyarrow.fs.FileType.Directory:
        raise DatasetError(
            f"--image_dir={image_dir!r} is a file; give the folder that has one folder "
            "of images per label"
        )
    filesystem, root = open_storage(image_dir)
    root = root.rstrip("/")
    selector = pyarrow.fs.FileSelector(root or "/", recursive=True)
    try:
        listing = filesystem.get_file_info(selector)
    except OUTAGES as error:
        raise StorageError(f"cannot list {image_dir!r}: {reason(error)}") from error
    except OSError as error:
        raise DatasetError(
            f"cannot list {image_dir!r}: {reason(error)}; every label's folder must be "
            "readable for the user that runs the job"
        ) from error
    named = []
    nameless = []
    for info in listing:
        try:
            named.append((info.path[len(root) + 1 :], info))
        except UnicodeDecodeError as error:
            nameless.append(error.object.decode("utf-8", "backslashreplace"))
    if nameless:
        logger.warning(
            "%d names are not UTF-8 and passed over, '%s' for one; rename them",
            *(len(nameless), nameless[0]),
        )
    return named


def _is_image(relative: str, info: pyarrow.fs.FileInfo) -> bool:
    """Returns whether it is a file, and no pipe or socket, and has an image's name."""
    is_file = info.type == pyarrow.fs.FileType.File
    return is_file and relative.lower().endswith(IMAGE_SUFFIXES)


def _is_hidden(relative: str) -> bool:
    return any(part.startswith(".") for part in posixpath.normpath(relative).split("/"))


def _label(image_dir: str, folders: list[str], images: list[Image]) -> Dataset:
    counts = Counter(image.folder for image in images)
    for folder in folders:
        logger.info("Looking for images in '%s'", folder)
        if not counts[folder]:
            logger.warning("No files found in '%s': it is no label", folder)
        elif counts[folder] < FEW_IMAGES:
            logger.warning(
                "WARNING: Folder has less than 20 images, which may cause issues. "
                "'%s' has %d",
                *(folder, counts[folder]),
            )
    if not counts:
        raise DatasetError(
            f"No valid folders of images found at {image_dir!r}: found "
            f"{len(folders)} folders and no image; each label needs a folder with "
            f"{', '.join(suffix[1:] for suffix in IMAGE_SUFFIXES)} files"
        )
    if len(counts) == 1:
        raise DatasetError(
            f"Only one valid folder of images found at {image_dir!r} - multiple "
            f"classes are needed for classification: found {next(iter(counts))!r}; "
            "add a folder of images for another label"
        )
    by_label: dict[str, list[str]] = {}
    for folder in sorted(counts):
        by_label.setdefault(clean_label(folder), []).append(folder)
    collisions = [
        f"{' and '.join(map(repr, found))} both become {label!r}"
        for label, found in by_label.items()
        if len(found) > 1
    ]
    if collisions:
        raise DatasetError(
            together("two folders are one label", collisions)
            + "; rename or merge the folders"
        )
    labels = sorted(by_label)
    return Dataset(
        image_dir=image_dir,
        folders=tuple(by_label[label][0] for label in labels),
        labels=tuple(labels),
        images=tuple(images),
    )
