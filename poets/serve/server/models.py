"""The models of a server, and their versions.

    MODEL              a graph, a .tflite, an .onnx, a SavedModel or a results folder
    MODEL/1, MODEL/2   a folder of versions, as TensorFlow Serving has them

The newest version serves, and each that a label names. A new one is loaded beside the
old, checked on a grey picture, and takes over; the old one ends after its last answer.
A version that does not load is reported, and tried again when its files change. If the
folder of the newest one is removed, the newest of the others takes over.
"""

import asyncio
import logging
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from poets.errors import ConfigError, ModelError, PoetsError
from poets.serve.server.errors import PictureError, RequestError, not_found
from poets.serve.server.scoring import Description, Process, Scorer, Scores
from poets.storage import join, kind_of, open_storage, storage_errors

logger = logging.getLogger(__name__)

POLL_S = 1.0
"""How often folders of versions are listed."""

LOADING, AVAILABLE, END = "LOADING", "AVAILABLE", "END"
"""States of a version, in the words of TensorFlow Serving's ModelVersionStatus."""


@dataclass(frozen=True)
class Source:
    """A model to serve.

    Attributes:
      name: in requests.
      url: the model, or a folder of versions.
      labels: URL of the labels file; None searches for it.
      version_labels: version label -> version.
      reject_below: people see (none) if no label has a score of that much; None takes
        the reject threshold of the run.
    """

    name: str
    url: str
    labels: str | None
    version_labels: Mapping[str, int]
    reject_below: float | None


@dataclass
class Version:
    """One version of a model; it equals another with the same files.

    Attributes:
      number: 1 or more.
      url: of its folder or file.
      files: path -> size and time of change; empty for a model by itself.
      state: a state of TensorFlow Serving.
      error: why it does not serve, "" if it does.
      scorer: its processes, if it is loaded.
      reject_below: the score below which people see (none); 0 rejects nothing.
    """

    number: int
    url: str
    files: Mapping[str, Any] = field(default_factory=dict)
    state: str = field(default=LOADING, compare=False)
    error: str = field(default="", compare=False)
    scorer: Scorer | None = field(default=None, compare=False)
    reject_below: float = field(default=0.0, compare=False)

    @property
    def threshold(self) -> float:
        """The score below which an answer is (none): the server's, else the run's.

        Raises:
          ModelError: if neither has one.
        """
        if self.reject_below:
            return self.reject_below
        from poets.report.threshold import reject_threshold  # imports pyarrow

        return reject_threshold(self.description.metrics, self.url)

    @property
    def description(self) -> Description:
        """What is known about the loaded model."""
        return self._loaded().description

    @property
    def labels(self) -> Sequence[str]:
        """L labels, in the order of the scores."""
        return self.description.labels

    async def score(self, pictures: Sequence[bytes]) -> list[Scores | PictureError]:
        """Returns the scores of each picture, or why it has none.

        Find the version and call this without another `await` between: a version that
        was replaced ends as soon as it computes nothing.
        """
        return await self._loaded().score(pictures)

    def _loaded(self) -> Scorer:
        if self.scorer is None:
            raise RequestError(f"version {self.number} is not loaded", "UNAVAILABLE")
        return self.scorer


