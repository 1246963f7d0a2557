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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from poets.errors import ConfigError, ModelError, PoetsError
from poets.serve.server.errors import PictureError, RequestError
from poets.serve.server.scoring import Description, Process, Scorer, Scores
from poets.storage import join, kind_of, open_storage, storage_errors

logger = logging.getLogger(__name__)

POLL_S = 1.0
"""How often folders of versions are listed."""

START, LOADING, AVAILABLE, END = "START", "LOADING", "AVAILABLE", "END"
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
    labels: str | None = None
    version_labels: Mapping[str, int] = field(default_factory=dict)
    reject_below: float | None = 0.0


@dataclass(frozen=True)
class Found:
    """A version as found on its storage: its URL, and what changes with its files."""

    url: str
    state: object


@dataclass
class Version:
    """One version of a model.

    Attributes:
      number: 1 or more.
      found: its files.
      state: a state of TensorFlow Serving.
      error: why it does not serve, "" if it does.
      scorer: its processes, if it is loaded.
      reject_below: the score below which people see (none); 0 rejects nothing.
    """

    number: int
    found: Found
    state: str = START
    error: str = ""
    scorer: Scorer | None = None
    reject_below: float = 0.0

    @property
    def threshold(self) -> float:
        """The score below which an answer is (none): the server's, else the run's.

        Raises:
          ModelError: if neither has one.
        """
        if self.reject_below:
            return self.reject_below
        from poets.report.threshold import reject_threshold  # imports pyarrow

        return reject_threshold(self.description.metrics, self.found.url)

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
    """A model and its versions.

    Attributes:
      name: in requests.
      versions: by number, also those that do not serve.
    """

    def __init__(
        self, source: Source, new_scorer: Callable[[str, str | None], Scorer]
    ) -> None:
        """Makes a model; `start` loads it.

        Args:
          source: where it is.
          new_scorer: makes the processes for a model's URL and labels.
        """
        self.name = source.name
        self._source, self._new_scorer = source, new_scorer
        self.versions: dict[int, Version] = {}
        self._version_labels = dict(source.version_labels)
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
        newest, *older = sorted(found, reverse=True)
        await self._load(newest, found[newest], first)
        for number in older:
            if not self.serving or number in self._version_labels.values():
                await self._load(number, found[number])
        labelled = set(self._version_labels.values())
        missing = labelled - {version.number for version in self.serving}
        if missing or not self.serving:
            errors = [v.error for v in self.versions.values() if v.error]
            errors += [f"there is no version {n}" for n in missing - set(self.versions)]
            what = "a labelled version" if missing else "any version"
            raise ModelError(
                f"model {self.name!r} cannot serve {what}: {'; '.join(errors)}"
            )

    async def watch(self) -> None:
        """Looks for new versions until it is cancelled; a model by itself has none."""
        before: dict[int, Found] = {}
        while any(version.found.state for version in self.versions.values()):
            await asyncio.sleep(POLL_S)
            try:
                found = await asyncio.to_thread(find_versions, self._source.url)
                settled = {
                    n: each for n, each in found.items() if each == before.get(n)
                }
                gone = {v.number for v in self.serving} - {*found, *before}
                before = found
                await self._take_over(settled, gone if found and before else set())
            except (PoetsError, OSError) as error:
                logger.warning("%s: looking for versions: %s", self.name, error)

    async def _take_over(self, found: Mapping[int, Found], gone: set[int]) -> None:
        """Loads versions that are wanted and do not serve, and ends those replaced.

        Args:
          found: the versions whose files have stopped changing.
          gone: serving versions whose files were removed; they serve until another
            does.
        """
        for number in sorted(self._wanted(found, gone)):
            known = self.versions.get(number)
            failed = known and known.error and known.found == found[number]
            if known is None or not (known.scorer or failed):
                await self._load(number, found[number])
        serving = self.serving
        newest = [v.number for v in serving if v.number not in gone] or [
            serving[-1].number
        ]
        for version in serving:
            if version.number not in (newest[-1], *self._version_labels.values()):
                self._end(version)

    def _wanted(self, found: Iterable[int], gone: set[int]) -> set[int]:
        newest = max(found, default=0)
        kept = max({v.number for v in self.serving} - gone, default=0)
        wanted = {newest} - {0} if newest >= kept else set()
        return wanted | (set(self._version_labels.values()) & set(found))

    async def _load(
        self, number: int, found: Found, first: Process | None = None
    ) -> None:
        version = self.versions[number] = Version(number, found, LOADING)
        scorer = self._new_scorer(found.url, self._source.labels)
        try:
            await scorer.start(first)
            version.scorer = scorer
            least = self._source.reject_below
            version.reject_below = version.threshold if least is None else least
        except (ModelError, OSError) as error:  # OSError: no process can be started
            version.state, version.error = END, str(error)
            logger.error("%s, version %d refused: %s", self.name, number, error)
            if version.scorer:
                version.scorer = None
                await scorer.stop()
            return
        version.state = AVAILABLE
        logger.info("%s, version %d serves: %s", self.name, number, found.url)

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
            if label not in self._version_labels:
                raise RequestError(
                    f"Unrecognized servable version label: {label}", "INVALID_ARGUMENT"
                )
            number = self._version_labels[label]
        serving = self.serving
        if number is None:
            if serving:
                return serving[-1]
            raise not_found(f"Latest({self.name})")
        for version in serving:
            if version.number == number:
                return version
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

    @property
    def ready(self) -> bool:
        """Whether each model has a version that serves."""
        return all(model.serving for model in self._models.values())

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
        await asyncio.gather(*(model.start() for model in self._models.values()))
        self._watchers = [
            asyncio.create_task(model.watch()) for model in self._models.values()
        ]

    async def stop(self) -> None:
        """Waits for the answers in progress, then ends all processes."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*(model.stop() for model in self._models.values()))


def not_found(what: str) -> RequestError:
    """Returns TensorFlow Serving's error for a version that does not serve."""
    return RequestError(f"Servable not found for request: {what}", "NOT_FOUND")


