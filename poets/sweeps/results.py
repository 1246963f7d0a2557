"""The results of combinations: stores them in small files, and orders them.

    runs/image-retraining-lr0.01-bs-50.json
        {"name": ..., "key": ..., "accuracy": {"validation": {"n": 430, "correct": 300,
         ...}, "train": {...}}, "cross_entropy": 0.71, "steps": 500, "seconds": 0.3,
         "failure": "", ...}

`key` is a digest of all that determines the result. A file with another key belongs to
other flags, images or another backbone, and its combination is trained again.
"""

import json
import logging
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow.fs

from poets.head.evaluate import Accuracy
from poets.storage import exists, join, open_storage, storage_errors
from poets.storage.publish import write_atomically
from poets.storage.reading import raise_outage, read_files

logger = logging.getLogger(__name__)

NOTHING = Accuracy(0, 0)


@dataclass(frozen=True)
class Result:
    """The result of one combination.

    Attributes:
      name: the run's name.
      key: digest of all that determines the result; "" matches no run.
      flags: those that the run sets.
      validation: accuracy of the trained head on all validation images.
      train: accuracy on all training images, without distorted copies.
      cross_entropy: mean over the validation images, in nats.
      steps: the number of steps run.
      seconds: training and evaluation; a head's share of those trained together.
      failure: why training failed, else "".
    """

    name: str
    key: str = ""
    flags: Mapping[str, Any] = field(default_factory=dict)
    validation: Accuracy = NOTHING
    train: Accuracy = NOTHING
    cross_entropy: float | None = None
    steps: int = 0
    seconds: float = 0.0
    failure: str = ""

    @property
    def rank(self) -> tuple[bool, float]:
        """Sorts results by validation accuracy, the best first and failed ones last."""
        return bool(self.failure), 0.0 if self.failure else -self.validation.share

    def to_json(self) -> dict[str, Any]:
        """Returns the content of its file."""
        accuracy = {"validation": self.validation, "train": self.train}
        return {
            "name": self.name,
            "flags": dict(self.flags),
            "accuracy": {split: each.to_json() for split, each in accuracy.items()},
            "cross_entropy": self.cross_entropy,
            "steps": self.steps,
            "seconds": self.seconds,
            "failure": self.failure,
            "key": self.key,
        }


def save_result(output_dir: str, result: Result) -> None:
    """Writes a combination's file; raises StorageError if it cannot."""
    text = json.dumps(result.to_json(), indent=1, ensure_ascii=False)
    write_atomically(_url(output_dir, result.name), text.encode() + b"\n")


def load_results(output_dir: str, names: Iterable[str]) -> dict[str, Result]:
    """Returns the stored results of some runs, by name.

    Files that are not results are logged and left out.

    Raises:
      StorageError: if the folder cannot be listed, or a file cannot be read.
    """
    folder = join(output_dir, "runs")
    if not exists(folder):
        return {}
    filesystem, path = open_storage(folder)
    with storage_errors(f"list {folder!r}"):
        infos = filesystem.get_file_info(pyarrow.fs.FileSelector(path))
    there = {info.base_name for info in infos}
    names = [name for name in names if f"{name}.json" in there]
    paths = [posixpath.join(path, f"{name}.json") for name in names]
    found = {}
    for name, data in zip(names, read_files(filesystem, paths), strict=True):
        url = _url(output_dir, name)
        if isinstance(data, OSError):
            raise_outage(data, url)
            continue
        try:
            found[name] = _parse(json.loads(data))
        except (ValueError, KeyError, TypeError):
            logger.warning("%r is not a result of a sweep: training it again", url)
    return found


def _parse(data: Any) -> Result:
    """Returns the result in JSON data.

    Raises ValueError, KeyError or TypeError if it is not a result.
    """
    entropy = data["cross_entropy"]
    return Result(
        name=str(data["name"]),
        key=str(data["key"]),
        flags=dict(data["flags"]),
        validation=_accuracy(data["accuracy"]["validation"]),
        train=_accuracy(data["accuracy"]["train"]),
        cross_entropy=None if entropy is None else float(entropy),
        steps=int(data["steps"]),
        seconds=float(data["seconds"]),
        failure=str(data["failure"]),
    )


def _accuracy(data: Mapping[str, Any]) -> Accuracy:
    accuracy = Accuracy(int(data["n"]), int(data["correct"]))
    if not 0 <= accuracy.correct <= accuracy.n:
        raise ValueError(accuracy)
    return accuracy


def _url(output_dir: str, name: str) -> str:
    return join(output_dir, "runs", f"{name}.json")
