"""Lists the image files below a folder, and reports the files passed over.

    files = ImageFiles(image_dir)
    for entry in files: ...        images, and folders that are listed
    files.report()                 what else there was, in few lines

A folder without images may have packs of them, and a file may be one (`data.packs`).
What is in packs is sorted out by the same rules.

The job and `poets label` list folders this way, and the doctor enters the same folders.
First bytes are only read of files whose name does not decide.
"""

import logging
import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn

from pyarrow.fs import FileType

from poets.data.image_files import (
    ANNEX,
    BEGINNING,
    NO_TARGET,
    ImageError,
    claims_picture,
    is_image,
    is_image_name,
    is_listed,
    may_be_image,
    passed_over,
    pointer_by_name,
    pointer_in,
    suffix_of,
    utf8,
)
from poets.data.packs import Pack, suffix_of_pack
from poets.data.packs.listing import list_packs
from poets.data.source import ImageSource
from poets.errors import DatasetError, StorageError
from poets.storage import invalid_character, join, open_storage, reason
from poets.storage.reading import is_of_one_file, raise_outage, read_beginnings
from poets.storage.tree import Entry, walk
from poets.system.progress import log_some

logger = logging.getLogger(__name__)

MOST_LOOKS = 1000
"""Files of one suffix whose first bytes are read: 1 s at 30 ms each, 32 at once."""

MOST_NAMES = 5
"""Names in a message; the others are counted."""

TABLES = ("metadata.csv", "metadata.jsonl")
"""Names of Hugging Face's tables of labels."""

HIDDEN = "hidden, since its name begins with '_': rename it"
NO_NAME = "a folder in its key has no name ('//'): give the object another key"
NO_FILE = "a pipe, a socket or a device, not a file"
NOT_IMAGE = "not an image by its first bytes"


