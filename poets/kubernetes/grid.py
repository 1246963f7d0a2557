"""Makes one job per combination of flag values, each with its own folder.

    --grid learning_rate=0.001,0.01,1.0 --grid train_batch_size=25,50,100

    <job>-hyperparam-<i>-<j>                    i-th learning rate, j-th batch size
    <log_dir>/image-retraining-lr0.01-bs-50/    its graph, labels and saved_models/1
    <log_dir>/training_summaries/image-retraining-lr0.01-bs-50/baseline

Names and folders are those of the original's Helm chart. Unlike there, bottlenecks and
models stay in the folders of the context, so all jobs share one feature store. Values
keep their spelling: 1.0 stays 1.0.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from poets.flags import outputs_below
from poets.storage import join
from poets.sweeps.grid import SUMMARIES, Axis, run_name


def runs(
    axes: Sequence[Axis], log_dir: str
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yields every combination: parts for the job's name, and changed flags.

    Args:
      axes: flags with their values, of which the first changes slowest; if empty, there
        is one run without changes.
      log_dir: parent of the runs' folders.
    """
    if not axes:
        yield (), {}
        return
    for places in itertools.product(*(range(len(values)) for _, values in axes)):
        chosen = {
            name: values[i] for (name, values), i in zip(axes, places, strict=True)
        }
        name = run_name(chosen)
        outputs = outputs_below(join(log_dir, name))
        outputs["summaries_dir"] = join(log_dir, SUMMARIES, name, "baseline")
        yield ("hyperparam", *map(str, places)), {**outputs, **chosen}
