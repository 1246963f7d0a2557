"""The environment of scheduler and tasks, compared with what the package makes."""

import json
from pathlib import Path

import pytest

from poets.dcos.environment import as_text, scheduler_environment, task_environment
from poets.dcos.options import flatten, read_options
from poets.dcos.tasks import cluster_of, tasks_of

DEMO = Path(__file__).parents[2] / "demo" / "poets.json"


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1"), (0.5, "0.5"), (4096, "4096"), (True, "true"), (False, "false")],
)
def test_values_are_written_as_the_package_writes_them(value, text):
    assert as_text(value) == text


def test_defaults_make_the_packages_default_environment():
    environment = scheduler_environment(flatten({}))
    assert environment["PACKAGE_NAME"] == "beta-tensorflow"
    assert environment["WORKER_COUNT"] == "3"
    assert environment["WORKER_CPUS"] == "1"
    assert environment["PS_PLACEMENT"] == "[]"
    assert environment["PS_PORT"] == "2223"
    assert environment["GPU_WORKER_GPUS"] == "1"
    assert environment["TENSORBOARD_PORT"] == "6006"
    assert environment["JOB_CONTEXT"] == "{}"
    absent = ("HDFS_ENABLED", "USE_TENSORBOARD", "ENABLE_VIRTUAL_NETWORK")
    assert not environment.keys() & set(absent)
    assert not [name for name in environment if "KERBEROS" in name]


def test_hdfs_and_kerberos_of_the_demo_reach_the_tasks():
    options = read_options(str(DEMO))
    scheduler = scheduler_environment(options)
    config_uri = "http://api.hdfs.marathon.l4lb.thisdcos.directory/v1/endpoints"
    assert scheduler["HDFS_ENABLED"] == "true"
    assert scheduler["HDFS_CORE_SITE_URI"] == f"{config_uri}/core-site.xml"
    assert scheduler["TASKCFG_ALL_SECURITY_KERBEROS_KDC_PORT"] == "2500"
    assert "SECURITY_KERBEROS_REALM" not in scheduler
    (task,) = tasks_of(options)
    environment = task_environment(options, task, {"worker": ["h:1"]}, "/sandbox")
    assert environment["SECURITY_KERBEROS_ENABLED"] == "true"
    assert environment["SECURITY_KERBEROS_PRIMARY"] == "tensorflow"
    assert environment["SECURITY_KERBEROS_REALM"] == "LOCAL"
    assert "SECURITY_KERBEROS_DEBUG" not in environment
    assert not [name for name in environment if name.startswith("TASKCFG_ALL_")]


def test_a_virtual_network_is_named_only_when_enabled():
    options = flatten({"service": {"virtual_network_enabled": True}})
    environment = scheduler_environment(options)
    assert environment["ENABLE_VIRTUAL_NETWORK"] == "yes"
    assert environment["VIRTUAL_NETWORK_NAME"] == "dcos"


def test_tensorboard_is_a_task_outside_the_cluster():
    options = flatten({"service": {"use_tensorboard": True}, "worker": {"count": 1}})
    tasks = tasks_of(options)
    assert [task.name for task in tasks][-1] == "tensorboard-0"
    addresses = {task: f"h:{port}" for port, task in enumerate(tasks)}
    assert cluster_of(addresses) == {"worker": ["h:0"], "ps": ["h:1", "h:2"]}
    environment = task_environment(options, tasks[-1], {}, "/s")
    assert environment["USE_TENSORBOARD"] == "true"
    assert environment["TASK_NAME"] == "tensorboard-0-node"


def test_each_task_knows_its_own_place():
    options = flatten(
        {
            "service": {"name": "flowers"},
            "worker": {"count": 2},
            "parameter_server": {"count": 1},
            "gpu_worker": {"count": 1, "gpus": 2},
        }
    )
    tasks = tasks_of(options)
    names = [task.name for task in tasks]
    assert names == ["gpuworker-0", "worker-0", "worker-1", "parameter-server-0"]
    cluster = cluster_of(dict(zip(tasks, ["h:1", "h:2", "h:3", "h:4"], strict=True)))
    assert cluster == {"gpu_worker": ["h:1"], "worker": ["h:2", "h:3"], "ps": ["h:4"]}
    made = {
        task.name: task_environment(options, task, cluster, f"/run/{task.name}")
        for task in tasks
    }
    second = made["worker-1"]
    assert second["TASK_NAME"] == "worker-1-node"
    assert second["POD_INSTANCE_INDEX"] == "1"
    assert second["FRAMEWORK_NAME"] == "flowers"
    assert second["MESOS_SANDBOX"] == "/run/worker-1"
    assert json.loads(second["POETS_CLUSTER"]) == {
        "cluster": cluster,
        "job_name": "worker",
        "task_index": 1,
        "gpus": 0,
    }
    assert json.loads(made["gpuworker-0"]["POETS_CLUSTER"])["gpus"] == 2
    assert json.loads(made["parameter-server-0"]["POETS_CLUSTER"])["job_name"] == "ps"


def test_the_context_arrives_as_the_very_same_text():
    context = '{\r\n"a": "it\'s \\"é\\" {{shared_filesystem}}"}'
    options = flatten({"service": {"job_context": context}, "worker": {"count": 1}})
    environment = task_environment(options, tasks_of(options)[0], {}, "/s")
    assert environment["JOB_CONTEXT"] == context
