"""Finds the reject threshold of a model in the metrics.json of its run."""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow.fs

from poets.errors import ModelError
from poets.report.labels import METRICS, run_beside
from poets.storage import exists, folder_of, join, kind_of, read_url


def run_metrics(model: str) -> dict[str, Any]:
    """Returns metrics.json of the run that exported a model; {} if there is none.

    Args:
      model: URL of a model beside the file, or of the folder that holds both.

    Raises:
      StorageError: if a file cannot be read.
    """
    folder = model
    if kind_of(model) == pyarrow.fs.FileType.File:
        folder = folder_of(model)
        if not run_beside(model).made_model:
            return {}
    if not exists(join(folder, METRICS)):
        return {}
    try:
        metrics = json.loads(read_url(join(folder, METRICS)))
    except ValueError:
        return {}  # of another program
    return metrics if isinstance(metrics, dict) else {}


def reject_threshold(metrics: Mapping[str, Any], model: str) -> float:
    """Returns the score below which a model's answers are rejected, 0 to 1.

    Args:
      metrics: of its run, see `run_metrics`.
      model: its name in messages.

    Raises:
      ModelError: if the run has none.
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
