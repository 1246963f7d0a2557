"""Compares two executors of Spark with two workers of one process each.

    python -m benchmarks.spark FEW FLAGS    one job in local-cluster[2,1,1024]

Both compute the same pictures in turn, as processes of their own. The pass is measured
by the chief's clock. What Spark takes to start is shown apart: its JVMs, Python and our
processes in the executors, by a small job before.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks import workers
from benchmarks.inputs import FULL, PROJECT, SMALL, Case, write_many
from benchmarks.measurements import Bench, job_flags
from benchmarks.processes import run_python
from benchmarks.table import Row
from poets import job
from poets.flags import add_flags, config_from_args, flags_of

GOAL = 0.9
FEW = 200
"""Pictures of the job that starts everything."""

MASTER = "local-cluster[2,1,1024]"


def spark(bench: Bench) -> Iterator[Row]:
    """Yields images per second of both, and the seconds that Spark takes to start."""
    for case, number in zip((SMALL, FULL), bench.sizes.spark_images, strict=True):
        two, executors, starts = [], [], []
        for _ in range(bench.sizes.repeats):
            seconds, images = workers._pass(bench, case, 2, number=number)
            two.append(images / seconds)
            found = _on_spark(bench, case, number)
            executors.append(images / found["pass_s"])
            starts.append(found["start_s"])
        limit, rate = statistics.median(two), statistics.median(executors)
        name = bench.inputs(case).name
        yield Row(
            f"2 executors of Spark, {name}",
            "images/s",
            rate,
            limit=limit,
            goal=f"{GOAL:.0%} of 2 workers",
            reached=rate >= GOAL * limit,
        )
        yield Row("  start of Spark", "s", statistics.median(starts))


def _on_spark(bench: Bench, case: Case, number: int) -> dict[str, float]:
    """Returns the seconds of a cold pass, and of Spark's start."""
    found = bench.inputs(case)
    image_dir = write_many(found.image_dir, number, bench.work / f"images_{number}")
    place = bench.work / "spark"
    shutil.rmtree(place, ignore_errors=True)
    (place / "models").mkdir(parents=True)
    shutil.copy(found.archive, place / "models")
    flags = job_flags(case, image_dir, place, workers.STEPS)
    flags += ["--saved_model_dir=", "--checkpoint_path="]
    few = write_many(found.image_dir, FEW, bench.work / f"few_{case.image_size_px}")
    run = run_python("benchmarks.spark", [few, *flags], place / "log")
    metrics = json.loads((place / "out" / "metrics.json").read_text())
    start_s = json.loads(run.stdout.splitlines()[-1])["start_s"]
    return {"pass_s": metrics["duration_s"]["bottlenecks"], "start_s": start_s}


def main() -> None:
    """Runs a job in a Spark application of its own; prints the seconds of its start."""
    from pyspark.sql import SparkSession

    parser = argparse.ArgumentParser(prog="python -m benchmarks.spark")
    parser.add_argument("few", help="a folder with few pictures")
    add_flags(parser)
    args = parser.parse_args()
    config = config_from_args(*flags_of(args))
    os.environ["PYSPARK_PYTHON"] = sys.executable
    began_s = time.monotonic()
    session = (
        SparkSession.builder.master(MASTER)
        .config("spark.executor.memory", "512m")
        .config("spark.executorEnv.PYTHONPATH", str(PROJECT))
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    context = session.sparkContext
    context.setLogLevel("OFF")
    with tempfile.TemporaryDirectory() as folder:
        small = {"image_dir": args.few, "output_graph": f"{folder}/graph.pb"}
        small |= {"output_labels": f"{folder}/labels", "bottleneck_dir": folder}
        job.run(replace(config, **small), session)
    start_s = time.monotonic() - began_s
    job.run(config, session)
    application = context.applicationId
    session.stop()
    home = Path(sys.modules["pyspark"].__file__ or "").parent
    shutil.rmtree(home / "work" / application, ignore_errors=True)
    print(json.dumps({"start_s": start_s}))


if __name__ == "__main__":
    main()
