"""Many images at the rate of the bottleneck pass: the same processes, one a core.

A whole classifier is to them a backbone with L outputs, and its answers go through a
feature store that lives as long as the call.
"""

import os
import tempfile
import time
from collections.abc import Sequence

import numpy as np

from poets.bottlenecks.compute import compute_bottlenecks
from poets.bottlenecks.pool import Pool
from poets.bottlenecks.process import Spec
from poets.classifier import Classifier, LiteRTClassifier
from poets.dataset import Image
from poets.images import ImageError
from poets.machine import room_for_processes

FEW = 32
"""So few images are done before another process could have started."""

HEAD_START_S = 0.4
"""What processes take to load; until then this one does the work."""


def classify_files(
    classifier: Classifier, paths: Sequence[str], head_start_s: float = HEAD_START_S
) -> list[np.ndarray | ImageError]:
    """Returns float32 [L] for each image file, or why it cannot be classified.

    Args:
      classifier: a loaded model.
      paths: local paths.
      head_start_s: how long to go on alone while the processes load.

    Raises:
      PoetsError: if the processes do not start.
    """
    if len(paths) <= FEW or not isinstance(classifier, LiteRTClassifier):
        return [_classify(classifier, path) for path in paths]
    with Pool(room_for_processes()) as pool:
        loaded = time.monotonic() + head_start_s
        alone: list[np.ndarray | ImageError] = []
        while len(alone) < len(paths) and time.monotonic() < loaded:
            alone.append(_classify(classifier, paths[len(alone)]))
        left = paths[len(alone) :]
        return [*alone, *(_classify_in(pool, classifier, left) if left else [])]


def _classify_in(
    pool: Pool, classifier: LiteRTClassifier, paths: Sequence[str]
) -> list[np.ndarray | ImageError]:
    names = [os.path.relpath(os.path.abspath(path), "/") for path in paths]
    images = [_image(name) for name in names]
    with tempfile.TemporaryDirectory(prefix="poets-label-") as store:
        model_path = os.path.abspath(classifier.path)
        spec = Spec("/", store, "litert", model_path, None, known_content=False)
        found = compute_bottlenecks(images, spec, len(classifier.labels), pool)
    answers: dict[int, np.ndarray] = dict(zip(found.kept, found.matrix, strict=True))
    reasons = dict(found.skipped)
    return [
        answers[row] if row in answers else ImageError(reasons[name])
        for row, name in enumerate(names)
    ]


def _classify(classifier: Classifier, path: str) -> np.ndarray | ImageError:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        return ImageError(str(error.strerror).lower())
    return classifier.predict([data])[0]


def _image(name: str) -> Image:
    try:
        status = os.stat(f"/{name}")
    except OSError:
        return Image(name, "", 0, 0)  # reading it tells the reason
    return Image(name, "", status.st_size, status.st_mtime_ns)
