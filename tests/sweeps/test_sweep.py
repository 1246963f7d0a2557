"""A sweep finds what single runs find, and publishes the best."""

import csv
import io
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from poets.backbones import download
from poets.errors import ModelError
from poets.head import Head
from poets.head.evaluate import Accuracy
from poets.report.findings import SECTIONS
from poets.sweeps import run as sweep_run
from poets.sweeps import training
from poets.sweeps.plan import plan_sweep
from poets.sweeps.report import best_of, sweep_csv, sweep_text, ties
from poets.sweeps.results import Result
from tests.retraining import logged, snapshot
from tests.sweeps.swept import sweep_json_of, values_of

pytest_plugins = ["tests.far"]


@pytest.mark.parametrize(
    ("grid", "flags"),
    [
        (
            ("architecture=scattering_96,scattering_128", "learning_rate=0.001,0.1"),
            {"architecture": None},
        ),
        pytest.param(
            ("learning_rate=0.001,0.1", "train_batch_size=5,36"),
            {},
            marks=pytest.mark.soak,
        ),
        pytest.param(
            ("seed=0,4", "class_weights=none,balanced"),
            {"validation_batch_size": 7},
            marks=pytest.mark.soak,
        ),
        pytest.param(
            ("how_many_training_steps=20,60", "patience=0,2"),
            {"eval_step_interval": 3, "how_many_training_steps": None},
            marks=pytest.mark.soak,
        ),
        pytest.param(
            ("flip_left_right=false,true", "random_brightness=0,20"),
            {"augmentations": 2, "how_many_training_steps": 30},
            marks=pytest.mark.soak,
        ),
    ],
)
def test_each_combination_is_bit_for_bit_the_single_run(
    sweep, single, tmp_path, grid, flags
):
    """Of two backbones: the best one, and one that has no flag in common with it."""
    planned, results, _ = sweep(*grid, **flags)
    best = best_of(planned, results)
    compared = planned.runs
    if "architecture" in flags:
        # Its features are not those in memory at the end.
        assert best.chosen["architecture"] == "scattering_96"
        names = "learning_rate", "architecture"
        compared = [best] + [
            run
            for run in planned.runs
            if all(run.chosen[name] != best.chosen[name] for name in names)
        ]
    for run in compared:
        folder = single(run.name, exports=run is best, **{**flags, **run.chosen})
        metrics = json.loads((folder / "metrics.json").read_text())
        result = results[run.name]
        for split, found in (
            ("validation", result.validation),
            ("train", result.train),
        ):
            assert metrics["accuracy"][split]["correct"] == found.correct
            assert metrics["accuracy"][split]["n"] == found.n
        assert metrics["training_steps"] == result.steps
        summaries = tmp_path / "out" / "training_summaries" / run.name
        assert values_of(summaries) == values_of(folder / "summaries")
        if run is best:
            for name in ("retrained_graph.pb", "retrained_graph.tflite", "split.csv"):
                published = tmp_path / "out" / "best" / name
                assert published.read_bytes() == (folder / name).read_bytes()


@pytest.mark.soak
@pytest.mark.parametrize("names", ["96,128", "128,96"])
def test_the_best_backbone_may_be_any_of_them(sweep, single, tmp_path, names):
    """Its features are not those in memory at the end, in one of the two orders."""
    backbones = [f"scattering_{name}" for name in names.split(",")]
    planned, results, _ = sweep(
        f"architecture={','.join(backbones)}", "learning_rate=0.01", architecture=None
    )
    best = best_of(planned, results)
    folder = single("best", **best.chosen)
    graph = "retrained_graph.pb"
    published = (tmp_path / "out" / "best" / graph).read_bytes()
    assert published == (folder / graph).read_bytes()
    metrics = json.loads((tmp_path / "out" / "best" / "metrics.json").read_text())
    assert metrics["model"]["backbone"] == best.chosen["architecture"]


