"""What a sweep is to do: names, combinations, and every mistake in one message."""

import itertools

import pytest

from poets.errors import ConfigError, StorageError
from poets.flags import FIELDS
from poets.sweeps.grid import MAX_NAME, parse_axis, run_name
from poets.sweeps.plan import OTHER_IMAGES, VARY, plan_sweep

WALK_THROUGH = ("learning_rate=0.001,0.01,1.0", "train_batch_size=25,50,100")


def plan(*grid, runs="", out="out", **flags):
    flags = {"image_dir": "images", "output_dir": out, **flags}
    return plan_sweep(flags, grid, runs)


def refusal(*grid, **given):
    with pytest.raises(ConfigError) as caught:
        plan(*grid, **given)
    return str(caught.value)


@pytest.fixture
def listed(tmp_path):
    """Writes a list of combinations and returns its path."""

    def write(*lines):
        path = tmp_path / "runs.jsonl"
        path.write_text("\n".join(lines) + "\n")
        return str(path)

    return write


def test_the_walk_throughs_grid_has_the_original_charts_names():
    sweep = plan(*WALK_THROUGH)
    pairs = itertools.product(("0.001", "0.01", "1.0"), (25, 50, 100))
    assert [run.name for run in sweep.runs] == [
        f"image-retraining-lr{rate}-bs-{size}" for rate, size in pairs
    ]
    assert sweep.varied == ("learning_rate", "train_batch_size")
    assert sweep.runs[-1].config.learning_rate == 1.0
    assert sweep.runs[-1].config.train_batch_size == 100


def test_a_name_does_not_hang_on_how_the_grid_is_written():
    turned = plan("train_batch_size=50", "--learning-rate=1e-2, 0.10").runs
    assert [run.name for run in turned] == [
        "image-retraining-lr0.01-bs-50",
        "image-retraining-lr0.1-bs-50",
    ]


@pytest.mark.parametrize(
    ("chosen", "name"),
    [
        ({}, "image-retraining"),
        (
            {"architecture": "mobilenet_0.25_128", "seed": "3"},
            "image-retraining-architecture-mobilenet_0.25_128-seed-3",
        ),
        ({"flip_left_right": "true"}, "image-retraining-flip_left_right-true"),
        (
            {"tfhub_module": "https://tfhub.dev/a b"},
            "image-retraining-tfhub_module-https_tfhub.dev_a_b-b19dc264",
        ),
    ],
)
def test_other_flags_stand_in_a_name_under_their_own(chosen, name):
    if "tfhub" in name:
        assert run_name(chosen)[:-8] == name[:-8]
    else:
        assert run_name(chosen) == name


def test_names_are_safe_short_and_differ_as_values_do():
    values = ["a/b", "a_b", "a b", "ä", "../..", "x" * 300, "x" * 301, "A\nB", "%"]
    names = [run_name({"tfhub_module": value}) for value in values]
    assert len(set(names)) == len(values)
    for name in names:
        assert len(name) <= MAX_NAME
        assert set(name) <= set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-"
        )


def test_results_lie_below_the_output_folder_unless_another_is_named():
    sweep = plan("seed=1,2", out="s3://b/out", saved_model_dir="/models/1")
    config = sweep.runs[1].config
    assert config.output_graph == "s3://b/out/best/retrained_graph.pb"
    assert config.output_labels == "s3://b/out/best/retrained_labels.txt"
    assert config.checkpoint_path == "s3://b/out/best/checkpoint"
    assert config.saved_model_dir == "/models/1"
    name = "image-retraining-seed-2"
    assert config.summaries_dir == f"s3://b/out/training_summaries/{name}"
    assert config.intermediate_output_graphs_dir == f"s3://b/out/intermediate/{name}/"


def test_a_list_is_one_run_a_line_and_combined_with_a_grid(listed):
    runs = listed('{"learning_rate": 0.1}', "", '{"--seed": "7", "patience": 2}')
    sweep = plan(runs=runs)
    assert [dict(run.chosen) for run in sweep.runs] == [
        {"learning_rate": 0.1},
        {"patience": 2, "seed": 7},
    ]
    both = plan("train_batch_size=10,20", runs=runs)
    assert [run.name for run in both.runs] == [
        "image-retraining-lr0.1-bs-10",
        "image-retraining-lr0.1-bs-20",
        "image-retraining-bs-10-seed-7-patience-2",
        "image-retraining-bs-20-seed-7-patience-2",
    ]


def test_a_runs_backbone_takes_the_place_of_the_one_of_all(listed):
    runs = listed('{"tfhub_module": "hub"}', '{"architecture": "mobilenet_1.0_224"}')
    first, second = plan(runs=runs, architecture="mobilenet_0.25_128").runs
    assert first.config.tfhub_module == "hub"
    assert first.value("architecture") == ""
    assert second.config.architecture == "mobilenet_1.0_224"
    assert first.backbone_key != second.backbone_key


