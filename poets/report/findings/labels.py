"""How well each label is recognised, the worst first."""

from collections.abc import Iterator
from dataclasses import dataclass

from poets.data.split import SPLITS
from poets.report.findings import Evidence, Share


@dataclass(frozen=True)
class Label:
    """A label.

    Attributes:
      train, validation, test: its images in each split.
      precision: the share of answers with this label that are right, 0 to 1; None if
        it is never answered.
      recall: the share of its test images that are recognised.
    """

    label: str
    train: int
    validation: int
    test: int
    precision: float | None
    recall: Share


@dataclass(frozen=True)
class Labels:
    """All labels.

    Attributes:
      rows: the one with the least recall first; those without test images last.
      imbalance: images of the largest label over those of the smallest.
      untested: number of labels without test images.
    """

    rows: tuple[Label, ...]
    imbalance: float
    untested: int

    def csv_rows(self) -> Iterator[tuple[object, ...]]:
        """Yields the rows of `labels.csv`, the header first."""
        yield (
            *("label", "train", "validation", "test", "precision", "recall"),
            *("recall_low_95", "recall_high_95"),
        )
        for row in self.rows:
            yield (
                *(row.label, row.train, row.validation, row.test),
                "" if row.precision is None else row.precision,
                "" if row.recall.accuracy is None else row.recall.accuracy,
                *row.recall.interval_95,
            )


def compute(evidence: Evidence) -> Labels:
    """Returns the labels of a run."""
    metrics = evidence.metrics
    rows = []
    for index, (counts, judged) in enumerate(
        zip(metrics["labels"], metrics["per_label"], strict=True)
    ):
        images = {split: counts[split] for split in SPLITS}
        recall = Share.of(judged["n"], metrics["confusion"][index][index])
        row = Label(
            counts["label"], **images, precision=judged["precision"], recall=recall
        )
        rows.append(row)
    rows.sort(key=lambda row: (*_worst_first(row), row.label))
    sizes = [row.train + row.validation + row.test for row in rows]
    return Labels(
        rows=tuple(rows),
        imbalance=max(sizes) / max(1, min(sizes)),
        untested=sum(not row.recall.n for row in rows),
    )


def _worst_first(row: Label) -> tuple[float, float]:
    recall = row.recall.accuracy
    precision = 1.0 if row.precision is None else row.precision
    return (2.0 if recall is None else recall, precision)
