"""The files that the workers of one fine-tuning share, in one folder.

    bottleneck_dir/fine_tuning-<flags>/
        features-<key>.npy             the pictures at the cut, training ones first
        inputs-<key>.npz               all other inputs that determine the result
        checkpoint-<key>-<step>.npz    values and moments after <step> steps
        reg-0.json  reg-1.json  ...    the address of each worker's next child
        generation.json                children that belong together, and their start

`<flags>` is a digest of the flags, so every worker knows the folder. `<key>` is a
digest of the inputs, so a checkpoint never belongs to other pictures or another head.
Files are written under a temporary name and renamed: an existing checkpoint is whole.
"""

import contextlib
import hashlib
import io
import json
import posixpath
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow.fs

from poets.config import RetrainConfig
from poets.fine_tuning.layers import Tail
from poets.head.standardizer import Standardizer
from poets.storage import (
    is_local,
    join,
    open_storage,
    read_bytes,
    read_url,
    storage_errors,
)
from poets.storage.publish import write_atomically

GENERATION = "generation.json"


@dataclass(frozen=True)
class Inputs:
    """All inputs that determine the result of fine-tuning.

    Attributes:
      tail: the last layers.
      standard: standardises bottlenecks for the head.
      values: the initial values, by name.
      features: float32 [N, F], the pictures at the cut.
      labels: int32 [N].
      trained: the number of training examples, which come first; the others validate.
      label_weights: float32 [L].
      steps: the number of steps.
      batch_size: examples in a step, over all workers.
      learning_rate: of Adam.
      seed: of the order of the examples.
    """

    tail: Tail
    standard: Standardizer
    values: Mapping[str, np.ndarray]
    features: np.ndarray
    labels: np.ndarray
    trained: int
    label_weights: np.ndarray
    steps: int
    batch_size: int
    learning_rate: float
    seed: int

    def key(self) -> str:
        """Returns a digest of all inputs, the features included."""
        digest = hashlib.sha256(self._small())
        digest.update(np.ascontiguousarray(self.features).data)
        return digest.hexdigest()[:16]

    def _small(self) -> bytes:
        numbers = asdict(self.tail) | {
            name: getattr(self, name)
            for name in ("trained", "steps", "batch_size", "learning_rate", "seed")
        }
        graph = np.frombuffer(numbers.pop("graph"), np.uint8)
        arrays = {f"value/{name}": value for name, value in self.values.items()}
        return pack(
            {
                "numbers": np.frombuffer(json.dumps(numbers).encode(), np.uint8),
                "graph": graph,
                "mean": self.standard.mean,
                "scale": self.standard.scale,
                "labels": self.labels,
                "label_weights": self.label_weights,
                **arrays,
            }
        )


