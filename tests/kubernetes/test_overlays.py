"""deploy/kubernetes: objects, overlays and patches, as kustomize builds them.

kustomize is taken as `kubectl kustomize` or `kustomize build`, whichever is here.
"""

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from poets.flags import config_from_args
from poets.storage.objects.s3_settings import s3_settings
from tests.kubernetes.schemas import pod_specs, refusals

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (DEPLOY / "overlays").iterdir())
FILES = sorted(DEPLOY.rglob("*.yaml"))
VARIABLE = re.compile(r"(?<!\$)\$\((\w+)\)")


@pytest.fixture(scope="session")
def build(require):
    """Returns a function: an overlay's name -> its objects, by kind and name."""
    tool = next(
        (
            command
            for command in (["kubectl", "kustomize"], ["kustomize", "build"])
            if shutil.which(command[0])
        ),
        None,
    )
    require("kustomize", tool)

    def run(folder):
        command = [*tool, str(folder)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        things = list(yaml.safe_load_all(done.stdout))
        return {(thing["kind"], thing["metadata"]["name"]): thing for thing in things}

    return run


def documents(path):
    return [thing for thing in yaml.safe_load_all(path.read_text("utf-8")) if thing]


def objects_below(folder):
    """Returns the objects that a kustomization names, those of its bases included."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    for name in kustomization.get("resources", []):
        path = folder / name
        yield from objects_below(path) if path.is_dir() else documents(path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_each_file_holds_objects_that_are_known(path):
    for thing in documents(path):
        if "config.kubernetes.io" in thing["apiVersion"] or thing["apiVersion"].split(
            "/"
        )[0] in ("kustomize.config.k8s.io", "argoproj.io"):
            assert thing["kind"] in ("Kustomization", "Component", "Workflow")
        else:
            assert refusals(thing) == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_each_patch_changes_an_object_that_is_there(name):
    folder = DEPLOY / "overlays" / name
    things = list(objects_below(folder))
    overlay = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    for component in overlay["components"]:
        path = folder / component / "kustomization.yaml"
        patches = yaml.safe_load(path.read_text("utf-8"))["patches"]
        changed = 0
        for patch, thing in itertools.product(patches, things):
            if re.fullmatch(patch["target"]["kind"], thing["kind"]):
                operations = yaml.safe_load(patch["patch"])
                changed += len(operations)
                for operation in operations:
                    assert holder_of(thing, operation["path"]) is not None
        assert changed


def holder_of(thing, path):
    """Returns what holds the place that a JSON patch names, or None."""
    *parents, last = path.strip("/").split("/")
    for part in parents:
        thing = thing[int(part)] if isinstance(thing, list) else thing.get(part)
        if thing is None:
            return None
    found = isinstance(thing, list) if last.isdigit() or last == "-" else last in thing
    return thing if found else None


@pytest.mark.parametrize("name", OVERLAYS)
def test_each_overlay_is_what_a_cluster_takes(build, name):
    things = build(DEPLOY / "overlays" / name)
    assert [text for thing in things.values() for text in refusals(thing)] == []
    engine = "TFJob" if name.startswith("tfjob") else "Job"
    kinds = [kind for kind, _ in things]
    assert kinds.count(engine) == kinds.count("Deployment") == 1
    claims = {name for kind, name in things if kind == "PersistentVolumeClaim"}
    settings = {name for kind, name in things if kind == "ConfigMap"}
    for thing in things.values():
        for spec in pod_specs(thing):
            for container in spec["containers"]:
                assert container["image"] == "example.com/poets:1.0.0"
                for source in container.get("envFrom", []):
                    assert source["configMapRef"]["name"] in settings
            for volume in spec["volumes"]:
                if claim := volume.get("persistentVolumeClaim"):
                    assert claim["claimName"] in claims
                if files := volume.get("configMap"):
                    assert files["name"] in settings


@pytest.mark.parametrize("name", OVERLAYS)
def test_each_overlays_flags_are_those_of_the_job(build, name):
    """With every variable known, and set before it is used."""
    things = build(DEPLOY / "overlays" / name)
    settings = things["ConfigMap", "poets"]["data"]
    for thing in things.values():
        for spec in pod_specs(thing):
            for container in spec["containers"]:
                known = settings if container.get("envFrom") else {}
                texts = [*container.get("args", []), *container.get("command", [])]
                texts = [
                    VARIABLE.sub(lambda m, known=known: known[m[1]], t) for t in texts
                ]
                if container["name"] == "tensorflow":
                    flags = dict(text[2:].split("=", 1) for text in texts)
                    config = config_from_args(flags)
                    assert config.output_graph.startswith(settings["OUTPUT_DIR"])
                    assert config.image_dir == settings["IMAGE_DIR"]
                elif container["name"] == "follow":
                    assert f"{settings['OUTPUT_DIR']}/training_summaries" in texts


@pytest.mark.parametrize(
    ("name", "workers"),
    [("job-pvc", 1), ("job-hostpath", 1), ("job-s3", 4), ("job-hdfs", 4)],
)
def test_the_indexed_jobs_workers_know_each_other(build, name, workers):
    things = build(DEPLOY / "overlays" / name)
    job, service = things["Job", "retrain"], things["Service", "retrain"]
    (spec,) = pod_specs(job)
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == workers
    assert spec["subdomain"] == service["metadata"]["name"]
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert service["spec"]["clusterIP"] == "None"
    variables = [variable["name"] for variable in spec["containers"][0]["env"]]
    assert variables.index("TASK_INDEX") < variables.index("TF_CONFIG")
    text = spec["containers"][0]["env"][variables.index("TF_CONFIG")]["value"]
    for index in range(workers):
        found = json.loads(text.replace("$(TASK_INDEX)", str(index)))
        hosts = [f"retrain-{i}.retrain:2222" for i in range(workers)]
        assert found["cluster"] == {"worker": hosts}
        assert found["task"] == {"type": "worker", "index": index}


def test_one_and_many_workers_under_the_operator(build):
    for name, workers in (("tfjob-pvc", 1), ("tfjob-s3", 4)):
        job = build(DEPLOY / "overlays" / name)["TFJob", "tfjob-retrain"]
        replica = job["spec"]["tfReplicaSpecs"]["Worker"]
        assert replica["replicas"] == workers
        assert replica["restartPolicy"] == "ExitCode"


def test_the_keytab_is_a_secret_that_only_the_job_and_the_mirror_see(build):
    things = build(DEPLOY / "overlays" / "tfjob-hdfs")
    settings = things["ConfigMap", "poets"]["data"]
    for thing in (
        things["TFJob", "tfjob-retrain"],
        things["Deployment", "tensorboard"],
    ):
        (spec,) = pod_specs(thing)
        (secret,) = [v["secret"] for v in spec["volumes"] if "secret" in v]
        assert (secret["secretName"], secret["defaultMode"]) == ("hdfs-keytab", 0o400)
        first, *others = spec["containers"]
        mounts = {m["name"]: m["mountPath"] for m in first["volumeMounts"]}
        keytab = f"{mounts['hdfs-keytab']}/keytab"
        assert settings["KRB5_CLIENT_KTNAME"] == keytab
        assert settings["POETS_HADOOP_CONF"] == mounts["hadoop-conf"]
        for other in others:
            assert "hdfs-keytab" not in {m["name"] for m in other["volumeMounts"]}
    files = things["ConfigMap", "hadoop-conf"]["data"]
    assert set(files) == {"core-site.xml", "hdfs-site.xml", "krb5.conf"}


def test_s3_has_the_variables_of_the_original_and_the_storage_takes_them(
    build, monkeypatch
):
    things = build(DEPLOY / "overlays" / "tfjob-s3")
    settings = things["ConfigMap", "poets"]["data"]
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    found = s3_settings()
    assert (found.address, found.uses_https, found.verifies, found.region) == (
        "s3.us-west-1.amazonaws.com",
        True,
        True,
        "us-west-1",
    )
    assert {"AWS_REGION", "AWS_DEFAULT_REGION", "S3_REGION"} <= set(settings)
    assert "://" not in settings["S3_ENDPOINT"]
    assert {settings["S3_USE_HTTPS"], settings["S3_VERIFY_SSL"]} <= {"0", "1"}
    for thing in (
        things["TFJob", "tfjob-retrain"],
        things["Deployment", "tensorboard"],
    ):
        (spec,) = pod_specs(thing)
        keys = {
            v["name"]: (r["name"], r["key"])
            for v in spec["containers"][0]["env"]
            for r in [v["valueFrom"]["secretKeyRef"]]
        }
        assert keys == {
            "AWS_ACCESS_KEY_ID": ("aws-creds", "awsAccessKeyID"),
            "AWS_SECRET_ACCESS_KEY": ("aws-creds", "awsSecretAccessKey"),
        }


def test_no_object_is_an_old_kind():
    text = "".join(path.read_text("utf-8") for path in FILES)
    assert "extensions/v1beta1" not in text
    assert "kubeflow.org/v1alpha" not in text


def test_a_manifest_that_is_wrong_is_refused_by_these_tests():
    (job,) = documents(DEPLOY / "base" / "tfjob" / "tfjob.yaml")
    worker = job["spec"]["tfReplicaSpecs"]["Worker"]
    worker["restartPolicy"] = "Sometimes"
    worker["template"]["spec"]["containers"][0]["imag"] = "x"
    worker["template"]["spec"]["containers"][0]["volumeMounts"][0]["name"] = "temp"
    job["spec"]["tfReplicaSpecs"]["worker"] = worker
    found = " ".join(refusals(job))
    for part in ("restartPolicy", "'imag' was unexpected", "no volume", "type worker"):
        assert part in found
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(1, {"type": "string"})