def test_it_leaves_what_it_promises_and_the_test_figure_once(swept):
    planned, out = swept.planned, swept.out
    names = [run.name for run in planned.runs]
    found = {name for name in snapshot(out) if not name.startswith("training_summ")}
    assert found == {
        *("sweep.csv", "sweep.json", "sweep.png"),
        *(f"runs/{name}.json" for name in names),
        *(
            f"intermediate/{name}/intermediate_{step}.pb"
            for name in names
            for step in (25, 50)
        ),
        *(
            f"best/{name}"
            for name in (
                *("retrained_graph.pb", "retrained_graph.tflite", "metrics.json"),
                *("retrained_labels.txt", "split.csv", "skipped_images.csv"),
                *("checkpoint.index", "checkpoint.data-00000-of-00001"),
                *("saved_models/1/saved_model.pb", "report.html", "report.json"),
                *(row.csv for row in SECTIONS.values() if row.csv),
            )
        ),
    }
    told = json.loads((out / "sweep.json").read_text())
    best = best_of(planned, swept.results)
    metrics = json.loads((out / "best" / "metrics.json").read_text())
    assert told["best"] == {
        "name": best.name,
        "output_graph": str(out / "best" / "retrained_graph.pb"),
        "test": metrics["accuracy"]["test"],
    }
    assert metrics["notes"][0].startswith(f"{best.name}, chosen of 4 combinations")
    assert sum("Final test accuracy" in line for line in swept.lines) == 1
    rest = [name for name in found if not name.startswith(("best/", "intermediate/"))]
    for name in set(rest) - {"sweep.json", "sweep.png"}:
        assert "test" not in (out / name).read_text()
    for run in told["runs"]:
        assert "test" not in run["accuracy"]
    shares = [run["accuracy"]["validation"]["accuracy"] for run in told["runs"]]
    assert shares == sorted(shares, reverse=True)
    rows = list(csv.DictReader(io.StringIO((out / "sweep.csv").read_text())))
    assert [row["name"] for row in rows] == [run["name"] for run in told["runs"]]
    assert set(rows[0]) >= {"learning_rate", "seed", "validation_low_95", "seconds"}
    assert (out / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_features_are_computed_once_for_all_combinations(sweep, tmp_path):
    _, _, lines = sweep(
        "learning_rate=0.01,0.1",
        "random_crop=0,10",
        bottleneck_dir=str(tmp_path / "own"),
        exports=False,
        augmentations=1,
    )
    computed = [line for line in lines if line.endswith("bottleneck files created.")]
    copies = [line for line in lines if line.endswith("distorted copies created.")]
    assert len(computed) == len(copies) == 1


def test_one_that_diverges_is_listed_and_the_others_go_on(sweep, tmp_path):
    planned, results, _ = sweep("learning_rate=1e6,0.1", "seed=1,2")
    failed = [name for name, result in results.items() if result.failure]
    assert failed == [f"image-retraining-lr1000000.0-seed-{seed}" for seed in (1, 2)]
    assert results[failed[0]].failure.endswith("lower --learning_rate=1e+06")
    text = sweep_text(planned, results)
    assert f"failed: {failed[0]}: training diverged by step " in text
    assert [run["name"] for run in sweep_json_of(tmp_path / "out")["runs"]][
        -2:
    ] == failed
    assert (tmp_path / "out" / "best" / "retrained_graph.pb").exists()


def test_when_all_diverge_it_is_reported_and_the_table_stays(sweep, tmp_path):
    with pytest.raises(ModelError, match="no combination could be trained: 2 problems"):
        sweep("learning_rate=1e6,1e7")
    assert sweep_json_of(tmp_path / "out")["best"] is None
    assert not (tmp_path / "out" / "best" / "retrained_graph.pb").exists()


def test_a_backbone_that_cannot_be_had_fails_alone_and_is_tried_again(
    sweep, closed_port, tmp_path, monkeypatch
):
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    planned, results, _ = sweep(
        "architecture=mobilenet_0.25_128,scattering_96",
        architecture=None,
        exports=False,
        model_url=f"http://127.0.0.1:{closed_port}",
    )
    first, second = (results[run.name] for run in planned.runs)
    assert "mobilenet" in first.failure
    assert not second.failure
    kept = os.listdir(tmp_path / "out" / "runs")
    assert kept == [f"{second.name}.json"]


def test_everything_may_be_on_any_storage(sweep, swept, far, image_dir, tmp_path):
    """Half of it is finished already, and the rest comes out as it does here."""
    runs = tmp_path / "runs.jsonl"
    runs.write_text("".join(f"{json.dumps(r.chosen)}\n" for r in swept.planned.runs))
    names = [run.name for run in swept.planned.runs]
    out = tmp_path / "far" / "out"
    for name in names[::2]:
        folder = f"training_summaries/{name}"
        shutil.copytree(swept.out / folder, out / folder)
        (out / "runs").mkdir(exist_ok=True)
        shutil.copy(swept.out / "runs" / f"{name}.json", out / "runs")
    url = far.url(tmp_path / "far")
    flags = {"bottleneck_dir": f"{url}/store", "image_dir": far.url(image_dir)}
    planned, results, lines = sweep(
        runs=far.url(runs), out=f"{url}/out", **flags, **swept.flags
    )
    assert [run.name for run in planned.runs] == names
    assert "2 combinations are finished already" in lines
    for name in names:
        same = replace(results[name], seconds=swept.results[name].seconds)
        assert same == swept.results[name]
        summaries = (
            folder / "training_summaries" / name for folder in (out, swept.out)
        )
        assert len({tuple(values_of(folder)) for folder in summaries}) == 1
    one, other = snapshot(out), snapshot(swept.out)
    assert one["best/retrained_graph.pb"] == other["best/retrained_graph.pb"]
    # Not of what was finished before, but for the best, which is trained again.
    trained = {*names[1::2], best_of(planned, results).name}
    made = [f"intermediate/{name}" for name in trained]
    plain = ("best/", "runs/", "sweep.", *made)
    assert {name for name in one if not name.startswith("training_summaries")} == {
        name for name in other if name.startswith(plain)
    }


def test_heads_are_trained_a_bounded_number_at_a_time(finish, monkeypatch):
    monkeypatch.setattr(training, "MAX_TOGETHER", 3)
    sizes = []
    train_many = training.train_many
    monkeypatch.setattr(
        training,
        "train_many",
        lambda *given: sizes.append(len(given[-1])) or train_many(*given),
    )
    results = finish("seed=0,1,2,3,4,5,6,7", how_many_training_steps=3)
    assert sizes == [3, 3, 2]
    assert len(results) == 8


def test_images_are_scored_a_bounded_number_at_a_time(finish, monkeypatch):
    for module in ("poets.head", "poets.head.examples"):
        monkeypatch.setattr(f"{module}.PART", 8)
    sizes = []
    logits = Head.logits
    monkeypatch.setattr(
        Head, "logits", lambda *given: sizes.append(len(given[1])) or logits(*given)
    )
    results = finish("seed=0,1", how_many_training_steps=3)
    assert len(results) == 2
    assert max(sizes) == 8


@pytest.mark.parametrize(
    ("size", "labels", "expected"),
    [(1001, 5, 32), (2048, 1000, 4), (2048, 100_000, 1), (8, 2, 32)],
)
def test_wide_heads_are_trained_fewer_at_a_time(size, labels, expected):
    class Wide:
        class every:  # noqa: N801
            bottlenecks = np.zeros((0, size), np.float32)

        class dataset:  # noqa: N801
            labels = range(0)

    Wide.dataset.labels = range(labels)
    assert training._chunk_size(Wide) == expected


def test_the_order_is_that_of_validation_alone_and_equals_stay_as_given(tmp_path):
    def result(name, right, train=50, failure=""):
        return Result(
            name,
            validation=Accuracy(100, right),
            train=Accuracy(100, train),
            cross_entropy=1.0,
            failure=failure,
        )

    given = [
        result("a", 60, train=99),
        result("b", 70, train=10),
        result("c", 0, failure="diverged"),
        result("d", 70, train=90),
    ]
    assert [each.name for each in sorted(given, key=lambda each: each.rank)] == [
        "b",
        "d",
        "a",
        "c",
    ]
    planned = plan_sweep({"image_dir": "x", "output_dir": "out"}, ["seed=1,2,3"])
    names = [run.name for run in planned.runs]
    results = {
        name: result(name, right)
        for name, right in zip(names, (70, 71, 71), strict=True)
    }
    assert best_of(planned, results).name == names[1]
    assert ties(planned, results) == 2
    text = sweep_text(planned, results)
    assert text.splitlines()[1].split()[:3] == ["*", "2", "71.0"]
    assert sweep_csv(planned, results).decode().splitlines()[1].startswith(names[1])


def test_without_matplotlib_there_is_all_but_the_picture(swept, monkeypatch, tmp_path):
    monkeypatch.setattr(sweep_run, "can_plot", lambda: False)
    with logged() as lines:
        sweep_run._write_tables(
            replace(swept.planned, output_dir=str(tmp_path)), swept.results
        )
    assert (
        "no sweep.png: matplotlib is not installed; pip install 'poets[plot]'" in lines
    )
    assert sorted(os.listdir(tmp_path)) == ["sweep.csv", "sweep.json"]