class Folder:
    """The folder of one fine-tuning.

    Raises:
      StorageError: by all methods, if the storage fails.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._filesystem, self._path = open_storage(url)

    def write_inputs(self, inputs: Inputs, key: str) -> None:
        """Writes the inputs for the children, unless they exist."""
        there = self._names()
        if f"features-{key}.npy" not in there:
            file = io.BytesIO()
            np.save(file, inputs.features)
            write_atomically(join(self.url, f"features-{key}.npy"), file.getvalue())
        if f"inputs-{key}.npz" not in there:
            write_atomically(join(self.url, f"inputs-{key}.npz"), inputs._small())

    def read_inputs(self, key: str) -> Inputs:
        """Returns the inputs; features of a local folder stay on disk."""
        found = unpack(self._read(f"inputs-{key}.npz"))
        numbers = json.loads(found["numbers"].tobytes())
        values = {n[6:]: v for n, v in found.items() if n.startswith("value/")}
        return Inputs(
            tail=Tail(
                found["graph"].tobytes(),
                numbers.pop("bottleneck_name"),
                tuple(tuple(shape) for shape in numbers.pop("shapes")),
                tuple(numbers.pop("constants")),
            ),
            standard=Standardizer(found["mean"], found["scale"]),
            values=values,
            features=self._features(key),
            labels=found["labels"],
            label_weights=found["label_weights"],
            **numbers,
        )

    def write_checkpoint(self, key: str, state: Mapping[str, np.ndarray]) -> None:
        """Writes the state after `state["step"]` steps."""
        name = _checkpoint(key, int(state["step"]))
        write_atomically(join(self.url, name), pack(state))

    def read_checkpoint(self, key: str, step: int) -> dict[str, np.ndarray]:
        """Returns the state after `step` steps."""
        return unpack(self._read(_checkpoint(key, step)))

    def newest_step(self, key: str) -> int:
        """Returns the step of the newest checkpoint; 0 without one."""
        return max(self._steps(key), default=0)

    def remove_checkpoints(self, key: str, keep: set[int]) -> None:
        """Removes all checkpoints except those of the steps in `keep`."""
        for step in set(self._steps(key)) - keep:
            self.remove(_checkpoint(key, step))

    def keep_result(self, key: str) -> None:
        """Removes all inputs and checkpoints except the last checkpoint."""
        last = _checkpoint(key, self.newest_step(key))
        for name in self._names():
            stale = name.startswith(("features-", "inputs-", "checkpoint-"))
            if stale and name != last:
                self.remove(name)

    def read_json(self, name: str) -> Any:
        """Returns the content of a JSON file, or None if it does not exist."""
        with self._errors("read", name), contextlib.suppress(FileNotFoundError):
            return json.loads(read_bytes(self._filesystem, self._place(name)))
        return None

    def write_json(self, name: str, value: object) -> None:
        """Writes a JSON file."""
        write_atomically(join(self.url, name), json.dumps(value).encode())

    def remove(self, name: str) -> None:
        """Removes a file if it exists."""
        with self._errors("remove", name), contextlib.suppress(FileNotFoundError):
            self._filesystem.delete_file(self._place(name))

    def _steps(self, key: str) -> list[int]:
        pattern = re.compile(rf"checkpoint-{key}-(\d+)\.npz")
        found = map(pattern.fullmatch, self._names())
        return [int(match[1]) for match in found if match]

    def _names(self) -> set[str]:
        selector = pyarrow.fs.FileSelector(self._path, allow_not_found=True)
        with storage_errors(f"list {self.url!r}"):
            return {i.base_name for i in self._filesystem.get_file_info(selector)}

    def _features(self, key: str) -> np.ndarray:
        name = f"features-{key}.npy"
        if is_local(self._filesystem):
            return np.load(self._place(name), mmap_mode="r")
        return np.load(io.BytesIO(self._read(name)))

    def _read(self, name: str) -> bytes:
        return read_url(join(self.url, name))

    def _place(self, name: str) -> str:
        return posixpath.join(self._path, name)

    def _errors(self, verb: str, name: str) -> contextlib.AbstractContextManager[None]:
        return storage_errors(f"{verb} {join(self.url, name)!r}")


def folder_for(config: RetrainConfig) -> Folder:
    """Returns the folder that all workers with these flags share."""
    flags = json.dumps(config.of_the_job, sort_keys=True)
    digest = hashlib.sha256(flags.encode()).hexdigest()[:12]
    return Folder(join(config.bottleneck_dir, f"fine_tuning-{digest}"))


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Returns arrays by name as an npz file; equal arrays give equal bytes."""
    file = io.BytesIO()
    by_name: dict[str, Any] = {name: arrays[name] for name in sorted(arrays)}
    np.savez(file, **by_name)
    return file.getvalue()


def unpack(data: bytes) -> dict[str, np.ndarray]:
    """Returns the arrays in an npz file; pickled objects are refused."""
    with np.load(io.BytesIO(data), allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def _checkpoint(key: str, step: int) -> str:
    return f"checkpoint-{key}-{step}.npz"
