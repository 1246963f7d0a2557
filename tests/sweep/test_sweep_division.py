"""How a sweep's heads are divided, and how workers are told of it."""

from types import SimpleNamespace

import numpy as np
import pytest

from poets.bottlenecks.rendezvous import Board
from poets.errors import StorageError
from poets.sweep.plan import plan_sweep
from poets.sweep.sharing import HeadPlan
from poets.sweep.training import MAX_TOGETHER, chunks_of


def swept(tmp_path, *grid, **flags):
    given = {"image_dir": "images", "bottleneck_dir": "store", **flags}
    return plan_sweep(given, str(tmp_path / "out"), grid, "")


def seeds(count):
    return "seed=" + ",".join(map(str, range(count)))


def features(size=8, labels=3):
    return SimpleNamespace(
        every=SimpleNamespace(bottlenecks=np.zeros((5, size), "f4")),
        dataset=SimpleNamespace(labels=["a"] * labels),
    )


@pytest.mark.parametrize("count", [1, 2, 9, 33, 100, 400])
@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("steps", [1, 500, 20_000])
def test_each_combination_is_in_one_chunk(tmp_path, count, workers, steps):
    runs = swept(tmp_path, seeds(count), how_many_training_steps=steps).runs
    chunks = chunks_of(runs, features(), workers)
    assert sorted(run.name for chunk in chunks for run in chunk) == sorted(
        run.name for run in runs
    )
    assert max(map(len, chunks)) <= MAX_TOGETHER


@pytest.mark.parametrize(
    ("count", "steps", "workers", "sizes"),
    [
        (100, 500, 1, [32, 32, 32, 4]),
        (100, 500, 2, [25, 25, 25, 25]),  # as many for each
        (9, 500, 2, [9]),  # a second's work
        (9, 4_000, 2, [5, 4]),
        (9, 20_000, 8, [2, 2, 2, 2, 1]),
        (33, 500, 4, [20, 13]),
        (70, 500, 2, [20, 20, 20, 10]),
    ],
)
def test_workers_have_as_much_to_do_where_it_is_worth_it(
    tmp_path, count, steps, workers, sizes
):
    runs = swept(tmp_path, seeds(count), how_many_training_steps=steps).runs
    assert [len(chunk) for chunk in chunks_of(runs, features(), workers)] == sizes


def test_large_heads_are_trained_by_fewer_in_a_chunk(tmp_path):
    runs = swept(tmp_path, seeds(8), how_many_training_steps=10).runs
    chunks = chunks_of(runs, features(size=2_048, labels=2_000), 2)
    assert [len(chunk) for chunk in chunks] == [2, 2, 2, 2]


def test_heads_of_another_schedule_are_in_another_chunk(tmp_path):
    runs = swept(tmp_path, seeds(3), "how_many_training_steps=7,8").runs
    assert [len(chunk) for chunk in chunks_of(runs, features(), 2)] == [3, 3]


def test_a_division_is_read_as_it_was_written(tmp_path):
    runs = swept(tmp_path, seeds(5)).runs
    board = Board(str(tmp_path / "job"))
    plan = HeadPlan("9c1fx1", "of images", [runs[:3], runs[3:]])
    plan.write(board)
    found = HeadPlan.read(board, "9c1fx1", runs)
    assert (found.data, found.runs, found.copies) == ("of images", [*runs], [3, 2])
    assert found.part(1).runs == [*runs[3:]]


def test_a_chunk_is_done_when_its_own_plan_says_so(tmp_path):
    runs = swept(tmp_path, seeds(3)).runs
    board = Board(str(tmp_path / "job"))
    plans = [HeadPlan(name, "", [[run] for run in runs]) for name in ("ax1", "ax11")]
    for plan in plans:
        plan.write(board)
    plans[0].mark(board, 2)
    plans[1].mark(board, 0)
    assert [plan.done(board.names()) for plan in plans] == [[2], [0]]


def test_a_division_that_is_gone_is_none(tmp_path):
    runs = swept(tmp_path, seeds(3)).runs
    board = Board(str(tmp_path / "job"))
    assert HeadPlan.read(board, "9c1fx1", runs) is None


def test_a_division_of_other_combinations_is_named(tmp_path):
    runs = swept(tmp_path, seeds(3)).runs
    board = Board(str(tmp_path / "job"))
    HeadPlan("9c1fx1", "", [runs]).write(board)
    with pytest.raises(StorageError, match=r"heads-9c1fx1.json' is no plan of this sw"):
        HeadPlan.read(board, "9c1fx1", runs[:2])


def test_sweeps_of_the_same_flags_are_told_apart(tmp_path):
    one = swept(tmp_path, seeds(3))
    assert one.details == swept(tmp_path, seeds(3)).details
    assert one.details != swept(tmp_path, seeds(4)).details
    assert one.details != swept(tmp_path / "b", seeds(3)).details
