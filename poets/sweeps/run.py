"""Runs a sweep: trains the combinations of each backbone, then publishes the best.

    bottlenecks ─> heads ─> runs/NAME.json ─> tables, the best published

Several workers compute the bottlenecks. The chief trains all heads: 1,000 of them take
less than two minutes.
"""

import logging
from collections.abc import Mapping

from poets.data.dataset import Dataset
from poets.errors import ModelError, format_problems
from poets.features.pool import Workers
from poets.report.curve import can_plot
from poets.retraining import temporary_folder
from poets.storage import folder_of, join
from poets.storage.publish import Publication, check_writable, write_atomically
from poets.storage.publish_lock import PublishLock
from poets.sweeps.plan import Sweep
from poets.sweeps.plot import sweep_png
from poets.sweeps.report import best_of, sweep_csv, sweep_json
from poets.sweeps.results import Result
from poets.sweeps.runner import SweepRunner

logger = logging.getLogger(__name__)


def run_sweep(sweep: Sweep, dataset: Dataset, workers: Workers) -> dict[str, Result]:
    """Trains all combinations, publishes the best, and returns name -> result of each.

    Raises:
      PoetsError: if the sweep fails, or no combination could be trained; finished
        results are kept.
    """
    check_writable(join(sweep.output_dir, "runs"))
    lock = PublishLock(folder_of(sweep.base.output_graph))
    with temporary_folder() as work_dir:
        runner = SweepRunner(sweep, dataset, workers, work_dir)
        results = runner.finish(sweep.runs)
        _write_tables(sweep, results)
        best = best_of(sweep, results)
        if best is None:
            reasons = dict.fromkeys(result.failure for result in results.values())
            raise ModelError(
                format_problems("no combination could be trained", [*reasons])
            )
        metrics = runner.publish(best, len(results), lock)
    test = metrics["accuracy"]["test"]
    write_atomically(
        join(sweep.output_dir, "sweep.json"), sweep_json(sweep, results, test)
    )
    return results


def _write_tables(sweep: Sweep, results: Mapping[str, Result]) -> None:
    files = {
        "sweep.csv": sweep_csv(sweep, results),
        "sweep.json": sweep_json(sweep, results),
    }
    if can_plot():
        files["sweep.png"] = sweep_png(sweep, results)
    else:
        logger.info(
            "no sweep.png: matplotlib is not installed; pip install 'poets[plot]'"
        )
    with Publication() as publication:
        for name, data in files.items():
            publication.add_file(join(sweep.output_dir, name), data)
        publication.commit()
