"""Classifies many images in parallel, with the processes that compute bottlenecks.

There is one process per core. They run the classifier as a backbone with L outputs
and write its scores to a temporary feature store. Images may be on any storage; the
processes read them from there, many at once.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import groupby, tee
from operator import attrgetter

import numpy as np

from poets.classifier import Classifier, EngineClassifier
from poets.classifier.sources import Source
from poets.data.image_columns import Images
from poets.data.image_files import ImageError
from poets.data.source import ImageSource
from poets.features.compute import compute_bottlenecks
from poets.features.network import Network
from poets.features.pool import Pool
from poets.features.process import Spec, too_long
from poets.storage import reason
from poets.storage.reading import raise_outage
from poets.system.machine import room_for_processes

FEW = 32
"""Up to this many images are classified before another process could start."""

HEAD_START_S = 0.4
"""How long the processes take to start; until then this process does the work."""


def classify_files(
    classifier: Classifier,
    sources: Sequence[Source],
    head_start_s: float = HEAD_START_S,
) -> list[np.ndarray | ImageError]:
    """Returns float32 [L] for each image file, or why it cannot be classified.

    Args:
      classifier: a loaded model.
      sources: the files, on any storage; those that are too long are not read.
      head_start_s: how long to classify in this process while the others start.

    Raises:
      PoetsError: if the processes do not start, or a storage does not answer.
    """
    if len(sources) <= FEW or not isinstance(classifier, EngineClassifier):
        return list(_classify(classifier, sources))
    with Pool(room_for_processes()) as pool:
        loaded = time.monotonic() + head_start_s
        first: list[np.ndarray | ImageError] = []
        for answer in _classify(classifier, sources):
            first.append(answer)
            if time.monotonic() >= loaded:
                break
        return [*first, *_classify_in(pool, classifier, sources[len(first) :])]


def _classify(
    classifier: Classifier, sources: Sequence[Source]
) -> Iterator[np.ndarray | ImageError]:
    """Classifies the files in this process, one after the other."""
    for place, group in groupby(sources, attrgetter("source")):
        here, ahead = tee(group)
        contents = place.read(
            source.image for source in ahead if not too_long(source.image.length)
        )
        for source in here:
            if why := too_long(source.image.length):
                yield why
                continue
            data = next(contents)
            if isinstance(data, ImageError):
                yield data
            elif isinstance(data, OSError):
                raise_outage(data, source.name)
                yield ImageError(reason(data))
            else:
                yield classifier.predict([data])[0]


def _classify_in(
    pool: Pool, classifier: EngineClassifier, sources: Sequence[Source]
) -> list[np.ndarray | ImageError]:
    """Classifies the files in the processes of a pool."""
    by_source: dict[ImageSource, list[int]] = {}
    for row, source in enumerate(sources):
        by_source.setdefault(source.source, []).append(row)
    answers: dict[int, np.ndarray | ImageError] = {}
    for place, rows in by_source.items():
        images = [sources[row].image for row in rows]
        with tempfile.TemporaryDirectory(prefix="poets-label-") as store:
            network = Network(
                store,
                classifier.engine,
                os.path.abspath(classifier.path),
                len(classifier.labels),
                classifier.normalization,
            )
            spec = Spec(
                place.image_dir,
                (network,),
                None,
                known_content=False,
                packs=place.packs,
            )
            listed = Images.of(images)
            found = compute_bottlenecks(listed, spec, pool)
        reasons = dict(found.skipped)
        for row, image in zip(rows, images, strict=True):
            answers[row] = ImageError(reasons.get(image.path, ""))
        for index, answer in zip(found.kept, found.matrix, strict=True):
            answers[rows[index]] = answer
    return [answers[row] for row in range(len(sources))]
