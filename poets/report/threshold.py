"""Finds the reject threshold of a model in the metrics.json of its run."""

from collections.abc import Mapping
from typing import Any

import pyarrow.fs

from poets.errors import ModelError
from poets.report import METRICS
from poets.report.labels import read_metrics, run_beside
from poets.storage import kind_of


def run_metrics(model: str) -> Mapping[str, Any]:
    """Returns metrics.json of the run that exported a model; {} if there is none.

    `model` is the URL of a model beside the file, or of the folder that holds both.

    Raises:
      StorageError: if a file cannot be read.
    """
    if kind_of(model) != pyarrow.fs.FileType.File:
        return read_metrics(model)
    run = run_beside(model)
    return run.metrics if run.made_model else {}


def reject_threshold(metrics: Mapping[str, Any], model: str) -> float:
    """Returns the score below which a model's answers are rejected, 0 to 1.

    Raises:
      ModelError: if its run, whose `metrics` are given, has no threshold.
    """
    found = f"there is no {METRICS} of its run with one; put it beside the model"
    if isinstance(reject := metrics.get("reject"), dict):
        if isinstance(threshold := reject.get("threshold"), int | float):
            return float(threshold)
        found = (
            "no score gives the --wanted_accuracy="
            f"{reject.get('wanted_accuracy')} on the validation pictures of its run; "
            "train again with a lower one"
        )
    raise ModelError(
        f"no reject threshold for {model!r}: {found}, or use --reject_below of poets "
        "label and poets serve"
    )
