"""What a worker does that cannot take part in training: it leaves it to others."""

import pytest

from poets.bottlenecks.follower import Call
from poets.bottlenecks.member import Member
from poets.bottlenecks.pool import Pool
from poets.bottlenecks.rendezvous import Board
from poets.sweep.plan import plan_sweep
from poets.sweep.run import activities
from poets.sweep.sharing import HEADS, HeadPlan
from tests.retraining import flags_for, logged
from tests.sweep.swept import OUTPUTS


@pytest.fixture
def called(image_dir, store, tmp_path):
    """Has a worker asked for heads of other images; returns what it logs."""

    def call(*grid, offered=True, **flags):
        given = flags_for(tmp_path, image_dir, bottleneck_dir=str(store), **flags)
        given = {name: given[name] for name in given if name not in OUTPUTS}
        planned = plan_sweep(given, str(tmp_path / "out"), grid, "")
        board = Board(str(tmp_path / "job"))
        if offered:
            HeadPlan("9c1fx1", "other images", [planned.runs]).write(board)
        asked = Call("9c1fx1", lambda: False, Member(board, 1, 2), str(tmp_path))
        with logged() as lines, Pool(1) as pool:
            activities(planned, pool)[HEADS](asked)
        return lines

    return call


def test_heads_of_images_that_this_worker_sees_otherwise(called, image_dir, tmp_path):
    lines = called("seed=1,2,3")
    assert lines[-1] == (
        f"3 combinations left to others: the images in '{image_dir}' were changed"
    )
    assert not (tmp_path / "out").exists()


def test_heads_of_a_backbone_that_this_worker_cannot_have(
    called, closed_port, tmp_path
):
    url = f"http://127.0.0.1:{closed_port}"
    lines = called("seed=1,2", architecture="mobilenet_0.25_128", model_url=url)
    assert lines[-1].startswith("2 combinations left to others: ")
    assert "mobilenet" in lines[-1]
    assert not (tmp_path / "out").exists()


def test_heads_of_a_chief_that_has_gone_on(called, tmp_path):
    lines = called("seed=1,2", offered=False)
    assert not [line for line in lines if "combinations" in line]
    assert not (tmp_path / "out").exists()
