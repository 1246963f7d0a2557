"""Labelled folders as a list of images.

    image_dir/                 one folder per label, or per split (`poets.layout`)
        daisy/100080576.jpg
        Red Roses/2016/a.PNG   nested folders count for "Red Roses"

Nothing here reads a pixel or imports TensorFlow: names, lengths and times come from
one recursive listing, and every worker makes the same list of them. A storage far away
lists its folders side by side; a million files take some seconds.
"""

import logging
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs

from poets.errors import DatasetError, StorageError, few_lines, listed, together
from poets.layout import Layout, Place, clean_label, layout_of, place_of
from poets.storage import join, kind_of, open_storage, reason
from poets.storage.reading import is_of_one_file

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
FEW_IMAGES = 20


class Image(NamedTuple):
    """One image file.

    Attributes:
      path: relative to `image_dir`, with "/"; the first part is the label's folder, or
        the split's.
      folder: the label's folder, in its own spelling.
      length: bytes.
      mtime_ns: modification time, nanoseconds since 1970, 0 if the storage has none.
    """

    path: str
    folder: str
    length: int
    mtime_ns: int


class Images:
    """Many images, as columns: 30 bytes each and their paths, a tenth of the objects.

    Attributes:
      paths: large_string [N].
      lengths: int64 [N].
      mtimes_ns: int64 [N].
    """

    def __init__(
        self, paths: pa.Array, folders: pa.Array, lengths: pa.Array, mtimes_ns: pa.Array
    ) -> None:
        self._columns = (paths, folders, lengths, mtimes_ns)
        self.paths = paths
        self.lengths: np.ndarray = lengths.to_numpy()
        self.mtimes_ns: np.ndarray = mtimes_ns.to_numpy()

    @classmethod
    def of(cls, images: Iterable[Image]) -> "Images":
        """Returns images one by one as columns.

        Raises:
          UnicodeEncodeError: if a path is not UTF-8.
        """
        paths: list[str] = []
        folders: list[str] = []
        numbers: dict[str, int] = {}
        codes, lengths, mtimes_ns = array("i"), array("q"), array("q")
        for path, folder, length, mtime_ns in images:
            paths.append(path)
            if folder not in numbers:
                numbers[folder] = len(folders)
                folders.append(folder)
            codes.append(numbers[folder])
            lengths.append(length)
            mtimes_ns.append(mtime_ns)
        return cls(
            pa.array(paths, pa.large_string()),
            pa.DictionaryArray.from_arrays(
                np.array(codes, np.int32), pa.array(folders, pa.string())
            ),
            pa.array(np.array(lengths, np.int64)),
            pa.array(np.array(mtimes_ns, np.int64)),
        )

    @property
    def folders(self) -> list[str]:
        """The label's folder of each."""
        column = self._columns[1]
        names = column.dictionary.to_pylist()
        return [names[code] for code in column.indices.to_pylist()]

    def take(self, rows: np.ndarray) -> "Images":
        """Returns some of the images, by their numbers."""
        return Images(*(column.take(pa.array(rows)) for column in self._columns))

    def sorted(self) -> "Images":
        """Returns the images by path, in the order of code points."""
        return self.take(pc.array_sort_indices(self.paths))

    def smallest(self) -> str:
        """Returns the path of the shortest image with something in it."""
        return self[
            int(np.where(self.lengths > 0, self.lengths, 1 << 62).argmin())
        ].path

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Image:
        return Image(*(column[row].as_py() for column in self._columns))

    def __iter__(self) -> Iterator[Image]:
        for start in range(0, len(self), 4096):
            some = [column.slice(start, 4096).to_pylist() for column in self._columns]
            yield from map(Image, *some)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Images) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Dataset:
    """The images below a folder, by label.

    Attributes:
      image_dir: as the user gave it.
      folders: the labels' own spelling, in the order of the labels.
      labels: the labels as `retrained_labels.txt` has them, sorted.
      images: sorted by path.
      splits: first folder of an image's path -> its split, if the user made the split;
        else empty.
      notes: sentences for the user on how the folders were read.
    """

    image_dir: str
    folders: tuple[str, ...]
    labels: tuple[str, ...]
    images: Images
    splits: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def find_images(image_dir: str, split: str = "auto") -> Dataset:
    """Returns the labelled images below a folder.

    Args:
      image_dir: in any storage.
      split: the flag; it decides whether folders are splits.

    Raises:
      DatasetError: if the folder is missing or cannot be listed, if fewer than two
        labels have images, if two folders clean up to one label, or if a label is in
        the user's own split and not among its training images.
      StorageError: if the storage does not answer.
    """
    folders: set[str] = set()
    images = Images.of(_images_among(_list_files(image_dir), folders)).sorted()
    counts = _count_places(images)
    layout = layout_of(counts, split, image_dir)
    if layout.decision:
        logger.info("%s", layout.decision)
    for warning in layout.warnings:
        logger.warning("%s", warning)
    if layout.splits:
        images = _relabelled(images, layout.labels)
        empty = folders - {first for first, _ in counts}
        folders = empty | set(layout.labels.values())
    _check_labels(image_dir, sorted(folders), images, layout, counts)
    return _label(image_dir, images, layout)


