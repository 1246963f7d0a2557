"""A trained classifier as it is served: image bytes in, scores by label out.

    --model results/retrained_graph.pb      with its labels file, or its .tflite beside
    --model results/saved_model/1           a SavedModel folder

A graph that a run of ours left with its `.tflite` is answered by LiteRT, which starts
in a fraction of TensorFlow's time; `metrics.json` tells by digest whether the two are
of one run. Graphs of the original scripts go through TensorFlow.
"""

import hashlib
import importlib
import json
import logging
import posixpath
from collections.abc import Sequence
from types import ModuleType
from typing import Protocol

import numpy as np
import pyarrow.fs

from poets.errors import ModelError
from poets.images import ImageError, decode, resize
from poets.storage import exists, is_local, join, open_storage, read_url

logger = logging.getLogger(__name__)

LABEL_FILES = ("retrained_labels.txt", "output_labels.txt")


class Classifier(Protocol):
    """A loaded model.

    Attributes:
      labels: L labels, in the order of the scores.
    """

    labels: tuple[str, ...]

    def predict(self, images: Sequence[bytes]) -> list[np.ndarray | ImageError]:
        """Returns float32 [L] for each image, or why it cannot be classified."""


class LiteRTClassifier:
    """The `.tflite` beside a retrained graph."""

    def __init__(self, path: str, labels: tuple[str, ...]) -> None:
        engine = importlib.import_module("poets.bottlenecks.engine_litert")
        self.path = path
        self.labels = labels
        self._engine = engine.connect(path)
        check_labels(labels, self._engine.output_size, path)

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
      labels: URL of the labels file; None looks for one beside the graph.

    Raises:
      ModelError: if there is no such model, or the labels do not fit it.
    """
    filesystem, path = open_storage(model)
    kind = filesystem.get_file_info(path).type
    if kind == pyarrow.fs.FileType.NotFound:
        raise ModelError(
            f"no model at {model!r}; give a retrained graph (.pb, .tflite) or the "
            "folder of a SavedModel"
        )
    if not is_local(filesystem):
        raise ModelError(f"{model!r} is not on this machine; copy it here first")
    if kind == pyarrow.fs.FileType.Directory:
        if exists(join(model, "saved_model.pb")):
            return _tensorflow().SavedModelClassifier(path)
        graphs = _graphs_in(filesystem, path)
        if len(graphs) != 1:
            raise ModelError(
                f"{model!r} is a folder with {len(graphs)} graphs and no "
                "saved_model.pb; name the model itself"
            )
        model, path = join(model, graphs[0]), posixpath.join(path, graphs[0])
    names = read_labels(labels or _labels_beside(model))
    if path.endswith(".tflite"):
        return LiteRTClassifier(path, names)
    fast = posixpath.splitext(path)[0] + ".tflite"
    if _is_same_run(model, path, fast):
        return LiteRTClassifier(fast, names)
    return _tensorflow().FrozenGraphClassifier(read_url(model), model, names)


def read_labels(url: str) -> tuple[str, ...]:
    """Returns the lines of a labels file."""
    try:
        lines = read_url(url).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ModelError(
            f"the labels file {url!r} is no UTF-8 text: {error}"
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


def _graphs_in(filesystem: pyarrow.fs.FileSystem, path: str) -> list[str]:
    infos = filesystem.get_file_info(pyarrow.fs.FileSelector(path))
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


def _is_same_run(model: str, path: str, fast: str) -> bool:
    """Whether `metrics.json` says that graph and .tflite are of one run."""
    metrics = posixpath.join(posixpath.dirname(path), "metrics.json")
    if not (exists(fast) and exists(metrics)):
        return False
    try:
        exports = json.loads(read_url(metrics))["exports"]
        recorded = [
            exports[posixpath.basename(name)]["sha256"] for name in (path, fast)
        ]
    except (ValueError, KeyError, TypeError):
        return False
    found = [hashlib.sha256(read_url(name)).hexdigest() for name in (path, fast)]
    if found != recorded:
        logger.warning("%s is not of the same run as %s: not used", fast, model)
    return found == recorded