def find_versions(url: str) -> dict[int, Found]:
    """Returns the versions in a folder; a model by itself is version 1.

    A model in a folder whose name is a number has that version.

    Raises:
      ModelError: if there is no model.
      StorageError: if the storage does not answer.
    """
    import pyarrow.fs  # takes a while, in which the first process starts

    kind = kind_of(url)
    if kind == pyarrow.fs.FileType.NotFound:
        raise ModelError(
            f"no model at {url!r}; give a graph (.pb), .tflite, .onnx, the folder of a "
            "SavedModel or of results, or a folder of versions 1, 2, ..."
        )
    filesystem, path = open_storage(url)
    versions = {}
    if kind == pyarrow.fs.FileType.Directory:
        with storage_errors(f"list {url!r}"):
            for info in filesystem.get_file_info(pyarrow.fs.FileSelector(path)):
                name, is_folder = info.base_name, info.type == kind
                if not (is_folder and name.isdecimal() and int(name)):
                    continue  # the rest of a results folder is not listed each second
                below = pyarrow.fs.FileSelector(
                    info.path, recursive=True, allow_not_found=True
                )
                files = [
                    (each.path, each.size, each.mtime_ns)
                    for each in filesystem.get_file_info(below)
                ]
                if files:
                    versions[int(name)] = Found(join(url, name), sorted(files))
    own = posixpath.basename(path.rstrip("/"))
    alone = int(own) if own.isdecimal() and int(own) else 1
    return versions or {alone: Found(url, None)}


def source_of(
    text: str,
    name: str | None,
    labels: str | None,
    version_labels: Mapping[str, int],
    reject_below: float | None,
) -> Source:
    """Returns the model of a word of the command line, `URL` or `NAME=URL`.

    Without a name, it is the file's without its suffix, or the folder's: "flowers" for
    models/flowers, models/flowers/1 and flowers.tflite.

    Raises:
      ConfigError: if the name cannot be part of a request's path.
    """
    before, separator, after = text.partition("=")
    url = text
    if separator and before and not set(before) & set("/:?"):
        name, url = before, after
    if name is None:
        *above, last = [part for part in url.partition("?")[0].split("/") if part] or [
            ""
        ]
        name = above[-1] if last.isdecimal() and above else posixpath.splitext(last)[0]
    if not name or set(name) & set("/:?#% "):
        raise ConfigError(
            f"the name {name!r} of model {url!r} cannot stand in a request's path; "
            "use letters, digits and _ . -"
        )
    return Source(name, url, labels, version_labels, reject_below)
