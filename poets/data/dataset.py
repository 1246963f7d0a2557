"""Labelled folders as a list of images.

    image_dir/                 one folder per label, or per split (`poets.data.layout`)
        daisy/100080576.jpg
        Red Roses/2016/a.PNG   images in nested folders have the label "Red Roses"

This module neither reads pixels nor imports TensorFlow: names, lengths and times come
from one recursive listing, and every worker gets the same list. A remote storage lists
its folders in parallel; a million files take some seconds. `poets.data.image_files`
decides which files are images. Pictures may be in packs (`poets.data.packs`): they have
the paths of such folders, and a place.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs

from poets.data.columns import BLOCK
from poets.data.image_columns import Image, Images
from poets.data.image_files import IMAGE_SUFFIXES, ImageError
from poets.data.image_listing import ImageFiles
from poets.data.label_table import LabelTable, found_table, read_table
from poets.data.layout import Folders, Layout, clean_label, layout_of, place_of
from poets.data.packs import KINDS, Pack, suffix_of_pack
from poets.data.source import ImageSource
from poets.data.suggestions import folder_below, what_is_there
from poets.errors import DatasetError, format_problems
from poets.storage import kind_of
from poets.storage.tree import Entry
from poets.system.progress import log_some

logger = logging.getLogger(__name__)

FEW_IMAGES = 20


@dataclass(frozen=True)
class Dataset:
    """The images below a folder, by label.

    Attributes:
      image_dir: as the user gave it.
      folders: the labels' own spelling, in the order of the labels.
      labels: the labels as in `retrained_labels.txt`, sorted.
      images: sorted by path.
      splits: first folder of an image's path -> its split, if the user made the split;
        else empty.
      notes: sentences for the user on how the folders were read.
      skipped: (path, reason) of passed-over files that look like pictures, by path.
      packs: those that the images' places name; empty without packs.
      label_folders: see `ImageSource`.
    """

    image_dir: str
    folders: tuple[str, ...]
    labels: tuple[str, ...]
    images: Images
    splits: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    packs: tuple[Pack, ...] = ()
    label_folders: int = 0

    @property
    def source(self) -> ImageSource:
        """Reads the images."""
        return ImageSource(self.image_dir, self.packs, self.label_folders)

    def read(self, paths: Sequence[str]) -> Iterator[bytes | OSError | ImageError]:
        """Yields the content of images by their paths, or the error of reading it.

        Raises:
          KeyError: for the path of no image in a pack.
        """
        if not self.packs:
            return self.source.read(Image(path, "", 0, 0) for path in paths)
        wanted = pa.array(paths, pa.large_string())
        rows = pc.index_in(wanted, value_set=self.images.paths)
        if rows.null_count:
            raise KeyError(paths[rows.is_null().to_pylist().index(True)])
        return self.source.read(self.images.take(rows.to_numpy()))


def find_images(
    image_dir: str, split: str = "auto", index_url: str = "", labels_csv: str = ""
) -> Dataset:
    """Returns the labelled images below a folder.

    Args:
      image_dir: in any storage; may also be a pack.
      split: the flag `--split`, which decides whether folders are splits.
      index_url: folder for lists of packs that have none; "" keeps none.
      labels_csv: URL of a table of labels; "" for the folders' names, or the table
        that Hugging Face puts there.

    Raises:
      DatasetError: if the folder is missing or cannot be listed, if fewer than two
        labels have images, if two folders give the same label, or if a label in the
        user's own split has no training images.
      StorageError: if the storage does not answer.
    """
    kind = kind_of(image_dir)
    if kind == pyarrow.fs.FileType.NotFound:
        raise DatasetError(
            f"Image directory {image_dir!r} not found; give --image_dir a folder with "
            "one folder of images per label"
        )
    if kind != pyarrow.fs.FileType.Directory and not suffix_of_pack(image_dir):
        raise DatasetError(
            f"--image_dir={image_dir!r} is a file; give the folder that has one folder "
            f"of images per label, or a pack ({', '.join(KINDS)})"
        )
    folders: set[str] = set()
    files = ImageFiles(image_dir, index_url)
    images = Images.of(_images_among(files, folders)).sorted()
    if files.packs:
        images = _once_each(images, files)
    table = read_table(labels_csv) if labels_csv else found_table(files)
    label_folders = 0
    if table:
        with_splits = split != "hash" and table.has_splits
        split = "folders" if with_splits else "hash"
        label_folders = 2 if with_splits else 1
        images = _labelled_by(table, images, with_splits)
        table.report(image_dir)
        files.skipped += table.skipped
        files.at_top, folders = 0, set()
    else:
        images = images.where(np.asarray(pc.match_substring(images.paths, "/")))
    files.report("skipped_images.csv")
    counts: Counter[Folders] = Counter()
    for start in range(0, len(images), BLOCK):
        counts.update(map(place_of, images.paths.slice(start, BLOCK).to_pylist()))
    layout = layout_of(counts, split, image_dir)
    if layout.decision:
        logger.info("%s", layout.decision)
    for warning in layout.warnings:
        logger.warning("%s", warning)
    if layout.splits:
        images = _relabelled(images, layout.labels)
        empty = folders - {first for first, _ in counts}
        folders = empty | set(layout.labels.values())
    _check_labels(files, sorted(folders), images, layout)
    return _label(files, images, layout, label_folders)


def _once_each(images: Images, files: ImageFiles) -> Images:
    """Returns the first image of each path; the others are skipped."""
    paths = images.paths
    repeated = pc.equal(paths.slice(1), paths.slice(0, max(len(paths) - 1, 0)))
    again = np.append(False, repeated.to_numpy(zero_copy_only=False))[: len(paths)]
    for row in np.flatnonzero(again).tolist():
        path, *_, place = images[row]
        if place:
            pack = files.packs[place.pack].path or files.url
            where = f"in {pack}, block {place.block}, at {place.start}"
            files.skipped.append((path, f"{where}: another one has its path"))
    return images.where(~again)


def _labelled_by(table: LabelTable, images: Images, with_splits: bool) -> Images:
    """Returns the images of a table, with the paths of labelled folders."""

    def labelled() -> Iterator[Image]:
        for image in images:
            if found := table.label_of(image.path):
                label, split = found
                start = f"{split}/{label}" if with_splits else label
                path = f"{start}/{image.path}"
                yield image._replace(path=path, folder=split if with_splits else label)

    return Images.of(labelled()).sorted()


def _relabelled(images: Images, labels: Mapping[Folders, str]) -> Images:
    """Returns the images that have a label, with the label's folder in the split's."""
    return Images.of(
        image._replace(folder=label)
        for image in images
        if (label := labels.get(place_of(image.path)))
    )


def _images_among(entries: Iterable[Entry], folders: set[str]) -> Iterator[Image]:
    """Yields the images; adds the folders that could be labels to `folders`.

    The folder of an image directly in `image_dir` is "": only a table can label it.
    """
    for path, kind, length, mtime_ns, _, place in entries:
        folder = path.partition("/")[0] if "/" in path else ""
        if kind is not pyarrow.fs.FileType.Directory:
            yield Image(path, folder, length, mtime_ns, place)
        elif not folder:
            folders.add(path)


def _check_labels(
    files: ImageFiles, folders: list[str], images: Images, layout: Layout
) -> None:
    """Reports labels with few images, and raises DatasetError for fewer than two."""
    image_dir = files.url
    counts = images.by_folder()
    _report_folders(folders, counts)
    if not counts:
        raise DatasetError(
            f"No valid folders of images found at {image_dir!r}: found "
            f"{what_is_there(files, folders)}; each label needs a folder with "
            f"{', '.join(suffix[1:] for suffix in IMAGE_SUFFIXES)} files"
        )
    if files.at_top:
        logger.warning(
            "%d images beside the folders have no label and are passed over; move each "
            "into the folder of its label",
            files.at_top,
        )
    if len(counts) == 1:
        advice = folder_below(image_dir, images.paths.to_pylist())
        if layout.splits:
            advice = ", or give --split=hash to take the folders as labels"
        raise DatasetError(
            f"Only one valid folder of images found at {image_dir!r} - multiple "
            f"classes are needed for classification: found {next(iter(counts))!r}; "
            f"add a folder of images for another label{advice}"
        )


def _label(
    files: ImageFiles, images: Images, layout: Layout, label_folders: int
) -> Dataset:
    by_label: dict[str, list[str]] = {}
    for folder in sorted(images.by_folder()):
        by_label.setdefault(clean_label(folder), []).append(folder)
    collisions = [
        f"{' and '.join(map(repr, found))} both become {label!r}"
        for label, found in by_label.items()
        if len(found) > 1
    ]
    if collisions:
        raise DatasetError(
            format_problems("two folders are one label", collisions)
            + "; rename or merge the folders"
        )
    labels = sorted(by_label)
    return Dataset(
        image_dir=files.url,
        folders=tuple(by_label[label][0] for label in labels),
        labels=tuple(labels),
        images=images,
        splits=layout.splits,
        notes=(*filter(None, [layout.decision]), *layout.warnings),
        skipped=tuple(sorted(files.skipped)),
        packs=files.packs,
        label_folders=label_folders,
    )


def _report_folders(folders: Sequence[str], counts: Mapping[str, int]) -> None:
    """Logs the original's lines on each folder, at most 20 of a kind."""
    looking = [f"Looking for images in '{folder}'" for folder in folders]
    log_some(logger.info, looking, "more folders")
    empty = [f for f in folders if not counts[f]]
    log_some(
        logger.warning,
        [f"No files found in '{folder}': it is not a label" for folder in empty],
        "more folders have no images and are not labels",
    )
    few = [
        f"WARNING: Folder has less than {FEW_IMAGES} images, which may cause issues. "
        f"'{folder}' has {counts[folder]}"
        for folder in folders
        if 0 < counts[folder] < FEW_IMAGES
    ]
    more = f"more folders have less than {FEW_IMAGES} images: see metrics.json"
    log_some(logger.warning, few, more)
