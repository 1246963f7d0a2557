"""Fixtures: sweeps and single runs on drawn images."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from poets.features.pool import Pool
from poets.preflight import preflight
from poets.sweeps.plan import Sweep, plan_sweep
from poets.sweeps.results import Result
from poets.sweeps.run import run_sweep
from poets.sweeps.runner import SweepRunner
from tests import retraining
from tests.retraining import flags_for, logged
from tests.sweeps.swept import OUTPUTS


@pytest.fixture(scope="session")
def image_dir(tmp_path_factory):
    return retraining.write_images(tmp_path_factory.mktemp("data") / "images")


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """One feature store for all tests but those of the store."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def sweep_into(image_dir, store):
    """Runs a sweep into a folder; returns its plan, its results and what it logged."""

    def run(folder, *grid, out=None, runs="", exports=True, **flags):
        base = flags_for(folder, image_dir, bottleneck_dir=str(store))
        base = {name: base[name] for name in base if name not in OUTPUTS} | flags
        out = str(out or folder / "out")
        planned = plan_sweep({**base, "output_dir": out}, grid, runs)
        made = contextlib.nullcontext() if exports else retraining.without_exports()
        with made, logged() as lines, Pool(1) as pool:
            results = run_sweep(planned, preflight(planned.base), pool)
        return planned, results, lines

    return run


@pytest.fixture
def sweep(sweep_into, tmp_path):
    """Runs a sweep below the test's own folder."""
    return lambda *grid, **given: sweep_into(tmp_path, *grid, **given)


@pytest.fixture
def finish(image_dir, store, tmp_path):
    """Does of a sweep all but to publish the best; returns the results."""

    def run(*grid, **flags):
        base = flags_for(tmp_path, image_dir, bottleneck_dir=str(store))
        base = {name: base[name] for name in base if name not in OUTPUTS} | flags
        planned = plan_sweep({**base, "output_dir": str(tmp_path / "out")}, grid)
        with Pool(1) as pool:
            runner = SweepRunner(planned, preflight(planned.base), pool, str(tmp_path))
            return runner.finish(planned.runs)

    return run


@dataclass(frozen=True)
class Swept:
    """A finished sweep of 4 combinations.

    Attributes:
      grid: the combinations.
      flags: those that all share and that are not defaults of `sweep`.
      planned: the plan.
      results: name -> result.
      lines: what it logged.
      out: its folder.
    """

    grid: tuple[str, ...]
    flags: dict[str, object]
    planned: Sweep
    results: dict[str, Result]
    lines: list[str]
    out: Path


@pytest.fixture(scope="session")
def swept(sweep_into, tmp_path_factory) -> Swept:
    """A finished sweep; tests look at it, and go on with copies."""
    folder = tmp_path_factory.mktemp("swept")
    grid = ("learning_rate=0.001,0.1", "seed=1,2")
    flags = {"intermediate_store_frequency": 25, "report": True}
    return Swept(grid, flags, *sweep_into(folder, *grid, **flags), folder / "out")


@pytest.fixture
def single(image_dir, store, tmp_path):
    """Runs one combination by itself, without a SavedModel; returns its folder."""

    def run(name, **flags):
        folder = tmp_path / f"single-{name}"
        flags = {"bottleneck_dir": str(store), "saved_model_dir": "", **flags}
        retraining.retrain(folder, image_dir, **flags)
        return folder

    return run
