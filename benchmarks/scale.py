"""Measures a job on very many images, apart from the bottlenecks, which are made up.

The images are links to a few photographs (`inputs.link_many`), then the same in packs.
The job runs as a separate process (`benchmarks.made_up`), first with an empty store,
then with a full one. The memory is compared with the model in `docs/scaling.md`.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks.inputs import SMALL, link_many, pack_many
from benchmarks.measurements import Bench, job_flags
from benchmarks.processes import run_python
from benchmarks.table import Row

FIXED_MB = 680
BYTES_PER_IMAGE = 30
"""Memory of the chief, apart from the matrix."""

REPORT_S = 60.0
FIXED_S = 15.0
COLD_S, WARM_S = 105.0, 45.0
"""Goals for the seconds per million images, in addition to FIXED_S."""


def scale(bench: Bench) -> Iterator[Row]:
    """Yields seconds and memory of a run on very many images."""
    count = bench.sizes.scale_images
    found = bench.inputs(SMALL)
    for form, make in (("files", link_many), ("packs", pack_many)):
        place = bench.work / "scale"
        shutil.rmtree(place, ignore_errors=True)
        try:
            (place / "models").mkdir(parents=True)
            shutil.copy(found.archive, place / "models")
            make(found.image_dir, count, place / "images")
            for start, goal_s in (("cold", COLD_S), ("warm", WARM_S)):
                about = f"{start} run, {count:,} images in {form}"
                goal_s = FIXED_S + goal_s * count / 1e6
                yield from _run(bench, found.image_dir, place, about, goal_s)
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _run(
    bench: Bench, sources: Path, place: Path, about: str, goal_s: float
) -> Iterator[Row]:
    run = run_python(
        "benchmarks.made_up",
        [
            f"--sources={sources}",
            *job_flags(SMALL, place / "images", place, bench.sizes.short_steps),
        ],
        bench.work / "logs" / "scale.log",
    )
    timings = json.loads(run.stdout)
    metrics = json.loads((place / "out" / "metrics.json").read_text())
    images, phases = metrics["images"]["used"], metrics["duration_s"]
    yield Row(
        f"{about}, made-up features",
        "s",
        run.wall_s,
        goal=f"under {goal_s:g} s",
        reached=run.wall_s < goal_s,
    )
    yield Row("  listing and checks", "s", timings["preflight_s"])
    if timings["made_up_s"]:
        yield Row("  features made up and stored", "s", timings["made_up_s"])
    rest_s = phases["bottlenecks"] - timings["made_up_s"]
    yield Row("  index, matrix and split", "s", rest_s)
    yield Row("  training", "s", phases["training"])
    yield Row(
        "  report",
        "s",
        phases["report"],
        goal=f"under {REPORT_S:g} s",
        reached=phases["report"] < REPORT_S,
    )
    matrix_mb = images * metrics["model"]["bottleneck_size"] * 4 / 2**20
    model_mb = FIXED_MB + images * BYTES_PER_IMAGE / 2**20
    own_mb = run.main_own_mb - matrix_mb
    yield Row(
        "  peak memory beside the matrix",
        "MB",
        own_mb,
        goal=f"the model's {model_mb:,.0f} MB",
        reached=own_mb <= model_mb,
    )
    yield Row("  the matrix", "MB", matrix_mb)
