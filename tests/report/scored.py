"""Runs with made-up features, for the sections of the report that need no image."""

import numpy as np

from poets.data.dataset import Dataset
from poets.data.image_columns import Image, Images
from poets.data.split import Splits
from poets.flags import config_from_args
from poets.head import Head
from poets.head.examples import Examples
from poets.head.growing import growing_heads
from poets.report.findings import Evidence, TrainedHead
from poets.report.metrics import Predictions


def blobs(count, labels=3, dimensions=8, seed=0, spread=1.5):
    """Returns examples around one centre for each label."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((labels, dimensions))
    true = (np.arange(count) % labels).astype(np.int32)
    noise = spread * rng.standard_normal((count, dimensions))
    return Examples((centres[true] + noise).astype(np.float32), true)


def split(count, shares=(0.8, 0.1, 0.1)):
    """Returns the split of each of some images, by these shares."""
    places = np.random.default_rng(7).permutation(count) / count
    return Splits(
        np.searchsorted(np.cumsum(shares)[:2], places, "right").astype(np.uint8)
    )


def evidence_of(every, splits, head=None, temperature=1.0, **flags):
    """Returns the evidence of a run on features; its head is in closed form."""
    labels = tuple(f"label {index}" for index in range(every.label_indices.max() + 1))
    if head is None:
        train = every.choose(np.flatnonzero(splits == "train"))
        random = np.random.default_rng(0)
        (head,) = growing_heads(train, len(labels), [len(train)], random)
    listed = [
        Image(f"{labels[label]}/{row}.jpg", labels[label], 1, 1)
        for row, label in enumerate(every.label_indices)
    ]
    dataset = Dataset("images", labels, labels, Images.of(listed))
    answers = Predictions(
        dataset, splits, every.label_indices, *head.answers(every.bottlenecks)
    )
    config = config_from_args({"image_dir": "images", **flags})
    trained = TrainedHead(head, temperature, every, np.zeros(len(every), "S32"))
    return Evidence(config, {}, answers, trained=trained)


def logit_head(labels, temperature=1.0):
    """Returns a head whose bottlenecks are the logits, divided by a temperature."""
    weights = np.eye(labels, dtype=np.float32)
    return Head(weights, np.zeros(labels, np.float32)).with_temperature(temperature)
