"""A process that scores pictures: `python -m poets.serve.server.process`.

`protocol` has what it reads and writes. With a `.tflite`, TensorFlow is not imported.
"""

import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from poets.classifier import Classifier, EngineClassifier, load_classifier
from poets.data.image_files import ImageError
from poets.errors import ModelError, PoetsError
from poets.report.threshold import run_metrics
from poets.serve.server.protocol import TENSOR, packed_answers, read_batch

Score = Callable[[Sequence[bytes]], list[np.ndarray | ImageError]]

GREY = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\0\0\0\0:~\x9bU"
    b"\0\0\0\nIDATx\x9cch\0\0\0\x82\0\x81w\xcdr\xb6\0\0\0\0IEND\xaeB`\x82"
)
"""A grey picture of one pixel, as PNG."""


def main() -> None:
    """Answers on stdout until stdin ends; exits with 1 if the model does not load."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the server ends us
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not mix with answers
    request = requests.readline()
    if not request.endswith(b"\n"):  # the server was killed before it sent one
        return
    given = json.loads(request)
    try:
        classifier = load_classifier(given["model"], given["labels"])
        (scores,) = classifier.predict([GREY])
        if isinstance(scores, ImageError) or not np.isfinite(scores).all():
            raise ModelError(
                f"{given['model']!r} has no finite scores for a grey picture; give a "
                "model that `poets label` can use"
            )
        metrics = run_metrics(given["model"])
        score = _scorer(classifier, metrics)
        loaded = {
            "labels": classifier.labels,
            "metrics": metrics,
            "takes_tensors": score is not classifier.predict,
        }
    except PoetsError as error:
        loaded = {"failed": str(error)}
    answers.write(json.dumps(loaded).encode() + b"\n")
    answers.flush()
    if "failed" in loaded:
        sys.exit(1)
    gc.freeze()  # a collection of all modules would stop it for as long as 30 pictures
    while batch := read_batch(requests):
        results = [
            str(result) if isinstance(result, ImageError) else result.astype("<f4")
            for result in score(batch)
        ]
        answers.write(packed_answers(results))
        answers.flush()


def _scorer(classifier: Classifier, metrics: Mapping[str, Any]) -> Score:
    """Returns what scores a batch; with a run's own scaling, it takes tensors, too."""
    run = metrics.get("model", {})
    if not isinstance(classifier, EngineClassifier) or "input_mean" not in run:
        return classifier.predict
    network, side = classifier.network, classifier.network.image_size_px
    mean, std = (np.float32(run[name]) for name in ("input_mean", "input_std"))

    def score(batch: Sequence[bytes]) -> list[np.ndarray | ImageError]:
        if not any(data.startswith(TENSOR) for data in batch):
            return classifier.predict(batch)
        return [
            one(data) if data.startswith(TENSOR) else classifier.predict([data])[0]
            for data in batch
        ]

    def one(data: bytes) -> np.ndarray | ImageError:
        scaled = np.frombuffer(data[len(TENSOR) :], "<f4")
        if scaled.size != side * side * 3:
            return ImageError(f"it must have shape [{side}, {side}, 3]")
        return network.run([scaled.reshape(side, side, 3) * std + mean])[0]

    return score


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # the server was killed; at exit, Python would write again
        os._exit(1)