class Model:
    """A model and its versions; `start` loads it.

    Attributes:
      name: in requests.
      versions: by number, also those that do not serve.
    """

    def __init__(
        self, source: Source, new_scorer: Callable[[str, str | None], Scorer]
    ) -> None:
        """Sets the maker of processes, from a model's URL and that of its labels."""
        self.name = source.name
        self.versions: dict[int, Version] = {}
        self._source, self._new_scorer = source, new_scorer
        self._labelled = set(source.version_labels.values())
        self._ending: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Loads the newest version that loads, and those with a label.

        Raises:
          ModelError: if none loads.
        """
        first = Process()
        try:
            await first.start()  # it imports its modules while versions are listed
            found = await asyncio.to_thread(find_versions, self._source.url)
        except BaseException:
            await first.stop()
            raise
        for number in sorted(found, reverse=True):
            if not self.serving or number in self._labelled:
                idle = None if self.versions else first
                await self._load(found[number], idle)
        missing = self._labelled - {version.number for version in self.serving}
        if missing or not self.serving:
            what = "a labelled version" if missing else "any version"
            errors = [v.error for v in self.versions.values() if v.error]
            errors += [f"there is no version {n}" for n in missing - set(self.versions)]
            why = "; ".join(errors)
            raise ModelError(f"model {self.name!r} cannot serve {what}: {why}")

    async def watch(self) -> None:
        """Looks for new versions until it is cancelled; a model by itself has none."""
        before: dict[int, Version] = {}
        while any(version.files for version in self.versions.values()):
            await asyncio.sleep(POLL_S)
            try:
                found = await asyncio.to_thread(find_versions, self._source.url)
                settled = {n: v for n, v in found.items() if v == before.get(n)}
                gone = {v.number for v in self.serving} - {*found, *before}
                before = found
                await self._take_over(settled, gone)
            except (PoetsError, OSError) as error:
                logger.warning("%s: looking for versions: %s", self.name, error)

    async def _take_over(self, found: Mapping[int, Version], gone: set[int]) -> None:
        """Loads the newest and the labelled versions, and ends those replaced.

        Args:
          found: the versions whose files have stopped changing.
          gone: serving versions whose files were removed; they serve until another
            does.
        """
        kept = {version.number for version in self.serving} - gone
        wanted = {max(kept.union(found), default=0), *self._labelled}
        for number in sorted(wanted.intersection(found)):
            known = self.versions.get(number)
            failed = known and known.error and known == found[number]
            if known is None or not (known.scorer or failed):
                await self._load(found[number])
        serving = self.serving
        staying = [each for each in serving if each.number not in gone] or serving
        for version in serving:
            if version is not staying[-1] and version.number not in self._labelled:
                self._end(version)

    async def _load(self, version: Version, idle: Process | None = None) -> None:
        """Loads a version, in a process that has started if there is one."""
        self.versions[version.number] = version
        scorer = self._new_scorer(version.url, self._source.labels)
        try:
            await scorer.start(idle)
            version.scorer = scorer
            least = self._source.reject_below
            version.reject_below = version.threshold if least is None else least
        except (ModelError, OSError) as error:  # OSError: no process can be started
            version.state, version.error = END, str(error)
            logger.error("%s, version %d refused: %s", self.name, version.number, error)
            version.scorer = None
            await scorer.stop()
            return
        version.state = AVAILABLE
        logger.info("%s, version %d serves: %s", self.name, version.number, version.url)

    def _end(self, version: Version) -> None:
        """Ends a version after its last answer."""
        version.state, scorer, version.scorer = END, version.scorer, None
        logger.info("%s, version %d ends", self.name, version.number)
        if scorer:
            task = asyncio.create_task(scorer.stop())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    @property
    def serving(self) -> list[Version]:
        """Returns the versions that serve, the newest last."""
        serving = (v for v in self.versions.values() if v.state == AVAILABLE)
        return sorted(serving, key=lambda version: version.number)

    def version(self, number: int | None = None, label: str | None = None) -> Version:
        """Returns a version that serves, the newest by default.

        Raises:
          RequestError: NOT_FOUND if it does not serve.
        """
        if label is not None:
            if label not in self._source.version_labels:
                raise RequestError(f"Unrecognized servable version label: {label}")
            number = self._source.version_labels[label]
        found = [each for each in self.serving if number in (None, each.number)]
        if found:
            return found[-1]
        if number is None:
            raise not_found(f"Latest({self.name})")
        raise not_found(f"Specific({self.name}, {number})")

    async def stop(self) -> None:
        """Waits for the answers in progress, then ends all processes."""
        for version in self.serving:
            self._end(version)
        await asyncio.gather(*self._ending)


class Models:
    """All models of a server, by name."""

    def __init__(self, models: Iterable[Model]) -> None:
        self._models = {model.name: model for model in models}
        self._watchers: list[asyncio.Task[None]] = []

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def find(self, name: str) -> Model:
        """Returns a model.

        Raises:
          RequestError: NOT_FOUND.
        """
        if name not in self._models:
            raise not_found(f"Latest({name})")
        return self._models[name]

    async def start(self) -> None:
        """Loads all models, then looks for new versions.

        Raises:
          ModelError: if one does not load.
        """
        await asyncio.gather(*(model.start() for model in self))
        self._watchers = [asyncio.create_task(model.watch()) for model in self]

    async def stop(self) -> None:
        """Waits for the answers in progress, then ends all processes."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*(model.stop() for model in self))


def find_versions(url: str) -> dict[int, Version]:
    """Returns the versions in a folder by their numbers.

    A model by itself is version 1, or its folder's name if that is a number.

    Raises:
      ModelError: if there is no model.
      StorageError: if the storage does not answer.
    """
    # It takes a while to import, in which the first process starts.
    from pyarrow.fs import FileSelector, FileType

    kind = kind_of(url)
    if kind == FileType.NotFound:
        raise ModelError(
            f"no model at {url!r}; give a graph (.pb), .tflite, .onnx, the folder of a "
            "SavedModel or of results, or a folder of versions 1, 2, ..."
        )
    filesystem, path = open_storage(url)
    own = _number_in(posixpath.basename(path.rstrip("/"))) or 1
    alone = {own: Version(own, url)}
    if kind != FileType.Directory:
        return alone
    versions = {}
    with storage_errors(f"list {url!r}"):
        for info in filesystem.get_file_info(FileSelector(path)):
            number = _number_in(info.base_name)
            if info.type != kind or not number:
                continue  # the rest of a results folder is not listed each second
            below = FileSelector(info.path, recursive=True, allow_not_found=True)
            files = {
                each.path: (each.size, each.mtime_ns)
                for each in filesystem.get_file_info(below)
            }
            if files:
                place = join(url, info.base_name)
                versions[number] = Version(number, place, files)
    return versions or alone


def _number_in(name: str) -> int:
    """Returns the version in the name of a folder, 0 if it is none."""
    return int(name) if name.isdecimal() else 0


def name_and_url(text: str, name: str | None) -> tuple[str, str]:
    """Returns both of a word of the command line, `URL` or `NAME=URL`.

    Without `name`, it is the file's without its suffix, or the folder's: "flowers" for
    models/flowers, models/flowers/1 and flowers.tflite.

    Raises:
      ConfigError: if the name cannot be part of a request's path.
    """
    url = text
    if given := re.fullmatch(r"([^/:?=]+)=(.*)", text, re.DOTALL):
        name, url = given.groups()
    if name is None:
        *_, above, last = "", "", *filter(None, url.partition("?")[0].split("/"))
        is_version = above and last.isdecimal()
        name = above if is_version else posixpath.splitext(last)[0]
    if not name or set(name) & set("/:?#% "):
        raise ConfigError(
            f"the name {name!r} of model {url!r} cannot stand in a request's path; "
            "use letters, digits and _ . -"
        )
    return name, url
