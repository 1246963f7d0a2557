"""Formats the files that a run writes beside its graph.

metrics.json          accuracy with intervals, per label, flags, versions, digests
split.csv             split and prediction of each image
skipped_images.csv    images that were left out, and why
"""

import csv
import io
import itertools
import json
import mmap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from poets.data.columns import BLOCK, joined


def metrics_json(metrics: dict[str, Any]) -> bytes:
    """Returns the content of `metrics.json`; docs/results.md describes it."""
    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def split_csv(rows: Iterable[tuple[str, str, str, str, float]]) -> bytes | mmap.mmap:
    """Returns the content of `split.csv`, on disk if it is long.

    Args:
      rows: path, label as spelled by its folder, split, predicted label, score 0 to 1.
    """
    header = ("path", "label", "split", "predicted_label", "score")
    texts = ((*names, f"{score:.5f}") for *names, score in rows)
    return joined(_csv_parts(itertools.chain([header], texts)))


def skipped_images_csv(rows: Sequence[tuple[str, str]]) -> bytes:
    """Returns the content of `skipped_images.csv`: path and reason."""
    return csv_file([("path", "reason"), *rows])


def csv_rows(data: bytes, **options: Any) -> "csv.DictReader[str]":
    """Returns the rows of a CSV that `csv_file` made; options are the reader's."""
    text = data.decode("utf-8", "surrogateescape")
    return csv.DictReader(io.StringIO(text, newline=""), **options)


def csv_file(rows: Iterable[Sequence[object]]) -> bytes:
    """Returns the bytes of a CSV; a path that is not UTF-8 keeps its bytes."""
    return b"".join(_csv_parts(rows))


def _csv_parts(rows: Iterable[Sequence[object]]) -> Iterator[bytes]:
    left = iter(rows)
    while some := list(itertools.islice(left, BLOCK)):
        buffer = io.StringIO(newline="")
        csv.writer(buffer, lineterminator="\n").writerows(some)
        yield buffer.getvalue().encode("utf-8", "surrogateescape")
