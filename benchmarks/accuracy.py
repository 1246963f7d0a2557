"""Trains the original's head, plain SGD on raw bottlenecks, on a given split.

It is tested on the same images as the product (`split.csv`), with bottlenecks from the
baseline's text files. SGD at learning rate 0.01 does not converge on features of this
scale, so single runs vary: the accuracy is the mean of several runs.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LEARNING_RATE, BATCH_SIZE = 0.01, 100  # the original's defaults

Key = tuple[str, str]  # folder, file name


@dataclass(frozen=True)
class Score:
    """How many of `n` test images were correct; as a mean, it may be a fraction."""

    correct: float
    n: int

    @property
    def percent(self) -> float:
        return 100 * self.correct / self.n

    def __add__(self, other: "Score") -> "Score":
        return Score(self.correct + other.correct, self.n + other.n)


def read_bottlenecks(bottleneck_dir: Path, architecture: str) -> dict[Key, np.ndarray]:
    """Returns float32 [D] for each image that has a text file."""
    ending = f"_{architecture}.txt"
    return {
        (path.parent.name, path.name.removesuffix(ending)): np.array(
            path.read_text().split(","), np.float32
        )
        for path in bottleneck_dir.glob(f"*/*{ending}")
    }


def read_split(split_csv: Path) -> list[tuple[Key, str, str]]:
    """Returns key, label and split of each image of a run's `split.csv`."""
    with split_csv.open(newline="") as file:
        return [
            (
                (Path(row["path"]).parts[-2], Path(row["path"]).name),
                row["label"],
                row["split"],
            )
            for row in csv.DictReader(file)
        ]


def plain_sgd(
    bottlenecks: dict[Key, np.ndarray],
    split: list[tuple[Key, str, str]],
    steps: int,
    runs: int,
) -> Score:
    """Trains `runs` times and returns the mean score on the test split.

    As in the original, weights start normally distributed with deviation 0.001. Each
    image of a batch is drawn by choosing a random label, then a random image of it.

    Args:
      bottlenecks: float32 [D] by image.
      split: key, label and split of each image.
      steps: training steps.
      runs: how many times, with different random numbers.
    """
    labels = sorted({label for _, label, _ in split})
    train = [
        np.stack([bottlenecks[key] for key, *is_ in split if is_ == [label, "train"]])
        for label in labels
    ]
    tests = [(key, label) for key, label, name in split if name == "test"]
    test = np.stack([bottlenecks[key] for key, _ in tests])
    truth = np.array([labels.index(label) for _, label in tests])
    correct = []
    for seed in range(runs):
        weights, biases = _train(train, steps, np.random.default_rng(seed))
        correct.append((np.argmax(test @ weights + biases, axis=1) == truth).sum())
    return Score(float(np.mean(correct)), len(tests))


def _train(
    train: list[np.ndarray], steps: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    size, labels = train[0].shape[1], len(train)
    weights = (0.001 * rng.standard_normal((size, labels))).astype(np.float32)
    biases = np.zeros(labels, np.float32)
    for _ in range(steps):
        truth = rng.integers(labels, size=BATCH_SIZE)
        x = np.stack([train[k][rng.integers(len(train[k]))] for k in truth])
        logits = x @ weights + biases
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
        scores[np.arange(BATCH_SIZE), truth] -= 1  # now the gradient of the loss
        scores /= BATCH_SIZE
        weights -= LEARNING_RATE * (x.T @ scores)
        biases -= LEARNING_RATE * scores.sum(axis=0)
    return weights, biases
