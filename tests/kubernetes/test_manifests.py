"""One options file, two ways to run it: what Kubernetes gets."""

import json
from pathlib import Path

import pytest

from poets.cluster import cluster_of
from poets.dcos.context import left_out
from poets.dcos.options import flatten
from poets.errors import ConfigError
from poets.flags import config_from_args
from poets.job import config_from_context
from poets.kubernetes.manifests import WITHOUT_COUNTERPART, Target, manifests
from poets.kubernetes.volumes import output_volume
from tests.kubernetes.printed import flags_of, items_of, options_of, worker_of
from tests.kubernetes.schemas import (
    crd_schema,
    mismatches,
    module_file,
    pod_specs,
    refusals,
)

ROOT = Path(__file__).resolve().parents[2]
S3 = ["service.shared_filesystem=s3://bucket/run"]


def variables_of(item):
    return {
        v["name"]: v.get("value", v.get("valueFrom")) for v in worker_of(item)["env"]
    }


@pytest.mark.parametrize("kind", ["tfjob", "job"])
@pytest.mark.parametrize("count", [1, 2, 11])
@pytest.mark.parametrize(
    ("settings", "storage"),
    [
        ([], "none"),
        (S3, "none"),
        (["service.shared_filesystem="], "pvc:disk-retrain"),
        (["service.shared_filesystem=/results"], "hostpath:/srv/poets"),
        (["service.security.kerberos.enabled=false"], "none"),
    ],
    ids=["hdfs", "s3", "pvc", "hostpath", "no kerberos"],
)
def test_every_object_is_one_a_cluster_takes(kind, count, settings, storage):
    settings = [*settings, f"worker.count={count}", "service.use_tensorboard=true"]
    options = options_of(settings)
    printed = manifests(options, Target(kind, storage, namespace="ml"))
    assert refusals(printed) == []
    kinds = [item["kind"] for item in printed["items"]]
    assert (
        kinds
        == {
            "tfjob": ["TFJob", "Deployment", "Service"],
            "job": ["Service", "Job", "Deployment", "Service"],
        }[kind]
    )
    assert {item["metadata"]["namespace"] for item in printed["items"]} == {"ml"}


