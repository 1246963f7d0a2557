"""One table of flags, read from the context and from the command line alike."""

import argparse
import dataclasses
import math

import pytest

from poets.backbones import FAMILIES
from poets.backbones.keras_table import NETWORKS
from poets.config import RetrainConfig
from poets.errors import ConfigError
from poets.flags import FIELDS, add_flags, config_from_args, flags_of, names_of

ORIGINAL = {  # of both generations of retrain.py
    "image_dir": "",
    "architecture": "inception_v3",
    "output_graph": "/tmp/output_graph.pb",
    "output_labels": "/tmp/output_labels.txt",
    "summaries_dir": "/tmp/retrain_logs",
    "model_dir": "/tmp/imagenet",
    "bottleneck_dir": "/tmp/bottleneck",
    "how_many_training_steps": 4000,
    "learning_rate": 0.01,
    "eval_step_interval": 10,
    "testing_percentage": 10,
    "validation_percentage": 10,
    "train_batch_size": 100,
    "validation_batch_size": 100,
    "test_batch_size": -1,
    "print_misclassified_test_images": False,
    "flip_left_right": False,
    "random_crop": 0,
    "random_scale": 0,
    "random_brightness": 0,
    "final_tensor_name": "final_result",
    "intermediate_output_graphs_dir": "/tmp/intermediate_graph/",
    "intermediate_store_frequency": 0,
    "saved_model_dir": "/tmp/saved_models/1/",
    "tfhub_module": "",
    "checkpoint_path": "/tmp/_retrain_checkpoint",
    "logging_verbosity": "INFO",
}
OURS = {
    "labels_csv": "",
    "onnx": False,
    "output_dir": "",
    "hadoop_conf": "",
    "kerberos_principal": "",
    "kerberos_keytab": "",
    "augmentations": 4,
    "seed": 0,
    "split": "auto",
    "split_seed": 0,
    "group_near_duplicates": False,
    "class_weights": "none",
    "head": "sgd",
    "fine_tune_steps": 0,
    "fine_tune_layers": 3,
    "fine_tune_learning_rate": 0.0003,
    "fine_tune_batch_size": 100,
    "patience": 0,
    "calibrate": True,
    "wanted_accuracy": 0.95,
    "engine": "auto",
    "processes": 0,
    "chief_timeout_s": 600,
    "verify_bottlenecks": False,
    "report": True,
    "input_size_px": 0,
}


def config(**flags: object) -> RetrainConfig:
    return config_from_args({"image_dir": "flowers", **flags})


def refusal(args: dict[str, object]) -> str:
    """Returns what the user reads."""
    with pytest.raises(ConfigError) as caught:
        config_from_args(args)
    return str(caught.value)


