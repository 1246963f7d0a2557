"""Suggests another folder if `image_dir` has no labels, or only one.

data/flowers/rose/1.jpg     --image_dir=data: "flowers" would be the only label
flowers/rose/1.jpg          --image_dir=flowers/rose: no folder, images alone
photos/1.jpg, labels.csv    labels in a table: --labels_csv
"""

import os
from collections import Counter
from collections.abc import Sequence

from pyarrow.fs import FileSelector, FileType

from poets.data.image_files import is_image_name, is_listed
from poets.data.image_listing import ImageFiles, some
from poets.storage import folder_of, join, open_storage, scheme_of

MOST_SIBLINGS = 20
"""Limit of folders beside `image_dir` that are listed."""

READABLE = (".csv", ".tsv", ".jsonl")
"""Suffixes of the tables that `--labels_csv` takes."""

TABLES = (".csv", ".tsv", ".json", ".jsonl", ".xml", ".xls", ".xlsx", ".parquet")


def what_is_there(files: ImageFiles, folders: Sequence[str]) -> str:
    """Returns the contents of a folder without labels, and a suggestion, as text.

    Args:
      files: after listing all of it.
      folders: the folders in it.
    """
    images = f"{files.at_top} images at the top" if files.at_top else "no image"
    text = f"{len(folders)} folders and {images}"
    others = Counter({suffix: sum(n.values()) for suffix, n in files.others.items()})
    if others:
        listed = [f"{n} {suffix or 'others'}" for suffix, n in others.most_common(5)]
        text += f", other files: {', '.join(listed)}"
    if files.skipped:
        path, why = files.skipped[0]
        text += f", {len(files.skipped)} files skipped, first {path!r}: {why}"
    if files.hidden:
        text += f", hidden: {some(files.hidden)}"
    if not files.at_top:
        return text
    if suffix := next((suffix for suffix in TABLES if others[suffix]), ""):
        advice = "give it as" if suffix in READABLE else "convert it to CSV for"
        text += (
            f"; if the labels are in the {suffix} file, {advice} --labels_csv, or move "
            "each image into a folder named after its label"
        )
    if parent := _labels_beside(files.url):
        text += f"; the folders beside it have images, too: give --image_dir={parent}"
    return text


def folder_below(image_dir: str, paths: Sequence[str]) -> str:
    """Returns advice to give the folder that holds the labels, or "".

    Args:
      image_dir: the folder that has one label.
      paths: of its images, below it; at least one.
    """
    parts = [path.split("/")[:-1] for path in paths]
    above = os.path.commonprefix(parts)
    labels = sorted({part[len(above)] for part in parts if len(part) > len(above)})
    if len(labels) < 2:
        return ""
    folder = join(image_dir, *above)
    return f", or give --image_dir={folder} if {some(labels)} are the labels"


def _labels_beside(image_dir: str) -> str:
    """Returns the folder above, if another folder in it holds images, or ""."""
    own = open_storage(image_dir)[1].rstrip("/")
    parent = folder_of(image_dir if scheme_of(image_dir) else own)
    try:
        filesystem, root = open_storage(parent)
        folders = [
            info.path
            for info in filesystem.get_file_info(FileSelector(root))
            if info.type == FileType.Directory and is_listed(info.base_name)
        ]
        for folder in [path for path in sorted(folders) if path != own][:MOST_SIBLINGS]:
            infos = filesystem.get_file_info(FileSelector(folder))
            if any(is_image_name(info.path) for info in infos):
                return parent
    except (OSError, UnicodeDecodeError):  # a suggestion must not fail
        return ""
    return ""
