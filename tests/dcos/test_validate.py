"""What `poets dcos validate` finds, as the user reads it."""

import json
from pathlib import Path

import pytest

from poets.dcos.options import flatten, read_options
from poets.dcos.validate import VARIABLE_BYTES, find_problems
from poets.job import config_from_context

DEMO = Path(__file__).parents[2] / "demo" / "poets.json"

GOOD = {
    "service": {
        "job_url": "https://example.com/job.zip",
        "job_path": "job",
        "job_name": "train",
    }
}


def problems(changes, check_context=None):
    """Returns the problems of good options with some paths changed."""
    options = flatten(json.loads(json.dumps(GOOD)))
    changed = flatten(changes)
    options.given.update(changed.given)
    options.unknown.extend(changed.unknown)
    options.misshapen.update(changed.misshapen)
    return [str(problem) for problem in find_problems(options, check_context)]


def test_good_options_have_no_problem():
    assert problems({}) == []


def test_the_demo_is_good_and_its_flags_are_right():
    assert find_problems(read_options(str(DEMO)), config_from_context) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"worker": {"cpu": 4.0}},
            "warning: worker.cpu: unknown option, the package ignores it "
            "(did you mean 'cpus'?)",
        ),
        (
            {"service": {"hdfs": {"config-url": "x"}}},
            "warning: service.hdfs.config-url: unknown option, the package ignores it "
            "(did you mean 'config_uri'?)",
        ),
        (
            {"job_url": "x"},
            "warning: job_url: unknown option, the package ignores it "
            "(did you mean 'service.job_url'?)",
        ),
        ({"worker": {"count": "1"}}, "error: worker.count: takes a whole number, "),
        ({"worker": {"count": True}}, "error: worker.count: takes a whole number, "),
        ({"worker": {"count": 1.5}}, "found a number 1.5"),
        ({"worker": {"cpus": "4"}}, "takes a number, found text '4'"),
        ({"worker": {"count": -1}}, "error: worker.count: is -1; give 0 or more"),
        ({"worker": {"port": 70000}}, "a port is at most 65535"),
        ({"worker": 3}, "error: worker: takes an object with options in it, found a "),
        ({"service": {"use_tensorboard": "true"}}, "takes true or false, found text"),
        ({"service": {"name": None}}, "service.name: takes text, found null"),
        ({"service": {"name": "a\0b"}}, "holds a NUL character"),
        (
            {"service": {"log_level": "info"}},
            "'info' is none of OFF, FATAL, ERROR, WARN, INFO, DEBUG, TRACE, ALL "
            "(did you mean 'INFO'?)",
        ),
        ({"service": {"job_name": "poets.py"}}, "give the module's name, 'poets'"),
        ({"service": {"job_name": ""}}, "'' is not a module name"),
        ({"service": {"job_path": "../other"}}, "'../other' leaves the sandbox"),
        ({"service": {"job_path": "/abs"}}, "'/abs' leaves the sandbox"),
        ({"service": {"job_url": ""}}, "starts the package's own examples"),
        ({"service": {"job_url": "http://h/job.rar"}}, "the name 'job.rar' has no k"),
        ({"service": {"job_url": "http://h/a.zip?sig=1"}}, "ends in a query"),
        (
            {"service": {"job_url": "dist/a.zip"}},
            "warning: service.job_url: is a local",
        ),
        (
            {"service": {"job_context": {"args": {}}}},
            "error: service.job_context: takes text that holds JSON, found an object",
        ),
        (
            {"service": {"job_context": '{"args": {\n "--a": x}}'}},
            "service.job_context: is not JSON: expecting value at line 2, column 9, "
            "near",
        ),
        ({"service": {"job_context": "[]"}}, "holds a list; give a JSON object"),
        (
            {"service": {"job_context": json.dumps({"a": "x" * VARIABLE_BYTES})}},
            "Linux takes 131,071",
        ),
        ({"worker": {"mem": 512}}, "error: worker.mem: is 512 MB; TensorFlow and its "),
        ({"worker": {"mem": 800}}, "warning: worker.mem: is 800 MB, of which "),
        ({"worker": {"cpus": 0}}, "error: worker.cpus: is 0; give 1 or more"),
        ({"worker": {"disk": 0}}, "error: worker.disk: is 0 MB"),
        ({"worker": {"count": 0}}, "nothing would run"),
        (
            {"gpu_worker": {"count": 1, "gpus": 0}},
            "warning: gpu_worker.gpus: is 0; these tasks will see no GPU",
        ),
        (
            {"service": {"security": {"kerberos": {"enabled": True}}}},
            "error: service.security.kerberos.realm: is not given",
        ),
        (
            {
                "service": {
                    "security": {
                        "kerberos": {"keytab_secret": "a/__dcos_base64_hdfs_keytab"}
                    }
                }
            },
            "'__dcos_base64_hdfs_keytab' is not decoded",
        ),
        (
            {"service": {"shared_filesystem": "hdfs:///results"}},
            "warning: service.hdfs.config_uri: is not given",
        ),
        (
            {"service": {"hdfs": {"config_uri": "api.hdfs"}}},
            "'api.hdfs' is not an http URL",
        ),
        (
            {"service": {"hdfs": {"config_uri": "http:/api.hdfs/v1"}}},
            "error: service.hdfs.config_uri: is 'http:/api.hdfs/v1': found no '//' "
            "after 'http:'; write http://api.hdfs/v1 (",
        ),
        (
            {"service": {"shared_filesystem": "hdfs:/results"}},
            "error: service.shared_filesystem: is 'hdfs:/results': found no '//' after "
            "'hdfs:'; write hdfs:///results (",
        ),
        ({"service": {"job_url": "https:/h/a.zip"}}, "write https://h/a.zip ("),
    ],
)
def test_a_mistake_is_named_with_its_place_and_cure(changes, expected):
    found = problems(changes)
    assert any(expected in problem for problem in found), found


