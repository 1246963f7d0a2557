"""A trained classifier as it is served: image bytes in, scores by label out.

    --model results/retrained_graph.pb          its labels are found by `labels`
    --model flowers.tflite                  with its labels inside, or found likewise
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

INPUTS = {  # placeholder -> (mean, std) by which the original scripts scaled pixels
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
    """A `.tflite`: the one beside a retrained graph, or of another maker.

    Attributes:
      path: the local file, for as long as this is used.
      normalization: how it is fed; None if integers are fed in their whole range.
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
          source: what messages call it.
          normalization: how to feed it, whatever the file says.

        Raises:
          ModelError: if it is no classifier of pictures with L labels, or nothing
            says how it wants them.
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
    """Returns the classifier in a frozen graph file or a SavedModel folder.

    Args:
      model: URL of `*.pb`, `*.tflite` or a SavedModel folder.
      labels: URL of the labels file; None takes those inside a `.tflite` or a
        SavedModel, else those of the model's run, as `labels` finds them.
      normalization: how to feed a `.tflite`; None asks the file.

    Raises:
      ConfigError: if there is a normalization for another kind of model.
      ModelError: if there is no such model, or the labels do not fit it.
    """
    given = read_labels(labels) if labels else None
    if normalization and not model.endswith(LITERT_SUFFIXES):
        raise ConfigError(
            f"--input_mean and --input_std with {model!r}: it is no .tflite, and other "
            "models scale pixels themselves or by the name of their input; leave them "
            "out"
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
        logger.warning("%s is not of the same run as %s: not used", fast, model)
    return _tensorflow().FrozenGraphClassifier(read_url(model), model, names)


def _staged(url: str, load: Callable[[str], Classifier]) -> Classifier:
    """Returns what `load` makes of the local path of a file or folder."""
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
    """Returns the classifier in the local copy of a `.tflite`."""
    names = _labels_inside(path, model) if given is None else given
    if not names and given is None:
        names = labels_of(model, run_beside(model))
    return LiteRTClassifier(path, names, model, normalization)


def _labels_inside(path: str, model: str) -> tuple[str, ...]:
    """Returns the labels that a local `.tflite` carries, none if it has none."""
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
