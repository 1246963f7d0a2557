"""The Argo workflow of deploy/kubernetes: parameters, steps, objects, outcomes."""

import itertools
import json
import re
from pathlib import Path

import pytest
import yaml
from hera.workflows import models

from poets.flags import FIELDS, config_from_args
from poets.storage.objects.s3_settings import s3_settings
from tests.kubernetes.schemas import (
    argo_schema,
    mismatches,
    module_file,
    pod_specs,
    refusals,
)
from tests.kubernetes.typed import poets

FILE = Path(__file__).resolve().parents[2] / "deploy/kubernetes/argo/workflow.yaml"
WORKFLOW = yaml.safe_load(FILE.read_text("utf-8"))
PARAMETERS = {
    p["name"]: p["value"] for p in WORKFLOW["spec"]["arguments"]["parameters"]
}
TEMPLATES = {template["name"]: template for template in WORKFLOW["spec"]["templates"]}


def object_of(name, changes):
    """Returns a resource template's object, with other values of parameters."""
    return yaml.safe_load(
        filled_in(name, TEMPLATES[name]["resource"]["manifest"], changes)
    )


def filled_in(name, text, changes):
    """Returns a text of a template with the parameters in their places."""
    values = {
        f"workflow.parameters.{k}": v for k, v in {**PARAMETERS, **changes}.items()
    }
    values |= {
        f"inputs.parameters.{k}": substituted(v, values)
        for k, v in arguments_of(name).items()
    }
    return substituted(text, values)


def substituted(text, values):
    return re.sub(r"\{\{([\w.-]+)\}\}", lambda match: values[match[1]], text)


def arguments_of(name):
    """Returns what the step that runs a template hands to it."""
    for step in steps_of("tests"):
        if step["template"] == name:
            parameters = step.get("arguments", {}).get("parameters", [])
            return {p["name"]: p["value"] for p in parameters}
    return {}


def steps_of(name):
    return [step for group in TEMPLATES[name].get("steps", []) for step in group]


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
    text = FILE.read_text("utf-8")
    used = set(re.findall(r"\{\{workflow\.parameters\.([\w-]+)\}\}", text))
    assert used == set(PARAMETERS)
    assert {type(value) for value in PARAMETERS.values()} == {str}


def test_every_step_runs_a_template_with_what_it_takes():
    called = {step["template"] for name in TEMPLATES for step in steps_of(name)}
    for name in called:
        wanted = TEMPLATES[name].get("inputs", {}).get("parameters", [])
        assert {p["name"] for p in wanted} == set(arguments_of(name))
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
    for name, template in TEMPLATES.items():
        if "resource" in template and name not in ("serve-model", "cleanup"):
            assert refusals(object_of(name, {"tf-worker": workers})) == []
    job = object_of("train-model", {"tf-worker": workers})
    assert job["spec"]["tfReplicaSpecs"]["Worker"]["replicas"] == int(workers)
    gone = object_of("cleanup", {})
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
    job = object_of("train-model", changes)
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

    looked_at = pod_specs(object_of("tensorboard", changes))
    summaries = next(looked_at)["containers"][0]["args"][0]
    assert config.summaries_dir.startswith(summaries)


def test_the_server_of_the_workflow_is_that_of_the_command(capsys, monkeypatch):
    """Its arguments, after the shell's, are those of `poets kubernetes serving`."""
    changes = {"job-name": "flowers", "model-name": "mobile", "aws-secret": "keys"}
    changes |= {"s3-endpoint": "minio:9000", "s3-use-https": "0"}
    _, *words = TEMPLATES["print-server"]["container"]["args"]
    words = [filled_in("print-server", word, changes) for word in words]
    assert poets("serving", *words) == 0
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
