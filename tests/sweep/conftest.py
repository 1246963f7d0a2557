"""Fixtures: sweeps and single runs on drawn images."""

import pytest

from poets.bottlenecks.pool import Pool
from poets.preflight import preflight
from poets.sweep.plan import plan_sweep
from poets.sweep.run import run_sweep
from tests import retraining
from tests.retraining import flags_for, logged
from tests.sweep.swept import OUTPUTS


@pytest.fixture(scope="module")
def image_dir(tmp_path_factory):
    return retraining.write_images(tmp_path_factory.mktemp("data") / "images")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One feature store for all tests but those of the store."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def sweep(image_dir, store, tmp_path):
    """Runs a sweep and returns its plan, its results and what it logged."""

    def run(*grid, out=None, runs="", **flags):
        base = flags_for(tmp_path, image_dir, bottleneck_dir=str(store))
        base = {name: base[name] for name in base if name not in OUTPUTS} | flags
        out = str(out or tmp_path / "out")
        planned = plan_sweep(base, out, grid, runs)
        with logged() as lines, Pool(1) as pool:
            results = run_sweep(planned, preflight(planned.base), pool)
        return planned, results, lines

    return run


@pytest.fixture
def single(image_dir, store, tmp_path):
    """Runs one combination by itself and returns its folder."""

    def run(name, **flags):
        folder = tmp_path / f"single-{name}"
        flags = {"bottleneck_dir": str(store), **flags}
        retraining.retrain(folder, image_dir, **flags)
        return folder

    return run
