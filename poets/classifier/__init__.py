"""A trained classifier as it is served: image bytes in, scores by label out.

    --model results/retrained_graph.pb      its labels are found by poets.labels
    --model hdfs://default/run/saved_model/1    a SavedModel folder, on any storage

A graph that a run of ours left with its `.tflite` is answered by LiteRT, which starts
in a fraction of TensorFlow's time; `metrics.json` shows by digest whether the two are
of one run. Graphs of the original scripts go through TensorFlow. What must be a local
file to be loaded is copied to a temporary folder, which goes when the classifier goes.
"""

import importlib
import logging
import os
import posixpath
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Protocol

import numpy as np
import pyarrow.fs

from poets.errors import ModelError
from poets.images import ImageError, decode, resize
from poets.labels import digest_of, labels_of, names_in, read_labels, run_beside
from poets.storage import exists, is_local, join, kind_of, open_storage, read_url
from poets.storage.reading import stage_folder

logger = logging.getLogger(__name__)


class Classifier(Protocol):
    """A loaded model.

    Attributes:
      labels: L labels, in the order of the scores.
    """

    labels: tuple[str, ...]

    def predict(self, images: Sequence[bytes]) -> list[np.ndarray | ImageError]:
        """Returns float32 [L] for each image, or why it cannot be classified."""


class LiteRTClassifier:
    """The `.tflite` beside a retrained graph.

    Attributes:
      path: the local file, for as long as this is used.
    """

    def __init__(self, path: str, labels: tuple[str, ...], source: str = "") -> None:
        """Loads a local file; `source` is what messages call it."""
        engine = importlib.import_module("poets.bottlenecks.engine_litert")
        self.path = path
        self.labels = labels
        self._engine = engine.connect(path)
        check_labels(labels, self._engine.output_size, source or path)

    def predict(self, images: Sequence[bytes]) -> list[np.ndarray | ImageError]:
        """Returns float32 [L] for each image, or why it cannot be classified."""
        return [self._predict(data) for data in images]

    def _predict(self, data: bytes) -> np.ndarray | ImageError:
        try:
            picture = resize(decode(data), self._engine.image_size_px)
        except ImageError as error:
            return error
        return self._engine.run([picture])[0]


def load_classifier(model: str, labels: str | None = None) -> Classifier:
    """Returns the classifier in a frozen graph file or a SavedModel folder.

    Args:
      model: URL of `*.pb`, `*.tflite` or a SavedModel folder.
      labels: URL of the labels file; None takes those of the model's run, as
        `poets.labels` finds them, or the SavedModel's own.

    Raises:
      ModelError: if there is no such model, or the labels do not fit it.
    """
    given = read_labels(labels) if labels else None
    kind = kind_of(model)
    if kind == pyarrow.fs.FileType.NotFound:
        raise ModelError(
            f"no model at {model!r}; give a retrained graph (.pb, .tflite) or the "
            "folder of a SavedModel"
        )
    if kind == pyarrow.fs.FileType.Directory:
        if exists(join(model, "saved_model.pb")):
            load = _tensorflow().SavedModelClassifier
            return _staged(model, lambda folder: load(folder, model, given))
        graphs = [name for name in names_in(model) if name.endswith(".pb")]
        if len(graphs) != 1:
            raise ModelError(
                f"{model!r} is a folder with {len(graphs)} graphs and no "
                "saved_model.pb; name the model itself"
            )
        model = join(model, graphs[0])
    run = run_beside(model)
    names = labels_of(model, run) if given is None else given
    fast = posixpath.splitext(model)[0] + ".tflite"
    if model != fast and run.digests and exists(fast):
        if run.made_model and digest_of(fast) in run.digests:
            model = fast
        else:
            logger.warning("%s is not of the same run as %s: not used", fast, model)
    if model == fast:
        return _staged(fast, lambda path: LiteRTClassifier(path, names, fast))
    return _tensorflow().FrozenGraphClassifier(read_url(model), model, names)


def _staged(url: str, load: Callable[[str], Classifier]) -> Classifier:
    """Returns what `load` makes of the local path of a file or folder."""
    filesystem, path = open_storage(url)
    if is_local(filesystem):
        return load(path)
    staging = tempfile.mkdtemp(prefix="poets-model-")
    try:
        staged = os.path.join(staging, posixpath.basename(path))
        if url.endswith(".tflite"):
            with open(staged, "wb") as file:
                file.write(read_url(url))
        else:
            stage_folder(url, staged)
        classifier = load(staged)
    except BaseException:
        shutil.rmtree(staging)
        raise
    weakref.finalize(classifier, shutil.rmtree, staging, ignore_errors=True)
    return classifier


def check_labels(labels: Sequence[str], outputs: int, model: str) -> None:
    """Raises ModelError unless the model has one output per label."""
    if len(labels) != outputs:
        raise ModelError(
            f"{model!r} has {outputs} outputs, and its labels file {len(labels)} "
            "labels; give the labels file of the same run by --labels"
        )


def _tensorflow() -> ModuleType:
    return importlib.import_module("poets.classifier.with_tensorflow")
