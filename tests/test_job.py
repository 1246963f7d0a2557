"""The hook takes what DC/OS and its wrappers pass, and does its own task's part."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from poets.errors import ConfigError, PoetsError
from poets.job import config_from_context, main
from poets.system.runtime import tf
from tests import retraining
from tests.retraining import logged

pytest_plugins = ["tests.finished"]
ROOT = Path(__file__).parents[1]
ARGS = {"--image_dir": "flowers", "learning_rate": "0.5", "--flip_left_right": False}


@pytest.mark.parametrize(
    "context",
    [
        {"args": ARGS},
        json.dumps({"args": ARGS}),
        json.dumps({"args": ARGS}).encode(),
        json.dumps({"args": ARGS}, indent=2).replace("\n", "\r\n"),
        {"args": {**ARGS, "--seed": None}},
        {"args": {**ARGS, "learning_rate": [0.5]}, "other": 1},
    ],
    ids=["dict", "text", "bytes", "CR LF", "null value", "list"],
)
def test_a_context_in_any_form_gives_the_flags(context):
    config = config_from_context(context, None)
    assert (config.image_dir, config.learning_rate) == ("flowers", 0.5)
    assert config.flip_left_right is False


@pytest.mark.parametrize(
    "context",
    [
        None,
        {},
        "",
        " \r\n",
        b"",
        "{}",
        "null",
        {"args": None},
        {"args": {}},
        '{"args":null}',
    ],
)
def test_an_empty_context_asks_for_nothing_but_the_image_folder(context):
    with pytest.raises(ConfigError, match="^wrong flags: --image_dir is required: "):
        config_from_context(context, "/shared")


@pytest.mark.parametrize(
    "placeholder", ["{{shared_filesystem}}", "<<shared_filesystem>>"]
)
@pytest.mark.parametrize(
    ("log_dir", "expected"),
    [
        ("/mnt/shared", "/mnt/shared/out/g.pb"),
        ("/mnt/shared/", "/mnt/shared/out/g.pb"),
        ("file:///mnt/it's ünï", "file:///mnt/it's ünï/out/g.pb"),
        ("hdfs://default/tensorflow/run", "hdfs://default/tensorflow/run/out/g.pb"),
    ],
)
def test_both_placeholders_stand_for_log_dir(placeholder, log_dir, expected):
    args = {
        "image_dir": [f"{placeholder}/a"],
        "output_graph": f"{placeholder}/out/g.pb",
    }
    config = config_from_context({"args": args}, log_dir)
    assert config.output_graph == expected
    assert config.image_dir == log_dir.rstrip("/") + "/a"


@pytest.mark.parametrize("log_dir", [None, ""])
def test_a_placeholder_without_log_dir_says_what_to_set(log_dir):
    args = {"--image_dir": "<<shared_filesystem>>/flowers"}
    with pytest.raises(
        ConfigError,
        match="--image_dir='<<shared_filesystem>>/flowers' needs a shared file system, "
        "and log_dir is empty; set service.shared_filesystem",
    ):
        config_from_context({"args": args}, log_dir)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ("{'args': {}}", "job_context is not JSON: Expecting property name"),
        ('{"args": {"a": "it\'s"', "job_context is not JSON: "),
        (b"\xff\xfe", "job_context is not JSON: "),
        ([], "job_context is a list; give an object"),
        ('"text"', "job_context is text; give an object"),
        (7, "job_context is a number; give an object"),
        (True, "job_context is true or false; give an object"),
        ({"args": ["--image_dir=x"]}, "args is a list; give an object of flags"),
        ({"args": "--image_dir=x"}, "args is text; give an object of flags"),
        ({"args": True}, "args is true or false; give an object of flags"),
    ],
)
def test_a_context_of_another_shape_is_refused(context, message):
    with pytest.raises(ConfigError, match=message):
        config_from_context(context, "/shared")


def test_all_wrong_flags_are_named_at_once_with_the_nearest_names():
    args = {"--learning_rat": 1, "how_many_training_steps": "many", "--seed": -1}
    with pytest.raises(ConfigError) as caught:
        config_from_context({"args": args}, None)
    message = str(caught.value)
    assert "4 problems" in message
    assert "unknown flag '--learning_rat' (did you mean 'learning_rate'?)" in message
    assert "--how_many_training_steps=many: takes a whole number" in message
    assert "--seed=-1: must be at least 0" in message
    assert "--image_dir is required" in message


def context_for(finished, folder):
    flags = retraining.flags_for(folder, finished.image_dir)
    flags["bottleneck_dir"] = str(finished.folder / "bottlenecks")
    flags["how_many_training_steps"] = "5"
    flags = {f"--{name}": value for name, value in flags.items()}
    for name in ("--output_graph", "--output_labels"):
        flags[name] = flags[name].replace(str(folder), "<<shared_filesystem>>")
    return json.dumps({"args": flags})


@pytest.mark.parametrize("with_server", [False, True])
def test_main_runs_the_job_with_and_without_a_server(finished, tmp_path, with_server):
    server = tf.distribute.Server.create_local_server() if with_server else None
    with retraining.without_exports(), logged() as lines:
        main(server, str(tmp_path), context_for(finished, tmp_path))
    assert lines[-1] == "Done"
    assert (tmp_path / "metrics.json").is_file()
    labels = (tmp_path / "retrained_labels.txt").read_text()
    assert labels == "daisy\nred roses\ntulips\n"


def cluster_server(job, index):
    ports = []
    for _ in range(3):
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            ports.append(f"127.0.0.1:{bound.getsockname()[1]}")
    spec = tf.train.ClusterSpec({"ps": ports[:1], "worker": ports[1:]})
    return tf.distribute.Server(spec, job_name=job, task_index=index, start=False)


def test_a_worker_without_a_chief_says_for_whom_it_waited(tmp_path):
    args = {
        "image_dir": str(tmp_path / "absent"),
        "bottleneck_dir": str(tmp_path / "store"),
        "chief_timeout_s": 1,
    }
    with pytest.raises(PoetsError, match=r"the chief was not heard from for 1 s in '"):
        main(cluster_server("worker", 1), str(tmp_path), {"args": args})


def test_several_workers_without_a_shared_file_system_are_refused(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("MESOS_SANDBOX", str(tmp_path))
    volume = tmp_path / "tf-volume"
    context = {
        "args": {
            "image_dir": "hdfs://default/images",
            "bottleneck_dir": "<<shared_filesystem>>/store",
        }
    }
    for index in (0, 1):
        with pytest.raises(ConfigError) as caught:
            main(cluster_server("worker", index), str(volume), context)
        assert str(caught.value) == (
            "2 workers need folders that all of them share: "
            f"--bottleneck_dir='{volume}/store' is in the sandbox, which is private to "
            "each task; set service.shared_filesystem, for example to "
            "hdfs://default/job, or use folders on a shared storage, or one worker"
        )
    assert not volume.exists()


def test_the_chief_of_a_cluster_does_the_work(finished, tmp_path):
    server = cluster_server("worker", 0)
    with retraining.without_exports():
        main(server, str(tmp_path), context_for(finished, tmp_path))
    assert (tmp_path / "metrics.json").is_file()


PS = """
import socket
from poets.system.runtime import tf
from poets.job import main
with socket.socket() as bound:
    bound.bind(("127.0.0.1", 0))
    port = bound.getsockname()[1]
tasks = {"ps": [f"127.0.0.1:{port}"], "worker": ["127.0.0.1:1"]}
main(tf.distribute.Server(tasks, job_name="ps", task_index=0), None, "not even JSON")
"""


def test_a_parameter_server_serves_until_it_is_stopped(nursery, tmp_path, wait_until):
    with open(tmp_path / "log", "wb") as log:
        task = nursery.start(PS, os.environ, log)
    line = "ps:0: serving until the job is stopped\n"

    def says_so():
        assert task.poll() is None, task.log.read_text()
        return line in task.log.read_text()

    try:
        wait_until(says_so)
        with pytest.raises(subprocess.TimeoutExpired):
            task.wait(0.2)
    finally:
        task.kill()
        task.wait()


def test_the_log_has_the_packages_form_where_the_host_set_up_none(tmp_path):
    """`[time|logger|level]: text`, on stderr; errors carry the user's sentence."""
    args = {"image_dir": str(tmp_path), "output_dir": str(tmp_path / "out")}
    code = f"from poets.job import main; main(None, None, {{'args': {args}}})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "POETS_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "poets.errors.DatasetError: No valid folders of images" in done.stderr
    assert "tensorflow" not in done.stderr
