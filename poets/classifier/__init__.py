"""Loads trained classifiers: image bytes in, one score per label out.

    --model results/retrained_graph.pb          labels from the files beside it
    --model flowers.tflite                      labels inside it, or beside it
    --model hdfs://default/run/saved_model/1    a SavedModel folder, on any storage

The formats and the modules that read them are the rows of `poets.formats.FORMATS`.
Models that must be local files are copied to a temporary folder, which is deleted
together with the classifier.
"""

import importlib
import os
import posixpath
import shutil
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import numpy as np
import pyarrow.fs

from poets.data.image_files import ImageError
from poets.data.images import decode, resize
from poets.errors import ConfigError, ModelError
from poets.features.engines import ImageEngine, Normalization
from poets.formats import FORMATS, Format, known_formats
from poets.report.labels import names_in, read_labels
from poets.storage import is_local, join, kind_of, open_storage, read_url
from poets.storage.reading import stage_folder

T = TypeVar("T", bound="Classifier")

NONE = "(none)"
"""The answer for a picture that is rejected: no label has a high enough score."""


class Classifier(ABC):
    """A loaded model.

    Attributes:
      labels: L labels, in the order of the scores.
    """

    labels: tuple[str, ...]

    @abstractmethod
    def score(self, data: bytes) -> np.ndarray:
        """Returns float32 [L] for the content of an image file.

        Raises:
          ImageError: if it cannot be classified.
        """

    def predict(self, images: Sequence[bytes]) -> list[np.ndarray | ImageError]:
        """Returns float32 [L] for each image, or why it cannot be classified."""
        return [_result_or_error(self.score, data) for data in images]


@dataclass(eq=False)
class EngineClassifier(Classifier):
    """A model that an engine of `poets.features.engines` runs, without TensorFlow.

    Attributes:
      engine: the engine's name.
      path: the local file, which must exist as long as the classifier is used.
      network: the engine with the file loaded.
      normalization: how it scales pixels; None for integer inputs that take their
        type's whole range.
    """

    labels: tuple[str, ...]
    engine: str
    path: str
    network: ImageEngine
    normalization: Normalization | None

    def score(self, data: bytes) -> np.ndarray:
        """Returns float32 [L]; see `Classifier`."""
        return self.network.run([self._pixels(data)])[0]

    def predict(self, images: Sequence[bytes]) -> list[np.ndarray | ImageError]:
        """Returns float32 [L] for each image; see `Classifier`."""
        size = self.network.batch_size
        batches = (images[at : at + size] for at in range(0, len(images), size))
        return [answer for batch in batches for answer in self._score_batch(batch)]

    def _score_batch(self, batch: Sequence[bytes]) -> list[np.ndarray | ImageError]:
        """Scores images that go through the network together."""
        pictures = [_result_or_error(self._pixels, data) for data in batch]
        whole = [each for each in pictures if isinstance(each, np.ndarray)]
        scores = iter(self.network.run(whole) if whole else ())
        return [
            next(scores) if isinstance(each, np.ndarray) else each for each in pictures
        ]

    def _pixels(self, data: bytes) -> np.ndarray:
        return resize(decode(data), self.network.image_size_px)


def _result_or_error(
    compute: Callable[[bytes], np.ndarray], data: bytes
) -> np.ndarray | ImageError:
    try:
        return compute(data)
    except ImageError as error:
        return error


def load_classifier(
    model: str, labels: str | None = None, normalization: Normalization | None = None
) -> Classifier:
    """Loads the classifier in a file or a folder.

    Args:
      model: URL of a model in any format, or of a folder with one.
      labels: URL of the labels file; None takes the labels inside the model, else those
        that `poets.report.labels` finds beside it.
      normalization: how to scale pixels for a model of another program; None reads it
        from the file.

    Raises:
      ConfigError: if a normalization is given for a format that has its own.
      ModelError: if there is no such model, or the labels do not match it.
    """
    given = read_labels(labels) if labels else None
    kind = kind_of(model)
    if kind == pyarrow.fs.FileType.NotFound:
        raise ModelError(f"no model at {model!r}; give one of: {known_formats()}")
    if kind == pyarrow.fs.FileType.Directory:
        names = names_in(model)
        for row in FORMATS.values():
            if row.marker in names:
                return _reader(row).load(model, given, normalization)
        model = join(model, _only_model(names, model))
    rows = (row for row in FORMATS.values() if model.endswith(row.suffixes))
    row = next(rows, FORMATS["frozen"])  # a graph may have any name
    return _reader(row).load(model, given, normalization)


def best_labels(
    labels: Sequence[str], scores: np.ndarray, count: int, reject_below: float = 0.0
) -> list[tuple[str, float]]:
    """Returns the best labels with their scores, best first.

    If the best score is too low, that is `NONE` alone, with this score.

    Args:
      labels: L labels, in the order of the scores.
      scores: float32 [L].
      count: how many, at least 1; more than L gives L.
      reject_below: the least score of an answer, 0 to 1.
    """
    if scores.max() < reject_below:
        return [(NONE, float(scores.max()))]
    best_first = np.argsort(-scores, kind="stable")[:count]
    return [(labels[index], float(scores[index])) for index in best_first]


def _only_model(names: Sequence[str], folder: str) -> str:
    """Returns the model of a folder: the only file of the first format in it."""
    for row in FORMATS.values():
        found = [name for name in names if name.endswith(row.suffixes)]
        if len(found) == 1:
            return found[0]
        if found:
            break
    raise ModelError(
        f"{folder!r} is a folder with {len(found)} models and no saved_model.pb; name "
        "the model itself"
    )


def _reader(row: Format) -> ModuleType:
    try:
        return importlib.import_module(row.reader)
    except ModuleNotFoundError as error:
        if error.name not in row.packages:  # a bug in poets, not a missing package
            raise
        raise ModelError(
            f"cannot read an {row.title}: {error.name} is not installed; "
            f"{row.installation}"
        ) from error


def staged(url: str, load: Callable[[str], T], is_folder: bool = False) -> T:
    """Calls `load` with a local path of a file or folder; copies it if necessary."""
    filesystem, path = open_storage(url)
    if is_local(filesystem):
        return load(path)
    staging = tempfile.mkdtemp(prefix="poets-model-")
    try:
        copy = os.path.join(staging, posixpath.basename(path))
        if is_folder:
            stage_folder(url, copy)
        else:
            Path(copy).write_bytes(read_url(url))
        classifier = load(copy)
    except BaseException:
        shutil.rmtree(staging)
        raise
    weakref.finalize(classifier, shutil.rmtree, staging, ignore_errors=True)
    return classifier


def refuse_normalization(normalization: Normalization | None, model: str) -> None:
    """Raises ConfigError if one is given for a model that scales pixels itself."""
    if normalization:
        raise ConfigError(
            f"--input_mean and --input_std with {model!r}: graphs and SavedModels "
            "scale pixels themselves or by the name of their input; leave them out"
        )


def check_labels(labels: Sequence[str], outputs: int, model: str) -> None:
    """Raises ModelError unless the model has one output per label."""
    if len(labels) != outputs:
        raise ModelError(
            f"{model!r} has {outputs} outputs, and its labels file {len(labels)} "
            "labels; give the labels file of the same run by --labels"
        )