def test_every_flag_may_vary_or_is_refused_with_its_reason():
    for flag in set(FIELDS) - set(VARY):
        reason = refusal(f"{flag}=1,2")
        assert f"--{flag} may not vary: " in reason
        images = "accuracies on other validation images cannot be compared" in reason
        assert images == (flag in OTHER_IMAGES)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ((), "nothing varies; give --grid learning_rate=0.01,0.1 or --runs FILE"),
        (
            ("learning_rat=1,2",),
            "no flag 'learning_rat' (did you mean 'learning_rate'?)",
        ),
        (("learning_rate",), "give different values, like --grid learning_rate=1,2,3"),
        (("learning_rate=0.1,fast",), "fast: takes a number"),
        (("learning_rate=0.1,-1",), "-1: must be above 0"),
        (("learning_rate=0.1,0.10",), "0.10 is given twice"),
        (("seed=1", "seed=2"), "seed already has a --grid"),
        (("architecture=mobilenet_1.0_225",), "did you mean 'mobilenet_1.0_224'?"),
        (("testing_percentage=10,20",), "run a sweep for each value"),
        (
            tuple(
                f"{flag}={','.join(map(str, range(1, 51)))}"
                for flag in ("seed", "patience", "train_batch_size")
            ),
            "125,000 combinations are more than 100,000; give fewer values",
        ),
    ],
)
def test_a_grid_that_cannot_be_is_refused(grid, message):
    assert message in refusal(*grid)


def test_fine_tuning_in_a_sweep_is_refused():
    message = "a sweep trains heads only; leave --fine_tune_steps out"
    flags = {"architecture": "mobilenet_0.25_128", "fine_tune_steps": 5}
    assert message in refusal("learning_rate=0.1,1", **flags)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{"], "line 1 is not JSON: "),
        (['{"seed": 1}', "[1]"], "line 2 is not an object of flags and values, like"),
        ([""], "it has no combinations"),
        (['{"sed": 1}'], "line 1: sed=1: no flag 'sed' (did you mean 'seed'?)"),
        (['{"seed": -1}'], "line 1: seed=-1: must be at least 0"),
        (['{"image_dir": "x"}'], "line 1: image_dir=x: --image_dir may not vary"),
        (['{"seed": 1}', '{"seed": 1.0}'], "line 2 is the same as line 1"),
        (['{"seed": 0}', "{}"], "line 2 is the same as line 1"),
    ],
)
def test_a_list_that_cannot_be_is_refused(listed, lines, message):
    found = refusal(runs=listed(*lines))
    assert message in found
    assert found.startswith("the sweep cannot start: ")


def test_networks_may_not_vary_if_the_split_depends_on_them():
    networks = "architecture=mobilenet_0.25_128,scattering_128"
    found = refusal(networks, group_near_duplicates=True)
    assert "--group_near_duplicates the split depends on the network" in found
    assert plan("seed=1,2", group_near_duplicates=True).base.group_near_duplicates


def test_all_mistakes_are_reported_together(listed):
    runs = listed('{"seed": "x"}', '{"patience": -2}')
    found = refusal(
        "learning_rat=1",
        "learning_rate=fast,-1",
        "split_seed=1,2",
        "split=auto,hash",
        runs=runs,
        train_batch_size=0,
        image_dir="",
    )
    assert found.startswith("the sweep cannot start: 8 problems")
    for part in (
        "--train_batch_size=0: must be at least 1",
        "--image_dir=: may not be empty",
        "no flag 'learning_rat'",
        "fast: takes a number",
        "-1: must be above 0",
        "--split_seed may not vary",
        "--split may not vary",
        "line 1: seed=x: takes a whole number",
        "line 2: patience=-2: must be at least 0",
    ):
        assert part in found


def test_what_is_given_for_all_may_not_have_a_grid_too(listed):
    assert "--learning_rate is given, too; leave one out" in refusal(
        "learning_rate=0.1,0.2", learning_rate=0.3
    )
    both = refusal("seed=1,2", runs=listed('{"seed": 3}'))
    assert "line 1: seed=3: has a --grid, too; leave one out" in both


def test_combinations_that_contradict_themselves_are_reported_once():
    found = refusal("tfhub_module=a,b", "architecture=inception_v3", "seed=1,2")
    assert "--tfhub_module='a' and --architecture='inception_v3' are both" in found
    assert found.count("--tfhub_module='a'") == 1


def test_a_list_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(StorageError, match="runs.jsonl"):
        plan(runs=str(tmp_path / "runs.jsonl"))


def test_one_axis_is_parsed_alike_for_kubernetes():
    assert parse_axis("--learning-rate=1.0, 2") == ("learning_rate", ("1.0", "2"))
