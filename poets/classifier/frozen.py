"""Loads retrained graphs, also those of the original scripts.

If the `.tflite` beside a graph is from the same run, by the digests in `metrics.json`,
LiteRT computes the scores: it starts in a fraction of TensorFlow's time. Other graphs
run in TensorFlow.
"""

import importlib
import logging

from poets.classifier import Classifier, imagenet, refuse_normalization
from poets.classifier.litert import load as load_litert
from poets.features.engines import Normalization
from poets.formats import beside
from poets.report.labels import digest_of, labels_of, run_beside
from poets.storage import exists, read_url

logger = logging.getLogger(__name__)


def load(
    model: str, labels: tuple[str, ...] | None, normalization: Normalization | None
) -> Classifier:
    """Returns the classifier in a frozen graph; see `poets.classifier`."""
    refuse_normalization(normalization, model)
    run = run_beside(model)
    if labels is None:
        labels = imagenet.labels_beside(model) or labels_of(model, run)
    fast = beside(model, ".tflite")
    if run.digests and exists(fast):
        if run.made_model and digest_of(fast) in run.digests:
            return load_litert(fast, labels, None)
        logger.warning("%s is not from the same run as %s: not used", fast, model)
    tensorflow = importlib.import_module("poets.classifier.with_tensorflow")
    return tensorflow.FrozenGraphClassifier(read_url(model), model, labels)
