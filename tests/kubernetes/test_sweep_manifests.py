"""A grid of jobs on Kubernetes: names, folders, and what is refused."""

import itertools
from pathlib import Path

import pytest

from poets.dcos.options import read_options
from poets.errors import ConfigError
from poets.kubernetes.manifests import Target, manifests
from poets.sweeps.grid import parse_axis
from tests.kubernetes.printed import flags_of, items_of, options_of, worker_of
from tests.kubernetes.schemas import refusals

ROOT = Path(__file__).resolve().parents[2]
SWEEP = str(ROOT / "deploy" / "kubernetes" / "sweep.json")
GRID = (
    parse_axis("learning_rate=0.001,0.01,1.0"),
    parse_axis("train_batch_size=25,50,100"),
)


def test_a_sweep_has_the_names_and_folders_of_the_original_chart():
    options = read_options(SWEEP)
    storage = {"storage": "pvc:disk-retrain", "grid": GRID}
    printed = manifests(options, Target("tfjob", **storage))
    assert refusals(printed) == []
    *jobs, deployment, service = printed["items"]
    assert [job["metadata"]["name"] for job in jobs] == [
        f"tfjob-retrain-hyperparam-{i}-{j}" for i in range(3) for j in range(3)
    ]
    pairs = itertools.product(("0.001", "0.01", "1.0"), ("25", "50", "100"))
    for job, (rate, batch) in zip(jobs, pairs, strict=True):
        flags = flags_of(job)
        run = f"image-retraining-lr{rate}-bs-{batch}"
        assert (flags["learning_rate"], flags["train_batch_size"]) == (rate, batch)
        assert flags["output_graph"] == f"/tf-output/{run}/retrained_graph.pb"
        assert flags["output_labels"] == f"/tf-output/{run}/retrained_labels.txt"
        assert flags["saved_model_dir"] == f"/tf-output/{run}/saved_models/1"
        summaries = f"/tf-output/training_summaries/{run}/baseline"
        assert flags["summaries_dir"] == summaries
        assert flags["bottleneck_dir"] == "/tf-output/bottlenecks"
    shown = "tensorboard-hyperparam-sweep"
    assert {i["metadata"]["name"] for i in (deployment, service)} == {shown}
    command = worker_of(deployment)["command"]
    assert command[-2:] == ["/tf-output/training_summaries", "/logs"]


@pytest.mark.parametrize("kind", ["tfjob", "job"])
def test_a_sweeps_jobs_share_no_output(kind):
    jobs = [
        item
        for item in items_of(read_options(SWEEP), storage="pvc:d", grid=GRID, kind=kind)
        if item["kind"] in ("TFJob", "Job")
    ]
    outputs = ("output_graph", "output_labels", "saved_model_dir", "summaries_dir")
    for name in (*outputs, "checkpoint_path", "intermediate_output_graphs_dir"):
        assert len({flags_of(job)[name] for job in jobs}) == 9


def test_a_sweep_without_a_shared_folder_is_refused():
    with pytest.raises(ConfigError, match="18 problems") as caught:
        items_of(options_of(["service.shared_filesystem=/x"]), grid=GRID)
    assert "give --storage pvc:NAME" in str(caught.value)


def test_all_wrong_values_of_a_sweep_are_reported_together():
    grid = (parse_axis("learning_rate=0.1,fast,-1"),)
    with pytest.raises(ConfigError, match="2 problems") as caught:
        items_of(read_options(SWEEP), storage="pvc:d", grid=grid)
    assert "--learning_rate=fast" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        (
            "learning_rat=1",
            r"no flag 'learning_rat' \(did you mean 'learning_rate'\?\)",
        ),
        ("learning_rate", "give different values"),
        ("seed=1,,2", "give different values"),
        ("seed=1,1", "give different values"),
    ],
)
def test_a_grid_that_is_none_is_refused(text, refusal):
    with pytest.raises(ConfigError, match=refusal):
        parse_axis(text)
