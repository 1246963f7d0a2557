"""The files of deploy/kubernetes: what kubectl, kustomize and Argo make of them.

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
from hera.workflows import models
from packaging.requirements import Requirement

from poets.flags import FIELDS, config_from_args
from poets.storage.objects.s3_settings import s3_settings
from tests.kubernetes.schemas import (
    argo_schema,
    mismatches,
    module_file,
    pod_specs,
    refusals,
)
from tests.kubernetes.test_kubernetes_cli import poets

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (DEPLOY / "overlays").iterdir())
FILES = sorted(DEPLOY.rglob("*.yaml"))
WORKFLOW = yaml.safe_load((DEPLOY / "argo" / "workflow.yaml").read_text("utf-8"))
PARAMETERS = {
    p["name"]: p["value"] for p in WORKFLOW["spec"]["arguments"]["parameters"]
}
TEMPLATES = {template["name"]: template for template in WORKFLOW["spec"]["templates"]}
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
    assert set(re.findall(r"kind: (TFJob|Deployment)\b", text)) <= {
        "TFJob",
        "Deployment",
    }


# The workflow.


def filled_in(template, changes):
    """Returns a resource template's object with the parameters in their places."""
    values = {
        f"workflow.parameters.{k}": v for k, v in {**PARAMETERS, **changes}.items()
    }
    inputs = arguments_of(template["name"])
    values |= {
        f"inputs.parameters.{name}": substituted(text, values)
        for name, text in inputs.items()
    }
    return yaml.safe_load(substituted(template["resource"]["manifest"], values))


def substituted(text, values):
    return re.sub(r"\{\{([\w.-]+)\}\}", lambda match: values[match[1]], text)


def arguments_of(name):
    """Returns what the step that runs a template hands to it."""
    steps = [step for group in TEMPLATES["tests"]["steps"] for step in group]
    for step in steps:
        if step["template"] == name:
            parameters = step.get("arguments", {}).get("parameters", [])
            return {p["name"]: p["value"] for p in parameters}
    return {}


def test_argos_own_models_and_its_schema_take_the_workflow(require):
    dumped = models.Workflow.model_validate(WORKFLOW).model_dump(
        by_alias=True, exclude_none=True, mode="json"
    )
    assert unknown_keys(WORKFLOW, dumped) == []
    schema = module_file(
        "github.com/argoproj/argo-workflows/v4", "api/jsonschema/schema.json"
    )
    require("argo-schema", schema)
    assert mismatches(WORKFLOW, argo_schema(schema)) == []
    broken = json.loads(json.dumps(WORKFLOW))
    broken["spec"]["arguments"]["parameters"][4]["value"] = 1
    broken["spec"]["onExitt"] = "cleanup"
    assert len(mismatches(broken, argo_schema(schema))) == 2


def unknown_keys(given, kept, path=""):
    """Returns what a model dropped, which is what it does not know."""
    if isinstance(given, dict) and isinstance(kept, dict):
        return [
            text
            for key, value in given.items()
            for text in (
                unknown_keys(value, kept[key], f"{path}/{key}")
                if key in kept
                else [f"{path}/{key}"]
            )
        ]
    if isinstance(given, list) and isinstance(kept, list):
        pairs = enumerate(itertools.zip_longest(given, kept))
        return [t for i, pair in pairs for t in unknown_keys(*pair, f"{path}/{i}")]
    return []


def test_every_parameter_is_text_and_is_used():
    text = (DEPLOY / "argo" / "workflow.yaml").read_text("utf-8")
    used = set(re.findall(r"\{\{workflow\.parameters\.([\w-]+)\}\}", text))
    assert used == set(PARAMETERS)
    assert {type(value) for value in PARAMETERS.values()} == {str}


