"""A trained classifier as it is served: image bytes in, scores by label out.

    --model results/retrained_graph.pb      with its labels file, or its .tflite beside
    --model flowers.tflite                  with its labels inside, or a file beside
    --model hdfs://default/run/saved_model/1    a SavedModel folder, on any storage

A graph that a run of ours left with its `.tflite` is answered by LiteRT, which starts
in a fraction of TensorFlow's time; `metrics.json` tells by digest whether the two are
of one run. Graphs of the original scripts go through TensorFlow. What must be a local
file to be loaded is copied to a temporary folder, which goes when the classifier goes.
"""

import hashlib
import importlib
import json
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

from poets.bottlenecks.engines import Normalization
from poets.errors import ConfigError, ModelError, StorageError
from poets.images import ImageError, decode, resize
from poets.storage import (
    exists,
    is_local,
    join,
    kind_of,
    open_storage,
    read_url,
    reason,
)
from poets.storage.reading import stage_folder

logger = logging.getLogger(__name__)

LABEL_FILES = ("retrained_labels.txt", "output_labels.txt")
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
      labels: URL of the labels file; None looks for them in a `.tflite`, then for a
        file beside the model.
      normalization: how to feed a `.tflite`; None asks the file.

    Raises:
      ConfigError: if there is a normalization for another kind of model.
      ModelError: if there is no such model, or the labels do not fit it.
    """
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
            return _staged(model, lambda folder: load(folder, model))
        graphs = _graphs_in(model)
        if len(graphs) != 1:
            raise ModelError(
                f"{model!r} is a folder with {len(graphs)} graphs and no "
                "saved_model.pb; name the model itself"
            )
        model = join(model, graphs[0])
    if model.endswith(LITERT_SUFFIXES):
        return _staged(model, lambda path: _litert(path, model, labels, normalization))
    names = read_labels(labels or _labels_beside(model))
    fast = posixpath.splitext(model)[0] + ".tflite"
    if _is_same_run(model, fast):
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
    path: str, model: str, labels: str | None, normalization: Normalization | None
) -> LiteRTClassifier:
    """Returns the classifier in the local copy of a `.tflite`."""
    if labels:
        names = read_labels(labels)
    else:
        names = _labels_inside(path, model) or read_labels(_labels_beside(model))
    return LiteRTClassifier(path, names, model, normalization)


def _labels_inside(path: str, model: str) -> tuple[str, ...]:
    """Returns the labels that a local `.tflite` carries, none if it has none."""
    metadata = importlib.import_module("poets.classifier.tflite_metadata")
    with open(path, "rb") as file:
        found = metadata.read_labels_file(file.read(), model)
    return _lines(found or b"", model)


def read_labels(url: str) -> tuple[str, ...]:
    """Returns the lines of a labels file."""
    return _lines(read_url(url), url)


def _lines(labels: bytes, source: str) -> tuple[str, ...]:
    try:
        lines = labels.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ModelError(
            f"the labels file {source!r} is no UTF-8 text: {error}"
        ) from error
    return tuple(line for line in lines if line)


def check_labels(labels: Sequence[str], outputs: int, model: str) -> None:
    """Raises ModelError unless the model has one output per label."""
    if len(labels) != outputs:
        raise ModelError(
            f"{model!r} has {outputs} outputs, and its labels file {len(labels)} "
            "labels; give the labels file of the same run by --labels"
        )


def _tensorflow() -> ModuleType:
    return importlib.import_module("poets.classifier.with_tensorflow")


def _graphs_in(url: str) -> list[str]:
    filesystem, path = open_storage(url)
    try:
        infos = filesystem.get_file_info(pyarrow.fs.FileSelector(path))
    except OSError as error:
        raise StorageError(f"cannot list {url!r}: {reason(error)}") from error
    return [
        info.base_name
        for info in infos
        if info.base_name.endswith(".pb") and not info.base_name.startswith(".")
    ]


def _labels_beside(model: str) -> str:
    folder = posixpath.dirname(model)
    beside = [posixpath.join(folder, name) for name in LABEL_FILES]
    stem = posixpath.splitext(model)[0]
    beside.append(f"{stem}.txt")
    beside.append(f"{stem.removesuffix('graph')}labels.txt")
    for url in beside:
        if exists(url):
            return url
    raise ModelError(
        f"no labels file beside {model!r}: looked for {', '.join(LABEL_FILES)}; give "
        "one by --labels"
    )


def _is_same_run(model: str, fast: str) -> bool:
    """Whether `metrics.json` says that graph and .tflite are of one run."""
    metrics = posixpath.join(posixpath.dirname(model), "metrics.json")
    if not (exists(fast) and exists(metrics)):
        return False
    try:
        exports = json.loads(read_url(metrics))["exports"]
        recorded = [exports[posixpath.basename(url)]["sha256"] for url in (model, fast)]
    except (ValueError, KeyError, TypeError):
        return False
    found = [hashlib.sha256(read_url(url)).hexdigest() for url in (model, fast)]
    if found != recorded:
        logger.warning("%s is not of the same run as %s: not used", fast, model)
    return found == recorded
