"""Finds the labels of a model in the files beside it.

    metrics.json that lists the model's digest     the labels of its run
    the text file with the model's stem            for a_graph.pb: a_labels.txt
    the only text file there

Several runs may share a folder, and the wrong labels give wrong answers. So with
several candidates an error asks the user to choose.
"""

import hashlib
import json
import logging
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow.fs

from poets.errors import ModelError
from poets.report import METRICS
from poets.storage import (
    exists,
    folder_of,
    join,
    open_storage,
    read_url,
    storage_errors,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelRun:
    """A run, as recorded in metrics.json.

    Attributes:
      digests: SHA-256 of the exported files, in hexadecimal.
      labels: L labels, in the order of the outputs.
      made_model: whether the model in question is one of its exports.
    """

    metrics: Mapping[str, Any] = field(default_factory=dict)
    digests: frozenset[str] = frozenset()
    labels: tuple[str, ...] = ()
    made_model: bool = False


def digest_of(url: str) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(read_url(url)).hexdigest()


def run_beside(model: str) -> ModelRun:
    """Returns the run whose metrics.json is beside a model; an empty one without it.

    Raises:
      StorageError: if a file cannot be read.
    """
    metrics = read_metrics(folder_of(model))
    try:
        exports = metrics["exports"].values()
        digests = frozenset(str(export["sha256"]) for export in exports)
        labels = tuple(str(row["label"]) for row in metrics["labels"])
    except (KeyError, TypeError, AttributeError):
        return ModelRun()  # no metrics, or those of another program
    return ModelRun(metrics, digests, labels, digest_of(model) in digests)


def read_metrics(folder: str) -> dict[str, Any]:
    """Returns the metrics.json in a folder; {} if it has none, or no JSON object.

    Raises:
      StorageError: if it cannot be read.
    """
    url = join(folder, METRICS)
    if not exists(url):
        return {}
    try:
        metrics = json.loads(read_url(url))
    except ValueError:
        return {}
    return metrics if isinstance(metrics, dict) else {}


def labels_of(model: str, run: ModelRun) -> tuple[str, ...]:
    """Returns the labels of a model, from its run or from a text file beside it.

    Raises:
      ModelError: if there is no file or more than one, or it is not text.
      StorageError: if the folder cannot be listed, or the file cannot be read.
    """
    if run.made_model:
        return run.labels
    found = labels_files(names_in(folder_of(model)), model)
    if not found:
        raise ModelError(
            f"no labels file beside {model!r}: found no {METRICS} of its run and no "
            ".txt file; give one by --labels"
        )
    if len(found) > 1:
        raise ModelError(
            f"cannot choose the labels of {model!r}: found no {METRICS} of its run, "
            f"and {', '.join(map(repr, found))} beside it; give one by --labels"
        )
    if run.digests and _stem(found[0]) != _stem(model):
        logger.warning(
            "%s is not from the run that the %s beside it describes: taking its labels "
            "from %s; give --labels if they are wrong",
            model,
            METRICS,
            found[0],
        )
    return read_labels(join(folder_of(model), found[0]))


def read_labels(url: str) -> tuple[str, ...]:
    """Returns the lines of a labels file.

    Raises:
      ModelError: if it is not text.
      StorageError: if it cannot be read.
    """
    return parse_labels(read_url(url), url)


def parse_labels(data: bytes, source: str) -> tuple[str, ...]:
    """Returns the lines in the content of a labels file; messages name its `source`.

    Raises:
      ModelError: if it is not text.
    """
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ModelError(
            f"the labels file {source!r} is not UTF-8 text: {error}"
        ) from error
    return tuple(line for line in lines if line)


def labels_files(names: Iterable[str], model: str) -> list[str]:
    """Returns the names in a model's folder that may be its labels file."""
    texts = sorted(name for name in names if name.lower().endswith(".txt"))
    return [name for name in texts if _stem(name) == _stem(model)] or texts


def names_in(folder: str) -> list[str]:
    """Returns the names of a folder's files, without hidden ones.

    Raises:
      StorageError: if it cannot be listed.
    """
    filesystem, path = open_storage(folder)
    with storage_errors(f"list {folder!r}"):
        infos = filesystem.get_file_info(pyarrow.fs.FileSelector(path))
    return [
        info.base_name
        for info in infos
        if info.type == pyarrow.fs.FileType.File and not info.base_name.startswith(".")
    ]


def _stem(url: str) -> str:
    """Returns the part that the names of a run's graph and labels share."""
    stem = posixpath.splitext(posixpath.basename(url))[0].casefold()
    return re.sub(r"graph|labels?|[\W_]", "", stem)