def test_an_apostrophe_gets_a_warning_with_the_spelling_that_arrives():
    context = json.dumps({"args": {"--image_dir": "/photos/it's"}})
    (problem,) = problems({"service": {"job_context": context}})
    assert problem.startswith("warning: service.job_context: has an apostrophe near")
    assert r"write it as \u0027 (in the options file \\u0027)" in problem
    cured = context.replace("'", r"\u0027")
    assert json.loads(cured) == json.loads(context)
    assert problems({"service": {"job_context": cured}}) == []


def test_all_problems_come_together_errors_first():
    found = problems(
        {
            "worker": {"cpu": 4, "count": "one", "mem": 100},
            "service": {"job_url": "", "job_context": "{"},
        }
    )
    severities = [problem.partition(":")[0] for problem in found]
    assert severities == ["error"] * 3 + ["warning"]
    assert {problem.split(": ")[1] for problem in found} == {
        "worker.count",
        "service.job_url",
        "service.job_context",
        "worker.cpu",
    }


def test_flags_that_the_job_refuses_are_all_named():
    context = {"args": {"--image_dri": "/x", "--learning_rate": "fast"}}
    (problem,) = problems(
        {"service": {"job_name": "poets", "job_context": json.dumps(context)}},
        config_from_context,
    )
    assert "unknown flag '--image_dri' (did you mean 'image_dir'?)" in problem
    assert "--learning_rate" in problem


def test_flags_of_another_job_are_not_ours_to_judge():
    context = json.dumps({"args": {"--batch": 1}})
    changes = {"service": {"job_context": context}}
    assert problems(changes, config_from_context) == []


WHOLE = {
    "service": {
        "job_name": "poets",
        "job_context": json.dumps(
            {
                "args": {
                    "--image_dir": "hdfs://default/flowers",
                    "--output_graph": "<<shared_filesystem>>/graph.pb",
                    "--bottleneck_dir": "<<shared_filesystem>>/bottlenecks",
                }
            }
        ),
    }
}


@pytest.mark.parametrize(("workers", "gpu_workers"), [(2, 0), (1, 1), (0, 3)])
def test_many_workers_need_what_all_of_them_share(workers, gpu_workers):
    counts = {"worker": {"count": workers}, "gpu_worker": {"count": gpu_workers}}
    errors = problems({**WHOLE, **counts}, config_from_context)
    assert (
        "error: service.shared_filesystem: is empty, so --bottleneck_dir would be in "
        f"the sandbox, which is private to each of {workers + gpu_workers} workers; "
        "set it, for example to hdfs://default/job, or use one worker"
    ) in errors
    service = {**WHOLE["service"], "shared_filesystem": "hdfs://default/job"}
    errors = problems({"service": service, **counts}, config_from_context)
    assert not [text for text in errors if text.startswith("error")]


def test_one_worker_needs_no_shared_filesystem():
    assert problems({**WHOLE, "worker": {"count": 1}}, config_from_context) == []
