"""Loads trained classifiers: image bytes in, one score per label out.

    --model results/retrained_graph.pb          labels from the files beside it
    --model flowers.tflite                      labels inside it, or beside it
    --model hdfs://default/run/saved_model/1    a SavedModel folder, on any storage

If the `.tflite` beside a graph is from the same run, by the digests in `metrics.json`,
LiteRT computes the scores: it starts in a fraction of TensorFlow's time. Graphs of the
original scripts run in TensorFlow. Models that must be local files are copied to a
temporary folder, which is deleted together with the classifier.
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

from poets.data.images import ImageError, decode, resize
from poets.errors import ConfigError, ModelError
from poets.features.engines import Normalization
from poets.report.labels import (
    digest_of,
    labels_of,
    names_in,
    parse_labels,
    read_labels,
    run_beside,
)
from poets.storage import exists, is_local, join, kind_of, open_storage, read_url
from poets.storage.reading import stage_folder

logger = logging.getLogger(__name__)

LITERT_SUFFIXES = (".tflite", ".lite")

INPUTS = {  # placeholder -> (mean, std) of the original scripts
    "input": (127.5, 127.5),  # mobilenet_*
    "Mul": (128.0, 128.0),  # inception_v3
    "Placeholder": (0.0, 255.0),  # TensorFlow Hub modules
}


class Classifier(Protocol):
    """A loaded model.

    Attributes:
      labels: L labels, in the order of the scores.
    """

    labels: tuple[str, ...]

    def predict(self, images: Sequence[bytes]) -> list[np.ndarray | ImageError]:
        """Returns float32 [L] for each image, or why it cannot be classified."""


class LiteRTClassifier:
    """A `.tflite` file, exported by a run or made by another program.

    Attributes:
      path: the local file, which must exist as long as the classifier is used.
      normalization: how pixels are scaled; None for integer inputs that take their
        type's whole range.
    """

    def __init__(
        self,
        path: str,
        labels: tuple[str, ...],
        source: str = "",
        normalization: Normalization | None = None,
    ) -> None:
        """Loads a local file.

        Args:
          path: the file.
          labels: L labels, in the order of the scores.
          source: its name in messages.
          normalization: how to scale pixels, in place of what the file says.

        Raises:
          ModelError: if it is not an image classifier with L labels, or its
            normalization is unknown.
        """
        litert = importlib.import_module("poets.classifier.litert_input")
        self.path = path
        self.labels = labels
        self._engine, self.normalization = litert.load_scorer(
            path, source or path, normalization
        )
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


def load_classifier(
    model: str, labels: str | None = None, normalization: Normalization | None = None
) -> Classifier:
    """Loads the classifier in a file or a SavedModel folder.

    Args:
      model: URL of `*.pb`, `*.tflite` or a SavedModel folder.
      labels: URL of the labels file; None takes the labels inside a `.tflite` or a
        SavedModel, else those that `poets.report.labels` finds beside the model.
      normalization: how to scale pixels for a `.tflite`; None reads it from the file.

    Raises:
      ConfigError: if a normalization is given for another kind of model.
      ModelError: if there is no such model, or the labels do not match it.
    """
    given = read_labels(labels) if labels else None
    if normalization and not model.endswith(LITERT_SUFFIXES):
        raise ConfigError(
            f"--input_mean and --input_std with {model!r}: it is not a .tflite, and "
            "other models scale pixels themselves or by the name of their input; leave "
            "them out"
        )
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
    if model.endswith(LITERT_SUFFIXES):
        return _staged(model, lambda path: _litert(path, model, given, normalization))
    run = run_beside(model)
    names = labels_of(model, run) if given is None else given
    fast = posixpath.splitext(model)[0] + ".tflite"
    if run.digests and exists(fast):
        if run.made_model and digest_of(fast) in run.digests:
            return _staged(fast, lambda path: LiteRTClassifier(path, names, fast))
        logger.warning("%s is not from the same run as %s: not used", fast, model)
    return _tensorflow().FrozenGraphClassifier(read_url(model), model, names)


def _staged(url: str, load: Callable[[str], Classifier]) -> Classifier:
    """Calls `load` with a local path of the file or folder; copies it if necessary."""
    filesystem, path = open_storage(url)
    if is_local(filesystem):
        return load(path)
    staging = tempfile.mkdtemp(prefix="poets-model-")
    try:
        staged = os.path.join(staging, posixpath.basename(path))
        if url.endswith(LITERT_SUFFIXES):
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


def _litert(
    path: str,
    model: str,
    given: tuple[str, ...] | None,
    normalization: Normalization | None,
) -> LiteRTClassifier:
    """Loads the local copy of a `.tflite`."""
    names = _labels_inside(path, model) if given is None else given
    if not names and given is None:
        names = labels_of(model, run_beside(model))
    return LiteRTClassifier(path, names, model, normalization)


def _labels_inside(path: str, model: str) -> tuple[str, ...]:
    """Returns the labels inside a local `.tflite`, () if there are none."""
    metadata = importlib.import_module("poets.classifier.tflite_metadata")
    with open(path, "rb") as file:
        found = metadata.read_labels_file(file.read(), model)
    return parse_labels(found or b"", model)


def check_labels(labels: Sequence[str], outputs: int, model: str) -> None:
    """Raises ModelError unless the model has one output per label."""
    if len(labels) != outputs:
        raise ModelError(
            f"{model!r} has {outputs} outputs, and its labels file {len(labels)} "
            "labels; give the labels file of the same run by --labels"
        )


def _tensorflow() -> ModuleType:
    return importlib.import_module("poets.classifier.with_tensorflow")