class ImageFiles:
    """The images below a folder and, once they are listed, what was passed over.

    Attributes:
      url: the folder.
      at_top: the number of images directly in it.
      others: suffix -> first name of the path ("" in the folder itself) -> number of
        files that are not images.
      hidden: passed over for their name: paths of folders, names of files.
      skipped: (path, reason) of passed-over files that look like pictures.
      packs: the packs that hold the images; empty if each is a file of its own.
      tables: first folder, or "" -> path of its table of labels (`data.label_table`).
    """

    def __init__(self, url: str, index_url: str = "") -> None:
        """Opens the storage of a folder or a pack; for `index_url` see `list_packs`."""
        self.url, self._index_url = url, index_url
        self.packs: tuple[Pack, ...] = ()
        self.tables: dict[str, str] = {}
        self.at_top = 0
        self.others: dict[str, Counter[str]] = defaultdict(Counter)
        self.hidden: set[str] = set()
        self.skipped: list[tuple[str, str]] = []
        self._links: list[str] = []
        self._nameless: list[str] = []
        self._looked: list[str] = []
        self._filesystem, self._root = open_storage(url)

    def __iter__(self) -> Iterator[Entry]:
        """Yields images, and folders that are listed, in any order.

        Raises:
          DatasetError: if a folder cannot be listed.
          StorageError: if the storage does not answer.
        """
        found: list[Pack] = []
        is_empty = True
        for entry in self._sorted_out(self._walk(found)):
            is_empty = is_empty and entry.kind is FileType.Directory
            yield entry
        if is_empty and found:
            self.packs = tuple(sorted(found))
            in_packs = list_packs(self.url, self.packs, self.skipped, self._index_url)
            yield from self._sorted_out(in_packs)
            return
        for pack in found:
            self._pass_over(pack.path)

    @property
    def source(self) -> ImageSource:
        """Where the images are, once they are listed."""
        return ImageSource(self.url, self.packs)

    def _sorted_out(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Yields the images and the folders among entries; records the others."""
        unsure: dict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            path = entry.path
            if hidden := passed_over(path):
                self._hide(entry, hidden)
            elif path.startswith("/") or "//" in path:
                if entry.kind is FileType.File:
                    self.skipped.append((path, NO_NAME))
            elif entry.kind is FileType.Directory:
                if entry.leads_to:
                    self._links.append(
                        f"{path!r} is passed over: it links to {entry.leads_to!r}, "
                        "which is listed elsewhere, or a folder above"
                    )
                yield entry
            elif entry.kind is FileType.File and is_image_name(path):
                self.at_top += "/" not in path
                yield entry
            elif self._is_unsure(entry):
                unsure[suffix_of(path)].append(entry)
        for suffix, entries in sorted(unsure.items()):
            for entry in self._images_among(suffix, sorted(entries)):
                self.at_top += "/" not in entry.path
                yield entry

    def report(self, listed_in: str = "") -> None:
        """Logs what was passed over, at most 20 lines of a kind.

        Args:
          listed_in: the file that lists `skipped`, for the messages.
        """
        for line in self._looked:
            logger.info("%s", line)
        if self._nameless:
            logger.warning(
                "%d names are not UTF-8 and passed over, first '%s'; rename them",
                len(self._nameless),
                min(self._nameless),
            )
        if self.hidden:
            loud = any(posixpath.basename(path)[0] == "_" for path in self.hidden)
            logger.log(
                logging.WARNING if loud else logging.INFO,
                "passed over %s: names that begin with '_' or '.', as in Hadoop, and "
                "the file system's own; rename what holds pictures to use",
                some(self.hidden),
            )
        log_some(
            logger.warning, sorted(self._links), "more links to folders passed over"
        )
        by_reason: dict[str, list[str]] = defaultdict(list)
        for path, why in sorted(self.skipped):
            by_reason[why].append(f"skipped {path}: {why}")
        by_reason.pop(NOT_IMAGE, None)  # counted with the others
        see = f": see {listed_in}" if listed_in else ""
        for lines in by_reason.values():
            log_some(logger.warning, lines, f"more files skipped{see}")
        others = [
            f"{sum(found.values())} files are not images and passed over: "
            f"{suffix or 'no suffix'}, in {some(found)}"
            for suffix, found in sorted(self.others.items())
            if any(found)
        ]
        log_some(logger.warning, others, "more suffixes of files that are not images")
        if beside := sum(found[""] for found in self.others.values()):
            logger.info("%d files beside the folders are passed over", beside)

    def _walk(self, packs: list[Pack]) -> Iterator[Entry]:
        """Yields all files and folders except packs, which are added to `packs`."""
        try:
            for entry in self._entries():
                path, kind, length, mtime_ns, *_ = entry
                if (
                    kind is FileType.File
                    and suffix_of_pack(path or self._root)
                    and not passed_over(path)
                ):
                    packs.append(Pack(path, length, mtime_ns))
                elif path.isascii() or not invalid_character(path):
                    yield entry
                else:
                    self._nameless.append(utf8(posixpath.join(self._root, path)))
        except OSError as error:
            if is_of_one_file(error):
                self._refuse("", error)
            raise StorageError(f"cannot list {self.url!r}: {reason(error)}") from error

    def _entries(self) -> Iterator[Entry]:
        """Yields what is below the folder; the file itself if it is one."""
        if suffix_of_pack(self._root):
            info = self._filesystem.get_file_info(self._root)
            if info.type is FileType.File:
                yield Entry("", FileType.File, info.size or 0, info.mtime_ns or 0)
                return
        yield from walk(self._filesystem, self._root, is_listed, self._refuse)

    def _refuse(self, path: str, error: OSError) -> NoReturn:
        url = join(self.url, path) if path else self.url
        raise DatasetError(
            f"cannot list {url!r}: {reason(error)}; every label's folder must be "
            "readable for the user that runs the job"
        ) from error

    def _hide(self, entry: Entry, hidden: str) -> None:
        name = posixpath.basename(hidden)
        is_file = hidden == entry.path and entry.kind is not FileType.Directory
        if is_file and pointer_by_name(name) and claims_picture(name):  # .1.jpg.icloud
            self.skipped.append((entry.path, pointer_by_name(name)))
        elif is_file and name.startswith("_") and is_image_name(name):
            self.skipped.append((entry.path, HIDDEN))
        elif not is_file or len(self.hidden) < MOST_LOOKS:
            self.hidden.add(name if is_file else hidden)

    def _is_unsure(self, entry: Entry) -> bool:
        """Returns whether a file's first bytes must be read; records other files."""
        path, why = entry.path, pointer_by_name(entry.path)
        if entry.kind is FileType.NotFound:
            why = ANNEX if "annex/objects/" in entry.leads_to else NO_TARGET
        elif entry.kind is FileType.Unknown:
            why = NO_FILE
        if why:
            self.skipped.append((path, why))
        elif entry.length and may_be_image(path):
            return True
        else:
            self._pass_over(path)
        return False

    def _pass_over(self, path: str) -> None:
        *folders, name = path.split("/")
        first = folders[0] if folders else ""
        if name in TABLES and len(folders) < 2:
            self.tables[first] = path
        self.others[suffix_of(path)][first] += 1
        if claims_picture(path):
            self.skipped.append((path, NOT_IMAGE))

    def _images_among(self, suffix: str, entries: Sequence[Entry]) -> Iterable[Entry]:
        """Returns which files are images, by the first bytes of at most MOST_LOOKS.

        If there are more, the rest is taken for what most of those are: the job finds
        out later which cannot be decoded.
        """
        looked, rest = entries[:MOST_LOOKS], entries[MOST_LOOKS:]
        found = []
        for entry, data in zip(looked, self._beginnings(looked), strict=True):
            if isinstance(data, ImageError):
                self.skipped.append((entry.path, str(data)))
            elif isinstance(data, OSError):
                raise_outage(data, join(self.url, entry.path))
                self.skipped.append((entry.path, reason(data)))
            elif is_image(data):
                found.append(entry)
            elif pointer := pointer_in(data):
                self.skipped.append((entry.path, pointer))
            else:
                self._pass_over(entry.path)
        text = (
            f"{len(found)} of {len(looked)} files ({suffix or 'no suffix'}) are images"
        )
        if rest and 2 * len(found) > len(looked):
            found += rest
            text += f", and {len(rest)} more are taken for images"
        elif rest:
            for entry in rest:
                self._pass_over(entry.path)
            text += f", and {len(rest)} more are taken for other files"
        if found or rest:
            self._looked.append(f"{text}, by the first bytes of {len(looked)}")
        return found

    def _beginnings(
        self, entries: Sequence[Entry]
    ) -> Iterator[bytes | OSError | ImageError]:
        if self.packs:
            return self.source.read(entries)
        paths = [posixpath.join(self._root, entry.path) for entry in entries]
        return read_beginnings(self._filesystem, paths, BEGINNING)


def some(names: Iterable[str]) -> str:
    """Returns the first names of a sorted list, as "'a', 'b' and 3 more"."""
    found = sorted(filter(None, names))
    text = ", ".join(map(repr, found[:MOST_NAMES]))
    more = len(found) - MOST_NAMES
    return f"{text} and {more} more" if more > 0 else text