def test_every_step_runs_a_template_with_what_it_takes():
    for template in TEMPLATES.values():
        for step in (step for group in template.get("steps", []) for step in group):
            called = TEMPLATES[step["template"]]
            wanted = called.get("inputs", {}).get("parameters", [])
            assert {p["name"] for p in wanted} == set(arguments_of(called["name"]))
    called = {
        step["template"]
        for template in TEMPLATES.values()
        for group in template.get("steps", [])
        for step in group
    }
    entries = {WORKFLOW["spec"]["entrypoint"], WORKFLOW["spec"]["onExit"]}
    assert called | entries == set(TEMPLATES)


def test_the_steps_are_those_of_the_original():
    steps = [[step["name"] for step in group] for group in TEMPLATES["tests"]["steps"]]
    assert [group[0] for group in steps] == [
        "get-workflow-info",
        "tensorboard",
        "train-model",
        "print-server",
        "serve-model",
    ]
    asked = "{{workflow.parameters.model-serving}} == true"
    for (step,) in TEMPLATES["tests"]["steps"][-2:]:
        assert step["when"] == asked
    (((cleanup,),),) = [TEMPLATES["exit-handler"]["steps"]]
    assert cleanup["continueOn"] == {"error": True, "failed": True}
    assert TEMPLATES["cleanup"]["resource"]["action"] == "delete"


@pytest.mark.parametrize("workers", ["1", "4"])
def test_every_object_of_the_workflow_is_one_a_cluster_takes(workers):
    for template in TEMPLATES.values():
        if "resource" not in template or template["name"] == "serve-model":
            continue
        thing = filled_in(template, {"tf-worker": workers})
        if template["name"] != "cleanup":
            assert refusals(thing) == []
    job = filled_in(TEMPLATES["train-model"], {"tf-worker": workers})
    assert job["spec"]["tfReplicaSpecs"]["Worker"]["replicas"] == int(workers)
    gone = filled_in(TEMPLATES["cleanup"], {})
    assert (gone["kind"], gone["metadata"]) == (job["kind"], job["metadata"])


def test_the_parameters_reach_the_jobs_flags(monkeypatch):
    changes = {
        "job-name": "flowers",
        "model-name": "mobile",
        "model-architecture": "mobilenet_0.25_128",
        "model-train-steps": "321",
        "model-batch-size": "7",
        "model-learning-rate": "0.5",
        "image-dir": "s3://photos/flowers",
        "s3-train-base-url": "s3://other/models",
        "s3-endpoint": "minio:9000",
        "s3-use-https": "0",
    }
    job = filled_in(TEMPLATES["train-model"], changes)
    (spec,) = pod_specs(job)
    container = spec["containers"][0]
    flags = dict(text[2:].split("=", 1) for text in container["args"])
    assert set(flags) <= set(FIELDS)
    config = config_from_args(flags)
    assert (config.architecture, config.how_many_training_steps) == (
        "mobilenet_0.25_128",
        321,
    )
    assert (config.train_batch_size, config.learning_rate) == (7, 0.5)
    assert config.image_dir == "s3://photos/flowers"
    exported = "s3://other/models/flowers/export/mobile/"
    assert config.saved_model_dir == f"{exported}1"
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "secret"))
    found = s3_settings()
    assert (found.address, found.uses_https, found.verifies) == (
        "minio:9000",
        False,
        True,  # the original's "true"
    )

    looked_at = pod_specs(filled_in(TEMPLATES["tensorboard"], changes))
    summaries = next(looked_at)["containers"][0]["args"][0]
    assert config.summaries_dir.startswith(summaries)


