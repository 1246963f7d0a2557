"""Which heads of a sweep are trained together."""

from types import SimpleNamespace

import numpy as np
import pytest

from poets.sweeps.plan import plan_sweep
from poets.sweeps.training import MAX_TOGETHER, chunks_of


def swept(tmp_path, *grid, **flags):
    given = {"image_dir": "images", "bottleneck_dir": "store", **flags}
    return plan_sweep({"output_dir": str(tmp_path / "out"), **given}, grid)


def seeds(count):
    return "seed=" + ",".join(map(str, range(count)))


def features(size=8, labels=3):
    return SimpleNamespace(
        every=SimpleNamespace(bottlenecks=np.zeros((5, size), "f4")),
        dataset=SimpleNamespace(labels=["a"] * labels),
    )


@pytest.mark.parametrize("count", [1, 2, 9, 33, 100, 400])
def test_each_combination_is_in_one_chunk(tmp_path, count):
    runs = swept(tmp_path, seeds(count)).runs
    chunks = chunks_of(runs, features())
    assert sorted(run.name for chunk in chunks for run in chunk) == sorted(
        run.name for run in runs
    )
    assert max(map(len, chunks)) <= MAX_TOGETHER


def test_large_heads_are_trained_by_fewer_in_a_chunk(tmp_path):
    runs = swept(tmp_path, seeds(8), how_many_training_steps=10).runs
    chunks = chunks_of(runs, features(size=2_048, labels=2_000))
    assert [len(chunk) for chunk in chunks] == [2, 2, 2, 2]


def test_heads_of_another_schedule_are_in_another_chunk(tmp_path):
    runs = swept(tmp_path, seeds(3), "how_many_training_steps=7,8").runs
    assert [len(chunk) for chunk in chunks_of(runs, features())] == [3, 3]


def test_sweeps_of_the_same_flags_are_distinguished(tmp_path):
    one = swept(tmp_path, seeds(3))
    assert one.details == swept(tmp_path, seeds(3)).details
    assert one.details != swept(tmp_path, seeds(4)).details
    assert one.details != swept(tmp_path / "b", seeds(3)).details
