"""The formats of a trained classifier, one row each: `FORMATS`.

A row names the module that writes a format, the one that reads it, and the place of its
file or folder. Modules are imported on first use, so that a model is read without what
other formats need. This module imports none of them.
"""

import posixpath
from collections.abc import Callable
from dataclasses import dataclass

from poets.config import RetrainConfig


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
      title: for help, messages and listings.
      exporter: module with `build(model, path)`, which writes the local file or folder
        `path`, and `check(path, model, samples)`, which scores it; see `poets.export`.
      reader: module with `load(url, labels, normalization) -> Classifier`; see
        `poets.classifier`.
      url: returns the place that the flags give it, "" for none.
      flag: the flag that asks for it, for messages.
      suffixes: ends of the names of its files.
      marker: the name of the file by which a folder of it is known; "" for a file.
      optional: whether the run goes on without it if a network cannot be converted.
      packages: what its modules import that not everyone installs.
      extra: installs these.
    """

    title: str
    exporter: str
    reader: str
    url: Callable[[RetrainConfig], str]
    flag: str = "output_graph"
    suffixes: tuple[str, ...] = ()
    marker: str = ""
    optional: bool = False
    packages: tuple[str, ...] = ()
    extra: str = ""

    @property
    def installation(self) -> str:
        """The command that installs its packages."""
        return f"python -m pip install '{self.extra}'"


def beside(graph: str, suffix: str) -> str:
    """Returns the URL of the file beside a graph that differs in its suffix."""
    return posixpath.splitext(graph)[0] + suffix


FORMATS = {
    "frozen": Format(
        title="frozen graph",
        exporter="poets.export.frozen",
        reader="poets.classifier.frozen",
        url=lambda config: config.output_graph,
        suffixes=(".pb",),
    ),
    "litert": Format(
        title="LiteRT model",
        exporter="poets.export.litert",
        reader="poets.classifier.litert",
        url=lambda config: beside(config.output_graph, ".tflite"),
        suffixes=(".tflite", ".lite"),
        optional=True,
    ),
    "saved_model": Format(
        title="SavedModel",
        exporter="poets.export.saved_model",
        reader="poets.classifier.with_tensorflow",
        url=lambda config: config.saved_model_dir,
        flag="saved_model_dir",
        marker="saved_model.pb",
    ),
    "onnx": Format(
        title="ONNX model",
        exporter="poets.export.onnx",
        reader="poets.classifier.onnx",
        url=lambda config: beside(config.output_graph, ".onnx") if config.onnx else "",
        flag="onnx",
        suffixes=(".onnx",),
        packages=("onnx", "onnxruntime", "tf2onnx"),
        extra="poets[onnx]",
    ),
}


def known_formats() -> str:
    """Returns all formats with their suffixes, for messages."""
    return ", ".join(
        f"{row.title} ({', '.join(row.suffixes) or 'folder'})"
        for row in FORMATS.values()
    )
