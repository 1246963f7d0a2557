"""`poets kubernetes serving`: the objects of a model server."""

import json
from pathlib import Path

import pytest

from poets.errors import ConfigError
from poets.kubernetes.pods import Surroundings
from poets.kubernetes.serving import Serving, serving, storage_uri
from poets.kubernetes.volumes import output_volume
from tests.kubernetes.schemas import (
    crd_schema,
    mismatches,
    module_file,
    pod_specs,
    refusals,
)
from tests.kubernetes.typed import poets

ROOT = Path(__file__).resolve().parents[2]
DEMO = str(ROOT / "demo" / "poets.json")
IMAGE = "example.com/poets:1.0.0"
CLAIM = output_volume("pvc:disk", read_only=True)


def printed(capsys, *words):
    assert poets("serving", *words) == 0
    return json.loads(capsys.readouterr().out)["items"]


def served(capsys, *words):
    deployment, service, *others = printed(capsys, *words, "--image", IMAGE)
    return deployment, service, others


def test_a_cluster_takes_the_objects_of_every_storage(capsys):
    for words in (
        ["s3://models/flowers"],
        ["hdfs://default/tensorflow/run", "--options", DEMO, "--namespace", "ml"],
        ["/tf-output/flowers", "--storage", "pvc:disk"],
        ["/tf-output/flowers", "--storage", "hostpath:/srv", "--max_replicas", "4"],
    ):
        deployment, service, others = served(capsys, *words)
        kinds = [item["kind"] for item in (deployment, service, *others)]
        scaled = ["HorizontalPodAutoscaler"] if "--max_replicas" in words else []
        assert kinds == ["Deployment", "Service", *scaled]
        for item in (deployment, service, *others):
            assert refusals(item) == []
            assert item["metadata"].get("namespace") == (
                "ml" if "ml" in words else None
            )


def test_the_service_selects_the_servers_ports_and_the_probes_ask_them(capsys):
    deployment, service, _ = served(capsys, "s3://models/flowers")
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": 8501, "grpc": 8500}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == set(ports)
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[name]["httpGet"]["port"] in ports
    assert container["args"] == ["flowers=s3://models/flowers", "--host=0.0.0.0"]


def test_the_server_has_no_more_rights_than_a_worker(capsys):
    deployment, _, _ = served(capsys, "s3://models/flowers")
    (spec,) = pod_specs(deployment)
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not spec["automountServiceAccountToken"]
    assert container["resources"]["requests"] == container["resources"]["limits"]


def test_results_in_a_claim_are_mounted_for_reading_only(capsys):
    words = ["/tf-output/run", "--storage", "pvc:disk"]
    deployment, _, _ = served(capsys, *words)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    mount = {"name": "output", "mountPath": "/tf-output", "readOnly": True}
    assert mount in container["volumeMounts"]


def test_the_job_on_hdfs_and_its_server_log_in_alike(capsys, caplog):
    caplog.set_level("INFO")
    words = ["hdfs://default/tensorflow/run", "--options", DEMO]
    deployment, _, _ = served(capsys, *words)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    variables = {v["name"]: v["value"] for v in container["env"]}
    assert variables["SECURITY_KERBEROS_REALM"] == "LOCAL"
    assert variables["KRB5_CLIENT_KTNAME"] == "/secrets/tensorflow-keytab/keytab"
    assert "create secret generic tensorflow-keytab" in caplog.text


def test_variables_reach_the_server(capsys):
    words = ["s3://models/flowers", "--env", "S3_ENDPOINT=minio:9000", "--env", "A=b=c"]
    deployment, _, _ = served(capsys, *words)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert {"name": "S3_ENDPOINT", "value": "minio:9000"} in container["env"]
    assert {"name": "A", "value": "b=c"} in container["env"]


def test_a_scaled_deployment_leaves_the_number_of_pods_to_the_autoscaler(capsys):
    words = ["s3://models/flowers", "--replicas", "2", "--max_replicas", "5"]
    deployment, _, (scaler,) = served(capsys, *words)
    assert "replicas" not in deployment["spec"]
    target = scaler["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", "flowers")
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 5)


