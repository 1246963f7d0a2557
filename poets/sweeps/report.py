"""Writes all combinations as tables: text, sweep.csv and sweep.json, the best first.

      learning_rate  train_batch_size  validation            95 %   train  ...
    * 0.01           50                    67.2 %  62.6 to 71.5 %  78.1 %
      0.01           100                   67.2 %  62.6 to 71.5 %  77.9 %
    failed: image-retraining-lr1.0-bs-25: training diverged by step 20: ...

Combinations are ordered by validation accuracy alone. Test images are scored for the
best one only: the best test accuracy of many combinations would be too high.
"""

import json
from collections.abc import Mapping
from typing import Any

from poets import __version__
from poets.flags import format_value
from poets.head.evaluate import Accuracy
from poets.report.run_files import csv_file
from poets.sweeps.plan import Combination, Sweep
from poets.sweeps.results import Result

MAX_ROWS = 40
MAX_FAILED = 10

Results = Mapping[str, Result]
"""Results by the run's name."""


def best_of(sweep: Sweep, results: Results) -> Combination | None:
    """Returns the run with the best validation accuracy, the first given of equals."""
    first = ordered(sweep, results)[0]
    return None if results[first.name].failure else first


def ordered(sweep: Sweep, results: Results) -> list[Combination]:
    """Returns all runs, the best first and those that failed last."""
    return sorted(sweep.runs, key=lambda run: results[run.name].rank)


def sweep_csv(sweep: Sweep, results: Results) -> bytes:
    """Returns the content of `sweep.csv`."""
    header = (
        *("name", *sweep.varied),
        *("validation_accuracy", "validation_low_95", "validation_high_95"),
        *("validation_images", "train_accuracy", "cross_entropy"),
        *("steps", "seconds", "failure"),
    )
    rows = []
    for run in ordered(sweep, results):
        result = results[run.name]
        figures: tuple[object, ...] = ("",) * 6
        if not result.failure:
            validation = result.validation
            shares = validation.share, *validation.interval_95
            figures = (
                *(f"{share:.6f}" for share in shares),
                validation.n,
                f"{result.train.share:.6f}",
                f"{result.cross_entropy:.6f}",
            )
        values = (run.value(flag) for flag in sweep.varied)
        ended = (result.steps, f"{result.seconds:.3f}", result.failure)
        rows.append((run.name, *values, *figures, *ended))
    return csv_file([header, *rows])


def sweep_json(
    sweep: Sweep, results: Results, test: Mapping[str, Any] | None = None
) -> bytes:
    """Returns the content of `sweep.json`; `test` is the best run's test accuracy."""
    best = best_of(sweep, results)
    content = {
        "poets": __version__,
        "varied": list(sweep.varied),
        "chosen_by": "validation accuracy; of equals the first given",
        "best": best
        and {"name": best.name, "output_graph": best.config.output_graph, "test": test},
        "runs": [results[run.name].to_json() for run in ordered(sweep, results)],
    }
    return json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n"


def sweep_text(sweep: Sweep, results: Results) -> str:
    """Returns the table for a terminal: the best ones, and some that failed."""
    runs = ordered(sweep, results)
    good = [run for run in runs if not results[run.name].failure]
    failed = [run for run in runs if results[run.name].failure]
    numbers = ("validation", "95 %", "train", "cross entropy", "steps", "seconds")
    cells = [("", *sweep.varied, *numbers)]
    for place, run in enumerate(good[:MAX_ROWS]):
        result = results[run.name]
        low, high = result.validation.interval_95
        cells.append(
            (
                "" if place else "*",
                *(cell(run.value(flag)) for flag in sweep.varied),
                _percent(result.validation),
                f"{100 * low:.1f} to {100 * high:.1f} %",
                _percent(result.train),
                f"{result.cross_entropy:.4f}",
                f"{result.steps:,}",
                f"{result.seconds:.1f}",
            )
        )
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [
        "  ".join(
            text.ljust(width) if column <= len(sweep.varied) else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    if len(good) > MAX_ROWS:
        lines.append(f"{len(good) - MAX_ROWS:,} more in sweep.csv")
    for run in failed[:MAX_FAILED]:
        lines.append(f"failed: {run.name}: {results[run.name].failure}")
    if len(failed) > MAX_FAILED:
        lines.append(f"{len(failed) - MAX_FAILED:,} more failed, see sweep.csv")
    return "\n".join(lines)


def ties(sweep: Sweep, results: Results) -> int:
    """Returns how many runs have the best validation accuracy, the best included."""
    best = best_of(sweep, results)
    if best is None:
        return 0
    share = results[best.name].validation.share
    return sum(
        not result.failure and result.validation.share == share
        for result in (results[run.name] for run in sweep.runs)
    )


def _percent(accuracy: Accuracy) -> str:
    return f"{100 * accuracy.share:.1f} %"


def cell(value: Any) -> str:
    """Returns a flag's value as text for a table."""
    text = format_value(value)
    return text if len(text) <= 40 else f"...{text[-37:]}"
