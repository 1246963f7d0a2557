"""A job for every combination of some flags' values, each with a folder of its own.

    --grid learning_rate=0.001,0.01,1.0 --grid train_batch_size=25,50,100

    <job>-hyperparam-<i>-<j>                    i-th learning rate, j-th batch size
    <log_dir>/image-retraining-lr0.01-bs-50/    its graph, labels and saved_models/1
    <log_dir>/training_summaries/image-retraining-lr0.01-bs-50/baseline

Names and folders are those of the original's chart, with one difference: bottlenecks
and models stay where the context has them, so that all jobs share one feature store.
A value keeps the text it was given: 1.0 stays 1.0.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from poets.errors import ConfigError, nearest
from poets.flags import FIELDS

SHORT = {"learning_rate": "lr", "train_batch_size": "bs-"}
SUMMARIES = "training_summaries"

Axis = tuple[str, tuple[str, ...]]
"""A flag and its values."""


@dataclass(frozen=True)
class Run:
    """One combination.

    Attributes:
      suffix: what is added to its job's name.
      args: flags and values that it changes.
    """

    suffix: tuple[str, ...]
    args: dict[str, Any]


def parse_axis(text: str) -> Axis:
    """Returns the flag and the values of one `--grid`.

    Raises:
      ConfigError: if it names no flag, or no values.
    """
    flag, _, values = text.partition("=")
    name = flag.lstrip("-")
    if name not in FIELDS:
        raise ConfigError(f"--grid={text!r}: no flag {name!r}{nearest(name, FIELDS)}")
    chosen = tuple(value.strip() for value in values.split(","))
    if not all(chosen) or len(set(chosen)) < len(chosen):
        raise ConfigError(
            f"--grid={text!r}: give values that differ, as --grid {name}=1,2,3"
        )
    return name, chosen


def runs(axes: Sequence[Axis], log_dir: str) -> Iterator[Run]:
    """Yields every combination; the first axis changes slowest.

    Args:
      axes: flags with their values; without any, one run that changes nothing.
      log_dir: where the folders of the runs are made.
    """
    if not axes:
        yield Run((), {})
        return
    for places in itertools.product(*(range(len(values)) for _, values in axes)):
        chosen = {
            name: values[i] for (name, values), i in zip(axes, places, strict=True)
        }
        name = run_name(chosen)
        folder = f"{log_dir.rstrip('/')}/{name}"
        outputs = {
            "output_graph": f"{folder}/retrained_graph.pb",
            "output_labels": f"{folder}/retrained_labels.txt",
            "saved_model_dir": f"{folder}/saved_models/1",
            "checkpoint_path": f"{folder}/checkpoint",
            "intermediate_output_graphs_dir": f"{folder}/intermediate/",
            "summaries_dir": f"{log_dir.rstrip('/')}/{SUMMARIES}/{name}/baseline",
        }
        yield Run(("hyperparam", *map(str, places)), {**outputs, **chosen})


def run_name(chosen: dict[str, str]) -> str:
    """Returns a run's folder, as image-retraining-lr0.01-bs-50."""
    parts = (SHORT.get(flag, f"{flag}-") + value for flag, value in chosen.items())
    return "-".join(("image-retraining", *(part.replace("/", "_") for part in parts)))