@pytest.mark.parametrize(
    ("results", "name"),
    [
        ("s3://models/Flowers/", "flowers"),
        ("hdfs://default/flowers/saved_model/1", "flowers"),
        ("/tf-output/2024_run.tflite", "model-2024-run"),
    ],
)
def test_the_models_name_is_that_of_its_place(capsys, results, name):
    words = [results, "--storage", "pvc:disk"]
    deployment, _, _ = served(capsys, *words)
    assert deployment["metadata"]["name"] == name


@pytest.mark.parametrize(
    ("results", "uri"),
    [
        ("s3://models/flowers/saved_model", "s3://models/flowers/saved_model"),
        ("s3://models/flowers/saved_model/1", "s3://models/flowers/saved_model"),
        ("gs://models/flowers/", "gs://models/flowers"),
        ("hdfs://default/run/saved_model/1", "hdfs://run/saved_model"),
        ("swebhdfs://nn:9871/run/saved_model", "webhdfs://run/saved_model"),
        ("/tf-output/run/saved_model/3", "pvc://disk/run/saved_model"),
    ],
)
def test_kserve_gets_the_folder_of_versions_in_its_own_spelling(results, uri):
    assert storage_uri(results, CLAIM) == uri


def test_kserve_reads_s3_and_hdfs_with_the_secret_of_its_account(capsys, caplog):
    caplog.set_level("INFO")
    for results, secret, key in (
        ("s3://models/flowers/saved_model", "aws-creds", "AWS_ACCESS_KEY_ID"),
        ("hdfs://default/run/saved_model", "hdfscreds", "KERBEROS_PRINCIPAL"),
    ):
        account, service = printed(capsys, results, "--kind", "inferenceservice")
        assert account["secrets"] == [{"name": secret}]
        assert f"secret generic {secret} --from-literal" in caplog.text
        assert f"{key}=" in caplog.text
        predictor = service["spec"]["predictor"]
        assert predictor["serviceAccountName"] == account["metadata"]["name"]


def test_kserves_own_schema_takes_the_service(require):
    crd = module_file(
        "github.com/kserve/kserve",
        "config/crd/full/serving.kserve.io_inferenceservices.yaml",
    )
    require("kserve-crd", crd)
    schema = crd_schema(crd, "v1beta1")
    wanted = Serving("s3://models/flowers/1", "flowers", IMAGE, max_replicas=3)
    *_, service = serving("inferenceservice", wanted, Surroundings(), None)["items"]
    assert mismatches(service, schema) == []
    service["spec"]["predictor"]["modell"] = {}
    assert any("modell" in text for text in mismatches(service, schema))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["run", "--image", IMAGE], "there is no volume; give --storage pvc:NAME"),
        (
            ["/run", "--storage", "pvc:disk", "--image", IMAGE],
            "the volume is at '/tf-output'",
        ),
        (["s3://models/flowers"], "no image: give --image"),
        (
            ["/tf-output/1", "--kind", "inferenceservice", "--storage=hostpath:/srv"],
            "KServe cannot read '/tf-output/1'; give --storage pvc:NAME",
        ),
    ],
)
def test_what_could_not_be_served_is_refused(words, text):
    with pytest.raises(ConfigError) as caught:
        poets("serving", *words)
    assert text in str(caught.value)


def test_wrong_flags_are_reported_together():
    words = ["--name", "My_Model", "--replicas", "0", "--max_replicas", "-1"]
    words += ["--cpus", "0", "--mem", "0", "--set", "worker.count=2", "--env", "A"]
    with pytest.raises(ConfigError) as caught:
        poets("serving", "s3://models/flowers", "--image", IMAGE, *words)
    for text in (
        "--name",
        "--replicas",
        "--max_replicas",
        "--cpus",
        "--mem",
        "--set",
        "--env",
    ):
        assert text in str(caught.value)
