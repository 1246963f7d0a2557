"""Formats the files that a run writes beside its graph.

metrics.json          accuracy with intervals, per label, flags, versions, digests
split.csv             split and prediction of each image
skipped_images.csv    images that were left out, and why
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any


def metrics_json(metrics: dict[str, Any]) -> bytes:
    """Returns the content of `metrics.json`; docs/results.md describes it."""
    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def split_csv(rows: Iterable[tuple[str, str, str, str, float]]) -> bytes:
    """Returns the content of `split.csv`.

    Args:
      rows: path, label as spelled by its folder, split, predicted label, score 0 to 1.
    """
    return csv_file(
        ("path", "label", "split", "predicted_label", "score"),
        ((*names, f"{score:.5f}") for *names, score in rows),
    )


def skipped_images_csv(rows: Sequence[tuple[str, str]]) -> bytes:
    """Returns the content of `skipped_images.csv`: path and reason."""
    return csv_file(("path", "reason"), rows)


def csv_rows(data: bytes, **options: Any) -> "csv.DictReader[str]":
    """Returns the rows of a CSV that `csv_file` made.

    Args:
      data: its content.
      **options: those of `csv.DictReader`.
    """
    text = data.decode("utf-8", "surrogateescape")
    return csv.DictReader(io.StringIO(text, newline=""), **options)


def csv_file(header: Sequence[object], rows: Iterable[Sequence[object]]) -> bytes:
    """Returns the bytes of a CSV; a path that is not UTF-8 keeps its bytes."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue().encode("utf-8", "surrogateescape")