def parse(*words: str) -> RetrainConfig:
    """Returns the config of a command line."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_flags(parser)
    return config_from_args(*flags_of(parser.parse_args(words)))


def test_every_flag_of_the_original_is_there_with_its_default():
    defaults = dataclasses.asdict(RetrainConfig())
    model_url = defaults.pop("model_url")
    assert defaults == ORIGINAL | OURS
    assert model_url.startswith("https://")


def test_flags_of_the_storage_travel_by_the_environment():
    assert config().environment == {}
    given = config(hadoop_conf="/conf", kerberos_principal="alice@LOCAL")
    assert given.environment == {
        "POETS_HADOOP_CONF": "/conf",
        "POETS_KERBEROS_PRINCIPAL": "alice@LOCAL",
    }


def test_every_flag_has_its_type_its_group_and_one_sentence():
    for field in FIELDS.values():
        assert type(field.default) is field.type
        assert field.metadata["group"]
        assert field.metadata["help"]
        assert not field.metadata["help"].endswith(".")


def test_every_default_is_in_its_own_range():
    given = {name: value for name, value in (ORIGINAL | OURS).items() if value != ""}
    assert config(**given) == RetrainConfig(image_dir="flowers")


def test_all_architectures_of_the_original_and_ours_are_known():
    names = [name for family in FAMILIES.values() for name in family.names]
    assert len(names) == len(set(names)) == 1 + 4 * 4 * 2 + 4 + 1 + len(NETWORKS)
    for name in ("inception_v3", "mobilenet_0.50_160_quantized", "scattering_96"):
        assert config(architecture=name).backbone_name == name


@pytest.mark.parametrize(
    "flag", ["learning_rate", "--learning_rate", "-learning_rate", "--learning-rate"]
)
@pytest.mark.parametrize("value", [0.5, "0.5", " 0.5 ", "5e-1", [0.5], ("0.5",)])
def test_flags_and_numbers_in_all_their_spellings(flag, value):
    assert config(**{flag: value}).learning_rate == 0.5


@pytest.mark.parametrize("value", [20, 20.0, "20", ["20"]])
def test_whole_numbers_in_all_their_spellings(value):
    steps = config(how_many_training_steps=value).how_many_training_steps
    assert (steps, type(steps)) == (20, int)


@pytest.mark.parametrize("value", [2**61 + 1, str(2**61 + 1)])
def test_a_large_whole_number_keeps_its_digits(value):
    assert config(seed=value).seed == 2**61 + 1


@pytest.mark.parametrize(
    ("value", "meant"),
    [(True, True), (False, False), ("true", True), ("False", False), ([True], True)],
)
def test_true_and_false_switch_a_flag(value, meant):
    assert config(**{"--flip_left_right": value}).flip_left_right is meant


@pytest.mark.parametrize("flag", [name for name in FIELDS if name != "image_dir"])
def test_null_leaves_the_default(flag):
    assert getattr(config(**{flag: None}), flag) == FIELDS[flag].default


def test_names_are_read_in_any_case_and_kept_in_ours():
    made = config(architecture="MobileNet_0.25_128", logging_verbosity="warn")
    assert made.architecture == "mobilenet_0.25_128"
    assert made.logging_verbosity == "WARN"


def test_all_that_is_wrong_is_reported_together():
    text = refusal(
        {
            "--how_many_trainig_steps": 500,
            "--learning_rate": "fast",
            "architecture": "mobilnet_0.25_128",
            "zzz": 1,
            "flip_left_right": "yes",
        }
    )
    assert text.splitlines() == [
        "wrong flags: 6 problems",
        "  - unknown flag '--how_many_trainig_steps' (did you mean "
        "'how_many_training_steps'?)",
        "  - --learning_rate=fast: takes a number",
        "  - --architecture=mobilnet_0.25_128: no such name (did you mean "
        "'mobilenet_0.25_128'?); known: inception_v3, "
        "mobilenet_{1.0,0.75,0.50,0.25}_{224,192,160,128}[_quantized], "
        f"efficientnet_lite0, {FAMILIES['keras'].shown}, "
        "scattering_{96,128,160,224}",
        "  - unknown flag 'zzz'",
        "  - --flip_left_right=yes: takes true or false, on or off",
        "  - --image_dir is required: folder with one folder of images per label",
    ]


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({"learning_rate": 0}, "--learning_rate=0: must be above 0"),
        ({"learning_rate": -0.1}, "--learning_rate=-0.1: must be above 0"),
        ({"learning_rate": math.nan}, "--learning_rate=nan: takes a number"),
        ({"learning_rate": "NaN"}, "--learning_rate=NaN: takes a number"),
        ({"learning_rate": math.inf}, "--learning_rate=inf: takes a number"),
        ({"learning_rate": "1e999"}, "--learning_rate=1e999: takes a number"),
        ({"learning_rate": True}, "--learning_rate=True: takes a number, found true"),
        ({"learning_rate": ""}, "--learning_rate=: takes a number"),
        (
            {"how_many_training_steps": 0},
            "--how_many_training_steps=0: must be at least 1",
        ),
        ({"train_batch_size": -1}, "--train_batch_size=-1: must be at least 1"),
        (
            {"test_batch_size": 0},
            "--test_batch_size=0: must be at least 1 (or -1 for all)",
        ),
        (
            {"validation_batch_size": -2},
            "--validation_batch_size=-2: must be at least 1 (or -1 for all)",
        ),
        ({"train_batch_size": 1.5}, "--train_batch_size=1.5: takes a whole number"),
        ({"train_batch_size": "1.5"}, "--train_batch_size=1.5: takes a whole number"),
        ({"train_batch_size": "ten"}, "--train_batch_size=ten: takes a whole number"),
        ({"testing_percentage": 0}, "--testing_percentage=0: must be at least 1"),
        ({"testing_percentage": 99}, "--testing_percentage=99: must be at most 98"),
        ({"random_brightness": 100}, "--random_brightness=100: must be at most 99"),
        (
            {"testing_percentage": 60, "validation_percentage": 40},
            "--testing_percentage and --validation_percentage add up to 100, which "
            "leaves nothing to train on",
        ),
        (
            {"output_graph": "out/a", "output_labels": "out/a"},
            "--output_graph and --output_labels are both 'out/a'",
        ),
        (
            {"tfhub_module": "m", "architecture": "inception_v3"},
            "--tfhub_module='m' and --architecture='inception_v3' are both given: "
            "leave one out",
        ),
        ({"final_tensor_name": ""}, "--final_tensor_name=: may not be empty"),
        ({"bottleneck_dir": "  "}, "--bottleneck_dir=  : may not be empty"),
        ({"image_dir": ""}, "--image_dir=: may not be empty"),
        ({"image_dir": False}, "--image_dir=False: takes text, found false"),
        (
            {"learning_rate": [0.1, 0.2]},
            "--learning_rate=[0.1, 0.2]: takes one value, found a list of 2",
        ),
        ({"seed": []}, "--seed=[]: takes one value, found a list of 0"),
        ({"seed": [[1]]}, "--seed=[[1]]: takes one value, found a list"),
        ({"seed": [None]}, "--seed=[None]: takes one value, found null"),
        ({"seed": {"a": 1}}, "--seed={'a': 1}: takes one value, found an object"),
        (
            {"learning_rate": 0.1, "--learning-rate": 1},
            "--learning_rate is given twice",
        ),
        (
            {"engine": "lite"},
            "--engine=lite: no such name (did you mean 'litert'?); known: auto, "
            "litert, tensorflow",
        ),
        ({"": 1}, "unknown flag ''"),
        (
            {"bottleneck_dir": "s3:/bucket/b"},
            "--bottleneck_dir=s3:/bucket/b: found no '//' after 's3:'; write "
            "s3://bucket/b (./s3:/bucket/b is a local path)",
        ),
        (
            {"hadoop_conf": "http:/user:secret@h/conf"},
            "--hadoop_conf=http:***@h/conf: found no '//' after 'http:'; write "
            "http://h/conf (./http:***@h/conf is a local path)",
        ),
    ],
    ids=str,
)
def test_a_wrong_value_is_named(flags, text):
    assert refusal({"image_dir": "x", **flags}) == f"wrong flags: {text}"


@pytest.mark.parametrize("value", [10**400, "9" * 400, "9" * 5000])
@pytest.mark.parametrize("flag", ["learning_rate", "seed"])
def test_a_number_too_large_for_a_computer_is_refused(flag, value):
    text = refusal({"image_dir": "x", flag: value})
    assert text.startswith(f"wrong flags: --{flag}=")
    assert len(text) < 200


def test_a_mistake_is_exit_code_2():
    with pytest.raises(ValueError, match="unknown flag") as caught:
        config_from_args({"x": 1})
    assert caught.value.exit_code == 2


def test_the_command_line_and_the_context_say_the_same():
    words = [
        "--image_dir=a b",
        "--learning_rate",
        "0.5",
        "--flip_left_right",
        "--test_batch_size",
        "-1",
        "--print_misclassified_test_images",
        "false",
    ]
    context = {
        "--image_dir": "a b",
        "--learning_rate": 0.5,
        "--flip_left_right": True,
        "--test_batch_size": -1,
        "--print_misclassified_test_images": False,
    }
    assert parse(*words) == config_from_args(context)


@pytest.mark.parametrize("flag", [name for name in FIELDS if name != "image_dir"])
def test_the_command_line_knows_every_flag(flag):
    field = FIELDS[flag]
    choices, _ = names_of(field)
    value = {bool: True, int: 7, float: 0.5, str: choices[-1] if choices else "x"}
    words = ["x", f"--{flag}={value[field.type]}"]
    assert getattr(parse(*words), flag) == value[field.type]


def test_help_shows_every_flag_and_default():
    parser = argparse.ArgumentParser()
    add_flags(parser)
    text = "".join(parser.format_help().split())  # lines are broken anywhere
    for name, field in FIELDS.items():
        assert f"--{name}" in text
        if field.default:
            default = "on" if field.default is True else repr(field.default)
            assert f"(default:{default})" in text


@pytest.mark.parametrize(
    "flags",
    [
        {"flip_left_right": True},
        {"random_crop": 1},
        {"random_scale": 1},
        {"random_brightness": 1},
    ],
    ids=str,
)
def test_each_distortion_distorts(flags):
    assert config(**flags).distorts
    assert not config(augmentations=9).distorts


def test_one_folder_is_enough_for_all_results(monkeypatch):
    monkeypatch.setenv("POETS_CACHE", "/cache")
    found = parse("flowers", "--output_dir=run", "--output_labels=l.txt")
    assert found.image_dir == "flowers"
    assert found.output_graph == "run/retrained_graph.pb"
    assert found.output_labels == "l.txt"
    assert found.summaries_dir == "run/training_summaries"
    assert (found.bottleneck_dir, found.model_dir) == (
        "/cache/bottlenecks",
        "/cache/models",
    )
    below = ("saved_model_dir", "checkpoint_path", "intermediate_output_graphs_dir")
    assert all(getattr(found, name).startswith("run/") for name in below)


def test_features_of_a_run_on_another_storage_are_kept_there(monkeypatch):
    monkeypatch.setenv("POETS_CACHE", "/cache")
    found = config(output_dir="s3://bucket/run")
    assert found.bottleneck_dir == "s3://bucket/run/bottlenecks"
    assert found.model_dir == "/cache/models"


@pytest.mark.parametrize(
    ("environment", "cache"),
    [
        ({"XDG_CACHE_HOME": "/xdg", "HOME": "/home/alice"}, "/xdg/poets"),
        ({"HOME": "/home/alice"}, "/home/alice/.cache/poets"),
    ],
)
def test_the_cache_is_where_the_xdg_specification_has_it(
    monkeypatch, environment, cache
):
    for name in ("POETS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert config(output_dir="run").model_dir == f"{cache}/models"


def test_without_output_dir_the_defaults_are_the_originals(monkeypatch):
    monkeypatch.setenv("POETS_CACHE", "/cache")
    assert config() == RetrainConfig(image_dir="flowers")
