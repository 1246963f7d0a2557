"""A task's place in the cluster of the server that DC/OS hands over."""

import json
from types import SimpleNamespace

import pytest
import tensorflow as tf

from poets.cluster import Cluster, cluster_of
from poets.errors import ConfigError


def server_of(job: str, index: int, **tasks: int) -> SimpleNamespace:
    """Returns the attributes of a server, without opening its ports."""
    spec = tf.train.ClusterSpec(
        {name: [f"host:{i}" for i in range(count)] for name, count in tasks.items()}
    )
    definition = tf.train.ServerDef(
        cluster=spec.as_cluster_def(), job_name=job, task_index=index
    )
    return SimpleNamespace(server_def=definition)


def test_without_a_server_the_process_is_alone_and_chief():
    cluster = cluster_of(None)
    assert cluster == Cluster("worker", 0, 0, 1)
    assert cluster.is_chief
    assert cluster.name == "worker:0"


def test_a_real_local_server_is_alone():
    server = tf.distribute.Server.create_local_server(start=False)
    assert cluster_of(server).is_chief


def test_every_worker_has_its_own_number_and_one_is_chief():
    tasks = {"ps": 2, "worker": 3, "gpu_worker": 2}
    clusters = [
        cluster_of(server_of(job, index, **tasks))
        for job in ("worker", "gpu_worker")
        for index in range(tasks[job])
    ]
    assert [cluster.worker_index for cluster in clusters] == [0, 1, 2, 3, 4]
    assert {cluster.num_workers for cluster in clusters} == {5}
    assert [cluster.name for cluster in clusters if cluster.is_chief] == ["worker:0"]


def test_a_task_knows_by_which_name_others_reach_it():
    assert cluster_of(server_of("worker", 1, worker=2)).host == "host"
    tf_config = {
        "cluster": {"chief": ["job-chief-0.job:2222"], "worker": ["[fd00::7]:2222"]},
        "task": {"type": "worker", "index": 0},
    }
    environ = {"TF_CONFIG": json.dumps(tf_config)}
    assert cluster_of(None, environ).host == "[fd00::7]"
    assert cluster_of(None, {}).host == ""


@pytest.mark.parametrize("job", ["chief", "master"])
def test_a_chief_job_comes_before_the_workers(job):
    assert cluster_of(server_of(job, 0, **{job: 1, "worker": 2})).is_chief
    worker = cluster_of(server_of("worker", 0, **{job: 1, "worker": 2}))
    assert not worker.is_chief
    assert worker.worker_index == 1


def test_without_plain_workers_the_first_gpu_worker_is_chief():
    assert cluster_of(server_of("gpu_worker", 0, gpu_worker=2, ps=1)).is_chief
    assert not cluster_of(server_of("gpu_worker", 1, gpu_worker=2, ps=1)).is_chief


def test_a_parameter_server_is_no_worker():
    cluster = cluster_of(server_of("ps", 1, ps=2, worker=3))
    assert cluster.is_ps
    assert not cluster.is_chief
    assert (cluster.name, cluster.num_workers) == ("ps:1", 3)


def tf_config(job: str, index: object, **tasks: int) -> dict[str, str]:
    """Returns an environment as Kubernetes' training operator makes it."""
    cluster = {
        name: [f"host-{i}:2222" for i in range(count)] for name, count in tasks.items()
    }
    task = {"type": job, "index": index}
    value = {"cluster": cluster, "task": task, "environment": "cloud"}
    return {"TF_CONFIG": json.dumps(value)}


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({}, Cluster()),
        ({"TF_CONFIG": " "}, Cluster()),
        (tf_config("worker", 0), Cluster()),
        (tf_config("master", 0, master=1), Cluster("master", 0, 0, 1)),
        (tf_config("worker", 1, worker=3, chief=1), Cluster("worker", 1, 2, 4)),
        (tf_config("worker", "1", ps=2, worker=2), Cluster("worker", 1, 1, 2)),
        (tf_config("ps", 1, worker=2, ps=2), Cluster("ps", 1, -1, 2)),
        (tf_config("evaluator", 0, worker=2), Cluster("evaluator", 0, -1, 2)),
    ],
)
def test_kubernetes_names_the_task_by_tf_config(environ, place):
    assert cluster_of(None, environ) == place


def test_the_machines_of_the_workers_are_counted():
    environ = tf_config("worker", 0, chief=1, worker=3, ps=5)
    assert cluster_of(None, environ).num_hosts == 3
    cluster = {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}
    value = {"cluster": cluster, "task": {"type": "worker", "index": 1}}
    assert cluster_of(None, {"TF_CONFIG": json.dumps(value)}).num_hosts == 1


def test_server_and_tf_config_may_say_the_same():
    server = server_of("worker", 1, worker=2, ps=1)
    environ = tf_config("worker", 1, ps=1, worker=2)
    assert cluster_of(server, environ).worker_index == 1


def test_server_and_tf_config_may_not_contradict():
    with pytest.raises(ConfigError) as caught:
        cluster_of(server_of("worker", 1, worker=2), tf_config("worker", 0, worker=3))
    assert str(caught.value) == (
        "the server says that this task is worker:1 of 2 workers, and TF_CONFIG says "
        "worker:0 of 3; unset TF_CONFIG or make them agree"
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{", "TF_CONFIG is not JSON: .*; found '{'"),
        (
            "[]",
            """TF_CONFIG is not an object with "cluster" and "task"; found '\\[\\]'""",
        ),
        ('{"cluster": {}}', "TF_CONFIG is not an object with"),
        ('{"cluster": {}, "task": {"index": 0}}', "names no task: .* found {'index'"),
        (
            '{"cluster": {"worker": 2}, "task": {"type": "worker", "index": 0}}',
            "each job of its cluster is a list of addresses; found {'worker': 2}",
        ),
        (tf_config("worker", None, worker=1)["TF_CONFIG"], "number; found None"),
        (tf_config("worker", True, worker=1)["TF_CONFIG"], "number; found True"),
        (
            tf_config("worker", 0, worker=1, chief=1, master=1)["TF_CONFIG"],
            "a cluster has one chief or master; found worker: 1 tasks, chief: 1 tasks",
        ),
        (tf_config("ps", 0, ps=1)["TF_CONFIG"], "has a worker; found ps: 1 tasks"),
        (tf_config("cook", 0, cook=1)["TF_CONFIG"], "this task's job is 'cook'"),
    ],
)
def test_a_wrong_tf_config_is_reported(text, found):
    with pytest.raises(ConfigError, match=found):
        cluster_of(None, {"TF_CONFIG": text})


@pytest.mark.parametrize(
    ("server", "text"),
    [
        (
            server_of("worker", 5, worker=2, ps=1),
            "this task's server: this task is worker:5, which its own cluster does not "
            "have: found ps: 1 tasks, worker: 2 tasks; name a cluster that holds it",
        ),
        (
            server_of("worker", 0),
            "this task's server: this task is worker:0, which its own cluster does not "
            "have: found no tasks; name a cluster that holds it",
        ),
        (
            server_of("cook", 0, cook=1, worker=1),
            "this task's server: this task's job is 'cook'; known are ps, evaluator, "
            "chief, master, worker, gpu_worker",
        ),
    ],
)
def test_a_task_outside_its_cluster_is_reported(server, text):
    with pytest.raises(ConfigError) as caught:
        cluster_of(server)
    assert str(caught.value) == text
