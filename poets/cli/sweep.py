"""`poets sweep`: trains combinations of flags on one feature store, publishes the best.

    poets sweep --image_dir=... --output_dir=... \\
        --grid learning_rate=0.001,0.01,1.0 --grid train_batch_size=25,50,100

On Kubernetes, TF_CONFIG defines which of the sweep's tasks this process is.
"""

import argparse
from typing import TYPE_CHECKING

from poets.cluster import cluster_of
from poets.flags import add_flags, flags_of
from poets.storage import join
from poets.sweeps.plan import Sweep, plan_sweep
from poets.system.logs import log_to_stderr

if TYPE_CHECKING:  # not for --help
    from poets.data.dataset import Dataset
    from poets.features.pool import Workers
    from poets.job import Job
    from poets.sweeps.results import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    parser.description = (
        "Trains a head for each combination of flags, all on one feature "
        "store, and publishes the one with the best validation accuracy. Run it again "
        "to continue a sweep that was stopped. --output_dir is required; the best "
        "run's results are in its folder best/."
    )
    group = parser.add_argument_group("combinations")
    group.add_argument(
        "--grid",
        metavar="FLAG=V1,V2,...",
        action="append",
        default=[],
        help="one run per value, as learning_rate=0.01,0.1; repeated, one run per "
        "combination",
    )
    group.add_argument(
        "--runs",
        metavar="FILE",
        default="",
        help='one run per line, as {"learning_rate": 0.1, "seed": 3}',
    )
    add_flags(parser)
    parser.set_defaults(func=_run)


def _run(args: argparse.Namespace) -> int:
    given, problems = flags_of(args)
    sweep = plan_sweep(given, args.grid, args.runs, problems)
    from poets import job
    from poets.sweeps.report import sweep_text

    log_to_stderr()
    results = job.run_job(cluster_of(None), job_of(sweep))
    if results is not None:
        print(sweep_text(sweep, results))
        print(_best_text(sweep, results))
    return 0


def job_of(sweep: Sweep) -> "Job[dict[str, Result]]":
    """Returns the job that trains the runs of a sweep and publishes the best."""
    from poets.job import Job

    def lead(dataset: "Dataset", workers: "Workers") -> "dict[str, Result]":
        from poets.sweeps.run import run_sweep  # imports TensorFlow

        return run_sweep(sweep, dataset, workers)

    return Job(sweep.base, lead, details=sweep.details)


def _best_text(sweep: Sweep, results: "dict[str, Result]") -> str:
    """Returns the last lines: the best combination, ties, and where the results are."""
    from poets.sweeps.report import best_of, ties

    best = best_of(sweep, results)
    if best is None:
        return ""
    lines = [f"\n* {best.name}: {best.config.output_graph}"]
    if (count := ties(sweep, results)) > 1:
        lines.append(
            f"  the first of {count:,} combinations with the best validation accuracy"
        )
    lines.append(f"  all of them: {join(sweep.output_dir, 'sweep.csv')}")
    return "\n".join(lines)
