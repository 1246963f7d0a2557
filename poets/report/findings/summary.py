"""The run in a few figures, and a verdict in words."""

from dataclasses import dataclass

import numpy as np

from poets.data.split import SPLITS, TEST, TRAIN
from poets.report.findings import Evidence, Share
from poets.storage import without_keys

FEW_TEST_IMAGES = 100
"""With fewer, the interval of an accuracy of 90 % is wider than 12 points."""

VERDICTS = ("excellent", 0.05), ("good", 0.2), ("fair", 0.5)
"""Each with the largest share of guessing's mistakes that it may leave."""

OVERFIT = 0.15
"""Training accuracy this far above the test accuracy is worth a sentence."""


@dataclass(frozen=True)
class Summary:
    """The figures to read first.

    Attributes:
      finished: when the run ended, ISO 8601.
      labels, images: their numbers, of images by split.
      largest: the label with most training images.
      guessing: the accuracy on the test images of always answering `largest`.
      verdict: "excellent", "good", "fair", "weak", "useless" or "unknown".
      reasons: sentences behind the verdict.
    """

    backbone: str
    image_dir: str
    finished: str
    labels: int
    images: dict[str, int]
    accuracy: dict[str, Share]
    largest: str
    guessing: Share
    verdict: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]


def compute(evidence: Evidence) -> Summary:
    """Returns the summary of a run."""
    metrics, answers = evidence.metrics, evidence.answers
    known = metrics["accuracy"]
    accuracy = {
        split: Share.of(known[split]["n"], known[split]["correct"]) for split in SPLITS
    }
    labels = answers.dataset.labels
    train = answers.label_indices[answers.splits == TRAIN]
    largest = int(np.bincount(train, minlength=len(labels)).argmax())
    test = answers.label_indices[answers.splits == TEST]
    guessing = Share.of(len(test), int((test == largest).sum()))
    verdict, reasons = _judge(accuracy[TRAIN], accuracy[TEST], guessing)
    return Summary(
        backbone=metrics["model"]["backbone"],
        image_dir=without_keys(evidence.config.image_dir),
        finished=metrics["finished"],
        labels=len(labels),
        images={split: accuracy[split].n for split in SPLITS},
        accuracy=accuracy,
        largest=labels[largest],
        guessing=guessing,
        verdict=verdict,
        reasons=reasons,
        notes=tuple(metrics.get("notes") or ()),
    )


def _judge(train: Share, test: Share, guessing: Share) -> tuple[str, tuple[str, ...]]:
    """Returns a verdict and sentences for it.

    The verdict compares the errors that are left with those of guessing: a classifier
    that leaves a tenth of them is good whether it has two labels or a hundred.
    """
    if test.accuracy is None or guessing.accuracy is None:
        return "unknown", ("There are no test pictures, so nothing is known about it.",)
    left = (1 - test.accuracy) / max(1 - guessing.accuracy, 1e-9)
    verdict = next((name for name, most in VERDICTS if left <= most), "weak")
    reasons = [
        f"It avoids {100 * (1 - left):.0f}% of the mistakes that always answering the "
        "largest label would make."
    ]
    if test.interval_95[0] <= guessing.accuracy:
        verdict = "useless"
        reasons = ["It is not surely better than always answering the largest label."]
    if test.n < FEW_TEST_IMAGES:
        reasons.append(
            f"{test.n:,} test pictures are few: the true accuracy may lie anywhere in "
            "the interval."
        )
    if train.accuracy is not None and train.accuracy - test.accuracy > OVERFIT:
        reasons.append(
            "It knows its training pictures much better than new ones: more pictures, "
            "distortions or fewer steps may help."
        )
    return verdict, tuple(reasons)
