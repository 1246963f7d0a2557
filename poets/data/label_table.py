"""Labels in a table beside the pictures, as competitions and Hugging Face publish them.

    file_name,label,split             photos/1.jpg   ──> path train/daisy/1.jpg
    1.jpg,daisy,train                 photos/2.jpg   ──> path test/rose/2.jpg
    2.jpg,rose,test

A picture gets the path that it would have in the folder of its label: the split and the
model are those of a user who moves the files there. `ImageSource.label_folders` counts
the folders that are only in the path.
"""

import csv
import functools
import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from poets.data.image_listing import ImageFiles
from poets.data.layout import SPLIT_NAMES, split_named
from poets.errors import DatasetError, listed
from poets.storage import join, read_url
from poets.system.progress import log_some

logger = logging.getLogger(__name__)

FILES = ("file_name", "path", "filename", "image", "image_id", "id")
LABELS = ("label", "labels", "class", "category")
SPLIT = "split"
"""Names of columns, in lower case."""


class Labelled(NamedTuple):
    """A row of a table: the label, and the split or ""."""

    label: str
    split: str


class LabelTable:
    """A table of labels.

    Attributes:
      url: where it was read; several are joined by ", ".
      rows: path of a picture below `image_dir` -> its label.
      skipped: (path, reason) of rows that cannot be used.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.rows: dict[str, Labelled] = {}
        self.skipped: list[tuple[str, str]] = []
        self._used: set[str] = set()
        self._surplus: list[str] = []

    def add(self, records: Iterator[Mapping[str, Any]], folder: str = "") -> None:
        """Adds the rows of a table.

        Args:
          records: column -> value.
          folder: what their names are relative to, below `image_dir`, with "/".

        Raises:
          DatasetError: if a column is missing, or a split has another name.
        """
        names: Sequence[str | None] = ()
        for number, record in enumerate(records, 2):
            if not names:
                names = self._columns(record)
            file, label, split = (
                str(record.get(name) or "").strip() if name else "" for name in names
            )
            path = folder + file.replace("\\", "/").removeprefix("./")
            found = Labelled(label.replace("/", "_"), self._split(split, number))
            problem = ""
            if not file or not label:
                problem = "no label" if file else "no file name"
            elif self.rows.setdefault(path, found) != found:
                problem = "another row gives another label"
            if problem:
                self.skipped.append((path, f"row {number:,} of the table: {problem}"))

    def label_of(self, path: str) -> Labelled | None:
        """Returns the label of a picture; a table may leave out its suffix."""
        for name in (path, path.rpartition(".")[0]):
            if found := self.rows.get(name):
                self._used.add(name)
                if self.has_splits and not found.split:
                    self.skipped.append((path, "no split in the table"))
                    return None
                return found
        self._surplus.append(path)
        return None

    def report(self, image_dir: str) -> None:
        """Logs rows without a picture and pictures without a row, after all look-ups.

        Raises:
          DatasetError: if no row has a picture.
        """
        missing, surplus = sorted(self.rows.keys() - self._used), sorted(self._surplus)
        if not self._used:
            raise DatasetError(
                f"no picture of the table {self.url!r} is in {image_dir!r}: the table "
                f"names {listed(missing[:3]) or 'none'}, the folder has "
                f"{listed(surplus[:3]) or 'none'}; give paths below the folder"
            )
        self.skipped += [(path, "in the table, not in the folder") for path in missing]
        self.skipped += [(path, "not in the table of labels") for path in surplus]
        for paths, text in (
            (missing, "%d pictures of the table are not in the folder: %s"),
            (surplus, "%d pictures are not in the table: %s"),
        ):
            if paths:
                logger.warning(text, len(paths), listed(paths[:5]))
        bad = [f"{path}: {why}" for path, why in self.skipped if why.startswith("row")]
        log_some(logger.warning, bad, "more rows skipped: see skipped_images.csv")

    @functools.cached_property
    def has_splits(self) -> bool:
        """Whether the rows have at least two splits."""
        return len({row.split for row in self.rows.values()}) > 1

    def _columns(self, record: Mapping[str, Any]) -> Sequence[str | None]:
        """Returns the columns of files, labels and splits; the last may be None."""
        names = [_column(record, known) for known in (FILES, LABELS, (SPLIT,))]
        for name, known in zip(names, (FILES, LABELS), strict=False):
            if name is None:
                raise DatasetError(
                    f"the table of labels {self.url!r} has no column "
                    f"{' or '.join(known)}: found {listed(list(record))}; rename one"
                )
        return names

    def _split(self, text: str, number: int) -> str:
        split = split_named(text)
        if text and not split:
            raise DatasetError(
                f"row {number:,} of {self.url!r} has the split {text!r}; use one of "
                f"{', '.join(SPLIT_NAMES)}"
            )
        return split or ""


def read_table(url: str) -> LabelTable:
    """Returns the table at a URL: CSV, TSV, or JSON lines for ".jsonl".

    Raises:
      DatasetError: if it is not such a table.
      StorageError: if it cannot be read.
    """
    table = LabelTable(url)
    table.add(_records(url))
    return table


def found_table(files: ImageFiles) -> LabelTable | None:
    """Returns Hugging Face's tables in a listed folder as one, None without labels.

    That is the table directly in the folder, else those in the folders of splits.
    """
    tables = {f: join(files.url, path) for f, path in files.tables.items()}
    if "" in tables:
        tables = {"": tables[""]}
    table = LabelTable(", ".join(tables.values()))
    for folder, url in sorted(tables.items()):
        records = list(_records(url))
        if not records or _column(records[0], LABELS) is None:
            return None  # captions, boxes: the folders are the labels
        prefix = f"{folder}/" if folder else ""
        split = {SPLIT: folder} if split_named(folder) else {}
        table.add(({**split, **each} for each in records), prefix)
    if table.rows:
        logger.info("labels are taken from %s", table.url)
    return table if table.rows else None


def _records(url: str) -> Iterator[Mapping[str, Any]]:
    try:
        text = read_url(url).decode("utf-8-sig")
        if url.lower().endswith((".jsonl", ".json")):
            for line in filter(str.strip, text.splitlines()):
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError(f"a line is not an object: {line[:40]!r}")
                yield record
            return
        header = text.partition("\n")[0]
        delimiter = max(",;\t|", key=header.count)
        yield from csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    except (ValueError, csv.Error) as error:
        raise DatasetError(
            f"cannot read the table of labels {url!r}: {error}; give a CSV file in "
            "UTF-8, or JSON lines"
        ) from error


def _column(record: Mapping[str, Any], known: Sequence[str]) -> str | None:
    """Returns the column of a record that has one of the known names."""
    by_name = {str(name).strip().lower(): name for name in record if name is not None}
    return next((by_name[name] for name in known if name in by_name), None)