def _count_places(images: Images) -> Counter[Place]:
    counts: Counter[Place] = Counter()
    for start in range(0, len(images), 4096):
        counts.update(map(place_of, images.paths.slice(start, 4096).to_pylist()))
    return counts


def _relabelled(images: Images, labels: Mapping[Place, str]) -> Images:
    """Returns the images that have a label, with its folder inside the split's."""
    return Images.of(
        image._replace(folder=label)
        for image in images
        if (label := labels.get(place_of(image.path)))
    )


def _images_among(
    infos: Iterable[tuple[str, pyarrow.fs.FileInfo]], folders: set[str]
) -> Iterator[Image]:
    """Yields the images; adds the folders that could be labels to `folders`."""
    passed_over = 0
    for relative, info in infos:
        folder, separator, _ = relative.partition("/")
        if _is_hidden(relative):
            continue
        kind = info.type
        if kind == pyarrow.fs.FileType.Directory:
            folders.update([] if separator else [folder])
        elif (  # no pipe or socket
            separator
            and kind == pyarrow.fs.FileType.File
            and relative.lower().endswith(IMAGE_SUFFIXES)
        ):
            yield Image(relative, folder, info.size or 0, info.mtime_ns or 0)
        else:
            passed_over += 1
    if passed_over:
        logger.info("%d files that are no images passed over", passed_over)


def _list_files(image_dir: str) -> Iterator[tuple[str, pyarrow.fs.FileInfo]]:
    """Yields all files and folders below a folder, and their paths in it."""
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
    except OSError as error:
        if not is_of_one_file(error):
            raise StorageError(f"cannot list {image_dir!r}: {reason(error)}") from error
        raise DatasetError(
            f"cannot list {image_dir!r}: {reason(error)}; every label's folder must be "
            "readable for the user that runs the job"
        ) from error
    nameless = []
    for info in listing:
        try:
            relative = info.path[len(root) + 1 :]
        except UnicodeDecodeError as error:
            nameless.append(error.object.decode("utf-8", "backslashreplace"))
        else:
            yield relative, info
    if nameless:
        logger.warning(
            "%d names are not UTF-8 and passed over, '%s' for one; rename them",
            *(len(nameless), nameless[0]),
        )


def _is_hidden(relative: str) -> bool:
    return not relative or relative.startswith(".") or "/." in relative


def _check_labels(
    image_dir: str,
    folders: list[str],
    images: Images,
    layout: Layout,
    places: Mapping[Place, int],
) -> None:
    """Reports labels with few images, and raises DatasetError for fewer than two."""
    counts = Counter(images.folders)
    _report_folders(folders, counts)
    if not counts:
        raise DatasetError(
            f"No valid folders of images found at {image_dir!r}: found "
            f"{len(folders)} folders and no image; each label needs a folder with "
            f"{', '.join(suffix[1:] for suffix in IMAGE_SUFFIXES)} files"
        )
    if len(counts) == 1:
        (found,) = counts
        inside = sorted(below for first, below in places if first == found and below)
        cure = ""
        if layout.splits:
            cure = ", or give --split=hash to take the folders as labels"
        elif len(inside) > 1:
            inner = join(image_dir, found)
            cure = f", or give --image_dir={inner!r}, which holds {listed(inside)}"
        raise DatasetError(
            f"Only one valid folder of images found at {image_dir!r} - multiple "
            f"classes are needed for classification: found {found!r}; "
            f"add a folder of images for another label{cure}"
        )


def _report_folders(folders: list[str], counts: Mapping[str, int]) -> None:
    looking = [f"Looking for images in '{folder}'" for folder in folders]
    for line in few_lines(looking, "more folders looked at"):
        logger.info("%s", line)
    empty = [
        f"No files found in '{folder}': it is no label"
        for folder in folders
        if not counts.get(folder)
    ]
    small = [
        f"WARNING: Folder has less than {FEW_IMAGES} images, which may cause issues. "
        f"'{folder}' has {counts[folder]}"
        for folder in folders
        if 0 < counts.get(folder, 0) < FEW_IMAGES
    ]
    for line in (
        *few_lines(empty, "more folders without images are no labels"),
        *few_lines(small, f"more folders have less than {FEW_IMAGES} images"),
    ):
        logger.warning("%s", line)


def _label(image_dir: str, images: Images, layout: Layout) -> Dataset:
    by_label: dict[str, list[str]] = {}
    for folder in sorted(set(images.folders)):
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
        images=images,
        splits=layout.splits,
        notes=(*filter(None, [layout.decision]), *layout.warnings),
    )
