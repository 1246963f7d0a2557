"""A worker that fails in a plan: its own fault, unless the chief has gone on."""

import pytest

from poets.cluster import Cluster
from poets.errors import PoetsError
from poets.features.network import Network
from poets.features.plan import WorkPlan
from poets.features.process import PLAIN, ImageTask, Spec
from poets.flags import config_from_args
from poets.workers.worker import Worker
from tests.retraining import logged


class FailingPool:
    """Its processes find no model."""

    def work_off(self, spec, division):
        raise PoetsError("no such model")


@pytest.fixture
def work(tmp_path):
    """Has a worker work on a plan, with a chief in some state."""

    def run(**chief):
        flags = {"image_dir": "i", "bottleneck_dir": str(tmp_path)}
        cluster = Cluster("worker", 1, 1, 2)
        worker = Worker(cluster, config_from_args(flags), FailingPool())
        store = str(tmp_path / "store")
        network = Network(store, "litert", "model.tflite", 3)
        spec = Spec("i", (network,), None, False)
        tasks = [ImageTask("daisy/1.jpg", 9, 7, (PLAIN,), None)]
        plan = WorkPlan.of("9c1fx0", spec, 1000, [tasks])
        plan.write(worker._folder.url_of("plan.parquet"))
        worker._folder.write("chief.json", chief)
        worker._read_chief()
        return worker._work("plan.parquet", str(tmp_path))

    return run


def test_a_failure_ends_the_worker(work):
    with pytest.raises(PoetsError, match="no such model"):
        work(state="working", plan="plan.parquet")


@pytest.mark.parametrize(
    "chief", [{"state": "done"}, {"state": "working", "plan": "b"}]
)
def test_a_failure_in_a_plan_that_is_over_is_logged_alone(work, chief):
    with logged() as lines:
        assert work(**chief)
    assert "worker:1: stopped in a plan that is over: no such model" in lines
