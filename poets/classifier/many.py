"""Classifies many images in parallel, with the processes that compute bottlenecks.

There is one process per core. They run the classifier as a backbone with L outputs
and write its scores to a temporary feature store. Images may be on any storage; the
processes read them from there, many at once.
"""

import os
import posixpath
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, tee
from types import MappingProxyType

import numpy as np

from poets.classifier import Classifier, LiteRTClassifier
from poets.data.dataset import Image, Images
from poets.data.images import ImageError
from poets.features.compute import compute_bottlenecks
from poets.features.pool import Pool
from poets.features.process import Spec, too_long
from poets.storage import is_local, open_storage, reason
from poets.storage.reading import raise_outage, read_files
from poets.system.machine import room_for_processes

FEW = 32
"""Up to this many images are classified before another process could start."""

HEAD_START_S = 0.4
"""How long the processes take to start; until then this process does the work."""


def classify_files(
    classifier: Classifier,
    files: Sequence[str],
    head_start_s: float = HEAD_START_S,
    lengths: Mapping[str, int] = MappingProxyType({}),
) -> list[np.ndarray | ImageError]:
    """Returns float32 [L] for each image file, or why it cannot be classified.

    Args:
      classifier: a loaded model.
      files: local paths, or URLs of any storage.
      head_start_s: how long to classify in this process while the others start.
      lengths: sizes in bytes of files on other storages, as listed; files that are
        too long are not read.

    Raises:
      PoetsError: if the processes do not start, or a storage does not answer.
    """
    if len(files) <= FEW or not isinstance(classifier, LiteRTClassifier):
        return list(_classify(classifier, files, lengths))
    with Pool(room_for_processes()) as pool:
        loaded = time.monotonic() + head_start_s
        first: list[np.ndarray | ImageError] = []
        for answer in _classify(classifier, files, lengths):
            first.append(answer)
            if time.monotonic() >= loaded:
                break
        left = files[len(first) :]
        return [*first, *_classify_in(pool, classifier, left, lengths)]


def _classify(
    classifier: Classifier, files: Sequence[str], lengths: Mapping[str, int]
) -> Iterator[np.ndarray | ImageError]:
    """Classifies the files in this process, one after the other."""
    for root, group in groupby(files, _root_of):
        filesystem, top = open_storage(root)
        images, ahead = tee((file, _image(file, top, lengths)) for file in group)
        paths = (
            posixpath.join(top, image.path)
            for _, image in ahead
            if not too_long(image.length)
        )
        contents = read_files(filesystem, paths)
        for file, image in images:
            if why := too_long(image.length):
                yield why
                continue
            data = next(contents)
            if isinstance(data, OSError):
                raise_outage(data, file)
                yield ImageError(reason(data))
            else:
                yield classifier.predict([data])[0]


def _classify_in(
    pool: Pool,
    classifier: LiteRTClassifier,
    files: Sequence[str],
    lengths: Mapping[str, int],
) -> list[np.ndarray | ImageError]:
    """Classifies the files in the processes of a pool."""
    by_root: dict[str, list[int]] = {}
    for row, file in enumerate(files):
        by_root.setdefault(_root_of(file), []).append(row)
    answers: dict[int, np.ndarray | ImageError] = {}
    for root, rows in by_root.items():
        _, top = open_storage(root)
        images = [_image(files[row], top, lengths) for row in rows]
        with tempfile.TemporaryDirectory(prefix="poets-label-") as store:
            model_path = os.path.abspath(classifier.path)
            spec = Spec(
                root,
                store,
                "litert",
                model_path,
                None,
                known_content=False,
                normalization=classifier.normalization,
            )
            listed = Images.of(images)
            found = compute_bottlenecks(listed, spec, len(classifier.labels), pool)
        reasons = dict(found.skipped)
        for row, image in zip(rows, images, strict=True):
            answers[row] = ImageError(reasons.get(image.path, ""))
        for index, answer in zip(found.kept, found.matrix, strict=True):
            answers[rows[index]] = answer
    return [answers[row] for row in range(len(files))]


def _root_of(file: str) -> str:
    """Returns the root of a file's storage: "/", or a URL."""
    scheme, separator, rest = file.partition("://")
    if not separator or is_local(open_storage(file)[0]):
        return "/"
    return f"{scheme}://{rest.partition('/')[0]}/"


def _image(file: str, top: str, lengths: Mapping[str, int]) -> Image:
    """Describes a file for the processes; `top` is the path of its storage's root."""
    if "://" not in file:
        return _local_image(os.path.abspath(file))
    filesystem, path = open_storage(file)
    if is_local(filesystem):
        return _local_image(path)
    name = path.removeprefix(top).lstrip("/")
    return Image(name, "", lengths.get(file, 0), 0)


def _local_image(path: str) -> Image:
    try:
        status = os.stat(path)
    except OSError:
        return Image(path.lstrip("/"), "", 0, 0)  # reading it reports the reason
    return Image(path.lstrip("/"), "", status.st_size, status.st_mtime_ns)
