"""Options files: reading, defaults, and changes for one run."""

import json

import pytest

from poets.dcos.options import flatten, parse_context, read_options
from poets.errors import ConfigError


@pytest.fixture
def options_file(tmp_path):
    def write(document):
        path = tmp_path / "options.json"
        text = document if isinstance(document, str) else json.dumps(document)
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_what_is_not_given_has_the_packages_default(options_file):
    options = read_options(options_file({"worker": {"count": 1}}))
    assert options["worker.count"] == 1
    assert options["worker.cpus"] == 1.0
    assert options["parameter_server.count"] == 2
    assert options["service.job_context"] == "{}"
    assert options["service.security.kerberos.realm"] is None


def test_bad_json_is_shown_with_its_place(options_file):
    path = options_file('{"service": {\n  "job_name": poets\n}}')
    with pytest.raises(
        ConfigError,
        match=r"options\.json' is not JSON: expecting value at line 2, column 15, near",
    ):
        read_options(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "holds a list; give a JSON object"),
        ('{"worker": {}, "worker": {"count": 1}}', "'worker' is given twice"),
        ("", "expecting value at line 1, column 1"),
    ],
)
def test_what_is_no_options_file_is_refused(options_file, content, message):
    with pytest.raises(ConfigError, match=message):
        read_options(options_file(content))


def test_a_missing_file_is_one_clear_line(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*gone\.json.*No such file"):
        read_options(str(tmp_path / "gone.json"))


def test_bytes_that_are_no_text_are_named(tmp_path):
    (tmp_path / "o.json").write_bytes(b'{"service": {"name": "\xff"}}')
    with pytest.raises(ConfigError, match="byte 22 is not UTF-8"):
        read_options(str(tmp_path / "o.json"))


@pytest.mark.parametrize(
    ("setting", "path", "value"),
    [
        ("worker.count=2", "worker.count", 2),
        ("worker.cpus=0.5", "worker.cpus", 0.5),
        ("worker.count=two", "worker.count", "two"),
        ("service.use_tensorboard=true", "service.use_tensorboard", True),
        ("service.name=true", "service.name", "true"),
        ('service.name="a b"', "service.name", "a b"),
        ("service.region=", "service.region", ""),
        ('service.job_context={"a": 1}', "service.job_context", '{"a": 1}'),
        ("service.job_url=http://h/a.zip?x=y", "service.job_url", "http://h/a.zip?x=y"),
    ],
)
def test_a_setting_replaces_an_option_in_its_own_type(
    options_file, setting, path, value
):
    options = read_options(options_file({"service": {"name": "n"}}), [setting])
    assert options[path] == value
    assert type(options[path]) is type(value)


def test_all_wrong_settings_are_reported_together(options_file):
    with pytest.raises(ConfigError) as caught:
        read_options(
            options_file({}),
            ["worker.cpu=4", "service.jobname=x", "name=y", "worker.count"],
        )
    message = str(caught.value)
    assert "4 problems" in message
    assert "unknown option 'worker.cpu' (did you mean 'cpus'?)" in message
    assert "unknown option 'service.jobname' (did you mean 'job_name'?)" in message
    assert "unknown option 'name' (did you mean 'service.name'?)" in message
    assert "'worker.count' has no value" in message


CONTEXT = json.dumps({"args": {"--image_dir": "/old", "flip_left_right": True}, "k": 1})


@pytest.mark.parametrize(
    ("setting", "args"),
    [
        ("image_dir=/new", {"flip_left_right": True, "--image_dir": "/new"}),
        ("--image_dir=/new", {"flip_left_right": True, "--image_dir": "/new"}),
        ("image_dir=/a=b", {"flip_left_right": True, "--image_dir": "/a=b"}),
        (
            "flip_left_right=false",
            {"--image_dir": "/old", "--flip_left_right": False},
        ),
        (
            "learning_rate=0.1",
            {"--image_dir": "/old", "flip_left_right": True, "--learning_rate": 0.1},
        ),
    ],
)
def test_an_arg_replaces_one_flag_inside_the_context(options_file, setting, args):
    path = options_file({"service": {"job_context": CONTEXT}})
    options = read_options(path, args=[setting])
    assert json.loads(options["service.job_context"]) == {"args": args, "k": 1}


@pytest.mark.parametrize("context", ["", "{}", "null", '{"args": null}'])
def test_an_arg_makes_the_args_that_are_not_there(options_file, context):
    path = options_file({"service": {"job_context": context}})
    options = read_options(path, args=["image_dir=/x"])
    found = json.loads(options["service.job_context"])
    assert found == {"args": {"--image_dir": "/x"}}


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ("{x", "cannot set 'a=1': service.job_context is not JSON: .* column 2"),
        ('{"args": [1]}', "has a list for 'args'"),
        ({"args": {}}, "takes text that holds JSON, found an object"),
    ],
)
def test_an_arg_without_a_place_is_refused(options_file, context, message):
    path = options_file({"service": {"job_context": context}})
    with pytest.raises(ConfigError, match=message):
        read_options(path, args=["a=1"])


@pytest.mark.parametrize("text", ["[]", "3", '"{}"', "true"])
def test_a_context_that_is_no_object_is_refused(text):
    with pytest.raises(ConfigError, match="give a JSON object"):
        parse_context(text)


def test_unknown_and_misplaced_options_are_kept_apart():
    options = flatten({"worker": {"cpu": 4}, "gpu_worker": 1, "extra": {"a": 1}})
    assert options.unknown == ["worker.cpu", "extra"]
    assert options.misshapen == {
        "gpu_worker": "takes an object with options in it, found a number"
    }
    assert options.given == {}