def test_the_operators_own_schema_takes_the_tfjob(require):
    crd = module_file(
        "github.com/kubeflow/training-operator",
        "manifests/base/crds/kubeflow.org_tfjobs.yaml",
    )
    require("tfjob-crd", crd)
    schema = crd_schema(crd, "v1")
    (job,) = items_of(options_of(["worker.count=3"]))
    assert mismatches(job, schema) == []
    job["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]["contaners"] = []
    assert any("contaners" in text for text in mismatches(job, schema))


def test_the_flags_are_those_the_dcos_task_runs_with():
    options = options_of()
    (job,) = items_of(options)
    context = json.loads(options["service.job_context"])
    there = config_from_context(context, options["service.shared_filesystem"])
    assert config_from_args(flags_of(job)) == there


def test_true_false_and_null_mean_what_they_mean_in_the_context():
    args = ["flip_left_right=true", "verify_bottlenecks=false", "seed=null"]
    (job,) = items_of(options_of(args=args))
    flags = flags_of(job)
    assert (flags["flip_left_right"], "seed" in flags) == ("True", False)
    assert config_from_args(flags).flip_left_right
    assert not config_from_args(flags).verify_bottlenecks


def test_resources_image_and_count_come_from_the_options():
    settings = ["worker.count=4", "worker.cpus=1.5", "worker.mem=2048"]
    (job,) = items_of(options_of([*settings, "worker.disk=100"]))
    container = worker_of(job)
    amounts = {"cpu": "1.5", "memory": "2048Mi", "ephemeral-storage": "100Mi"}
    assert container["resources"] == {"requests": amounts, "limits": amounts}
    assert container["image"] == "example.com/poets-tensorflow:2.21.0"
    assert job["spec"]["tfReplicaSpecs"]["Worker"]["replicas"] == 4
    (job,) = items_of(options_of(), image="example.com/poets@sha256:00")
    assert worker_of(job)["image"] == "example.com/poets@sha256:00"


def test_gpu_workers_get_their_image_and_their_gpus():
    settings = ["worker.count=0", "gpu_worker.count=2", "gpu_worker.gpus=1"]
    (job,) = items_of(options_of(settings))
    container = worker_of(job)
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["image"].endswith("-gpu")
    assert refusals(job) == []


@pytest.mark.parametrize("counts", [(0, 0), (2, 1)])
def test_workers_that_are_not_alike_are_refused(counts):
    settings = [f"worker.count={counts[0]}", f"gpu_worker.count={counts[1]}"]
    with pytest.raises(ConfigError, match="set one of the two to 0"):
        items_of(options_of(settings))


def test_hdfs_and_kerberos_are_set_as_for_a_dcos_task():
    secret = "service.security.kerberos.keytab_secret=tf/__dcos_base64__hdfs_keytab"
    (job,) = items_of(options_of([secret]))
    variables = variables_of(job)
    endpoints = "http://api.hdfs.marathon.l4lb.thisdcos.directory/v1/endpoints"
    assert variables["HDFS_CORE_SITE_URI"] == f"{endpoints}/core-site.xml"
    assert variables["SECURITY_KERBEROS_PRIMARY"] == "tensorflow"
    assert variables["SECURITY_KERBEROS_KDC_PORT"] == "2500"
    assert variables["KRB5_CLIENT_KTNAME"] == "/secrets/tf-hdfs-keytab/keytab"
    (spec,) = pod_specs(job)
    (secret,) = [v["secret"] for v in spec["volumes"] if "secret" in v]
    assert (secret["secretName"], secret["defaultMode"]) == ("tf-hdfs-keytab", 0o400)
    assert spec["securityContext"]["fsGroup"] == 1000


def test_keys_for_s3_come_from_a_secret_and_only_where_s3_is_used():
    (job,) = items_of(options_of(S3))
    key = variables_of(job)["AWS_SECRET_ACCESS_KEY"]["secretKeyRef"]
    assert key == {"name": "aws-creds", "key": "awsSecretAccessKey"}
    (job,) = items_of(options_of())
    assert "AWS_SECRET_ACCESS_KEY" not in variables_of(job)


def test_no_secret_is_printed():
    settings = ["service.gcs_key=top-secret", "service.service_account_secret=hidden"]
    printed = json.dumps(items_of(options_of([*settings, *S3])))
    assert "top-secret" not in printed
    assert "hidden" not in printed


@pytest.mark.parametrize("count", [1, 3])
def test_kubelet_makes_each_pods_tf_config_of_its_index(count):
    service, job = items_of(options_of([f"worker.count={count}"]), kind="job")
    names = list(variables_of(job))
    assert names.index("TASK_INDEX") < names.index("TF_CONFIG")
    name = job["metadata"]["name"]
    assert service["metadata"]["name"] == name == worker_of_subdomain(job)
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == count
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    for index in range(count):
        text = variables_of(job)["TF_CONFIG"].replace("$(TASK_INDEX)", str(index))
        assert json.loads(text) == {
            "cluster": {"worker": [f"{name}-{i}.{name}:2222" for i in range(count)]},
            "task": {"type": "worker", "index": index},
        }
        cluster = cluster_of(None, {"TF_CONFIG": text})
        assert (cluster.worker_index, cluster.num_workers) == (index, count)


def worker_of_subdomain(job):
    (spec,) = pod_specs(job)
    return spec["subdomain"]


def test_a_text_that_looks_like_a_variable_stays_as_it_is():
    (job,) = items_of(options_of(args=["image_dir=/photos/$(HOME)"]))
    assert flags_of(job)["image_dir"] == "/photos/$$(HOME)"


def test_a_shared_folder_of_the_pod_is_where_the_volume_is_mounted():
    settings = ["service.shared_filesystem=/results"]
    (job,) = items_of(options_of(settings), storage="pvc:disk-retrain")
    mounts = {m["name"]: m["mountPath"] for m in worker_of(job)["volumeMounts"]}
    assert mounts["output"] == "/results"
    assert flags_of(job)["output_graph"] == "/results/retrained_graph.pb"
    (job,) = items_of(options_of(["service.shared_filesystem="]), storage="pvc:d")
    assert flags_of(job)["output_graph"] == "/tf-output/retrained_graph.pb"


@pytest.mark.parametrize(
    ("settings", "args", "text"),
    [
        (["service.shared_filesystem=/results"], [], "--output_graph='/results/retra"),
        (["service.shared_filesystem="], [], "needs a shared file system"),
        (
            [],
            ["output_labels=file:///tmp/l.txt"],
            "--output_labels='file:///tmp/l.txt'",
        ),
        ([], ["output_graph=graph.pb"], "--output_graph='graph.pb' would be lost with"),
        (
            ["service.use_tensorboard=true"],
            ["summaries_dir=/tmp/logs"],
            "--summaries_dir='/tmp/logs' would be lost with its pod; give --storage",
        ),
    ],
)
def test_results_are_never_left_in_the_pod(settings, args, text):
    with pytest.raises(ConfigError, match=text):
        items_of(options_of(settings, args))


@pytest.mark.parametrize(
    "storage", ["", "pvc", "pvc:", "pvc:Disk", "hostpath:srv", "nfs:/x", "None"]
)
def test_a_storage_that_is_none_is_refused(storage):
    with pytest.raises(ConfigError, match=r"give pvc:NAME .*, hostpath:/FOLDER"):
        output_volume(storage)


def test_wrong_flags_are_reported_before_anything_is_printed():
    with pytest.raises(ConfigError, match="unknown flag '--learning_rat'"):
        items_of(options_of(args=["learning_rat=1"]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tensorflow", "tensorflow"),
        ("/dev/TensorFlow", "dev-tensorflow"),
        ("2018", "job-2018"),
        ("x" * 70, "x" * 40),
        ("ü", "job"),
    ],
)
def test_the_name_is_one_that_kubernetes_takes(name, expected):
    (job,) = items_of(options_of([f"service.name={name}"]))
    assert job["metadata"]["name"] == expected
    assert refusals(job) == []


def test_what_kubernetes_has_no_counterpart_for_is_named():
    asked = {"parameter_server": {"count": 2}, "worker": {"disk_type": "ROOT"}}
    assert left_out(flatten(asked), WITHOUT_COUNTERPART) == ["parameter_server.count"]
    without = flatten({"parameter_server": {"count": 0}})
    assert left_out(without, WITHOUT_COUNTERPART) == []


def test_the_image_retrains_with_the_arguments_that_are_printed(
    labelled_folder, tmp_path, nursery
):
    labelled_folder(tmp_path, {"daisy": 25, "rose": 25})
    options = options_of(
        [f"service.shared_filesystem={tmp_path}"],
        [
            f"image_dir={tmp_path}/images",
            "architecture=scattering_96",
            "how_many_training_steps=60",
            "processes=1",
        ],
    )
    (job,) = items_of(options, storage=f"hostpath:{tmp_path}")
    program = (ROOT / "deploy" / "kubernetes" / "retrain.py").read_text("utf-8")
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    with (tmp_path / "log").open("wb") as log:
        pod = nursery.start(program, variables, log, worker_of(job)["args"])
    assert pod.wait() == 0, pod.log.read_text()
    assert (tmp_path / "retrained_labels.txt").read_text() == "daisy\nrose\n"
    assert (tmp_path / "retrained_graph.pb").stat().st_size > 1000
