"""Evidence of a made-up run, for the sections of the report."""

from collections.abc import Sequence

import numpy as np

from poets.config import RetrainConfig
from poets.data.dataset import Dataset
from poets.data.image_columns import Image, Images
from poets.data.split import Splits
from poets.head import Head
from poets.head.examples import Examples
from poets.report.findings import Evidence, TrainedHead
from poets.report.metrics import Predictions


def evidence(
    bottlenecks: np.ndarray,
    label_indices: np.ndarray,
    image_dir: str = "",
    paths: Sequence[str] = (),
    digests: np.ndarray | None = None,
    splits: Sequence[str] = (),
    **flags: object,
) -> Evidence:
    """Returns the evidence of N images [N, D] with labels "a", "b", ...

    Splits are all "train" unless given; contents all differ unless `digests` are given.
    """
    count = len(bottlenecks)
    labels = tuple("abcdefghijklmnopqrstuvwxyz"[: int(label_indices.max()) + 1])
    folders = [labels[index] for index in label_indices]
    paths = paths or [f"{folder}/{row:05d}.jpg" for row, folder in enumerate(folders)]
    images = Images.of(map(Image, paths, folders, range(1, count + 1), [0] * count))
    dataset = Dataset(image_dir, labels, labels, images)
    if digests is None:
        digests = np.array([b"%032d" % row for row in range(count)], "S32")
    head = Head(
        np.eye(bottlenecks.shape[1], len(labels), dtype=np.float32),
        np.zeros(len(labels), np.float32),
    )
    label_indices = label_indices.astype(np.int32)
    every = Examples(bottlenecks.astype(np.float32), label_indices)
    answers = Predictions(
        dataset,
        Splits.of(splits or ["train"] * count),
        label_indices,
        *head.answers(every.bottlenecks),
    )
    config = RetrainConfig(image_dir=image_dir, **flags)  # type: ignore[arg-type]
    trained = TrainedHead(head, 1.0, every, digests)
    return Evidence(config, {}, answers, trained=trained)


def clusters(
    counts: Sequence[int], size: int = 24, spread: float = 0.35, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns bottlenecks [N, D] around one centre per label, and label indices [N]."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((len(counts), size))
    label_indices = np.repeat(np.arange(len(counts)), counts)
    noise = spread * random.standard_normal((len(label_indices), size))
    return centres[label_indices] + noise, label_indices