def test_the_server_of_the_workflow_is_that_of_the_command(capsys, monkeypatch):
    """Its arguments, after the shell's, are those of `poets kubernetes serving`."""
    changes = {"job-name": "flowers", "model-name": "mobile", "aws-secret": "keys"}
    changes |= {"s3-endpoint": "minio:9000", "s3-use-https": "0"}
    values = {
        f"workflow.parameters.{k}": v for k, v in {**PARAMETERS, **changes}.items()
    }
    inputs = arguments_of("print-server")
    values |= {
        f"inputs.parameters.{name}": substituted(text, values)
        for name, text in inputs.items()
    }
    _, *words = TEMPLATES["print-server"]["container"]["args"]
    assert poets("serving", *(substituted(word, values) for word in words)) == 0
    deployment, service = json.loads(capsys.readouterr().out)["items"]
    assert refusals(deployment) == refusals(service) == []
    assert deployment["metadata"]["name"] == "mobile-flowers"
    assert service["spec"]["type"] == PARAMETERS["model-serving-servicetype"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    exported = f"{PARAMETERS['s3-train-base-url']}/flowers/export/mobile/"
    assert container["args"][0] == f"mobile-flowers={exported}"
    secrets = {v["valueFrom"]["secretKeyRef"]["name"] for v in container["env"][-2:]}
    assert secrets == {"keys"}
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "secret"))
    found = s3_settings()
    assert (found.address, found.uses_https) == ("minio:9000", False)


@pytest.mark.parametrize(
    ("conditions", "succeeded", "outcome"),
    [
        (["Created"], 0, None),
        (["Created", "Running"], 0, None),
        (["Created", "Restarting"], 0, None),
        (["Created", "Running", "Succeeded"], 1, "success"),
        (["Created", "Succeeded"], 4, "success"),
        (["Created", "Running", "Failed"], 0, "failure"),
        (["Created", "Failed"], 0, "failure"),
    ],
)
def test_the_workflow_sees_how_the_job_ended(conditions, succeeded, outcome):
    """Argo fails on any condition of failure, and succeeds on all of success."""
    status = {
        "conditions": [{"type": name, "status": "True"} for name in conditions],
        "replicaStatuses": {"Worker": {"succeeded": succeeded, "failed": 1}},
    }
    resource = TEMPLATES["train-model"]["resource"]
    failed = any(
        holds(part, status) for part in resource["failureCondition"].split(",")
    )
    done = all(holds(part, status) for part in resource["successCondition"].split(","))
    assert ("failure" if failed else "success" if done else None) == outcome


def holds(condition, status):
    """Evaluates one of Argo's conditions, as `status.a.1.b == c` or `… > 0`."""
    path, operator, wanted = condition.split()
    value = {"status": status}
    for part in path.split("."):
        if isinstance(value, list):
            value = value[int(part)] if int(part) < len(value) else {}
        else:
            value = value.get(part, {})
    if operator == ">":
        return isinstance(value, int) and value > int(wanted)
    return value == wanted


# The image.


def test_every_dependency_is_pinned_by_hash_and_fits_pyproject():
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = (DEPLOY / "requirements.txt").read_text("utf-8").replace("\\\n", " ")
    pins = {}
    for line in lines.splitlines():
        if line and not line.startswith("#"):
            requirement, *hashes = line.split("--hash=")
            pin = Requirement(requirement.strip())
            assert hashes
            assert all(re.fullmatch(r"sha256:[0-9a-f]{64}\s*", text) for text in hashes)
            pins.setdefault(pin.name, []).append(pin)
    needed = [Requirement(text) for text in project["dependencies"]]
    for requirement in needed:
        assert requirement.name in pins, f"{requirement.name}: make the list again"
        for pin in pins[requirement.name]:
            (version,) = [specifier.version for specifier in pin.specifier]
            assert requirement.specifier.contains(version)
    assert {"tensorflow-cpu", "tensorboard", "setuptools"} <= set(pins)


def test_the_image_is_not_roots_and_starts_the_job():
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert "USER 1000:1000" in lines
    assert lines[-1] == 'ENTRYPOINT ["tini", "--", "python", "/retrain.py"]'
    assert "--require-hashes" in text
    (base,) = re.findall(r"^ARG PYTHON=(.+)$", text, re.MULTILINE)
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / name).exists() for name in source.split())
        kept = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
        assert all(f"!{name}" in kept for name in source.split())


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
