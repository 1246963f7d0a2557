"""Checks objects as a cluster does, without a cluster.

Core objects are validated against the published schemas (kubernetes-validate, unknown
keys refused). A TFJob is checked by the rules of its CRD and of the operator's webhook
(training-operator 1.9, kubeflow.org/v1), its pods by the schema of a Pod. Where
Go's module cache has the operator, Argo and KServe (`make kubernetes`), their own
schemas are there too.
"""

import copy
import functools
import json
import os
import re
from pathlib import Path

import jsonschema
import kubernetes_validate.utils
import yaml

from tools.kubernetes.build import CACHE

# It reads megabytes of definitions for each object; they stay the same.
kubernetes_validate.utils.schema_contents = functools.lru_cache(
    kubernetes_validate.utils.schema_contents
)

VERSIONS = ("1.28", "1.32", "1.37")
REPLICA_TYPES = ("PS", "Worker", "Chief", "Master", "Evaluator")
RESTART_POLICIES = ("Always", "OnFailure", "Never", "ExitCode")
CLEAN_POD_POLICIES = ("All", "Running", "None")
RUN_POLICY = {
    "activeDeadlineSeconds",
    "backoffLimit",
    "cleanPodPolicy",
    "managedBy",
    "schedulingPolicy",
    "suspend",
    "ttlSecondsAfterFinished",
}
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
"""RFC 1035, as the webhook asks of a TFJob's name."""


def refusals(thing):
    """Returns all that is wrong with an object; a List is looked into."""
    if thing["kind"] == "List":
        return [text for item in thing["items"] for text in refusals(item)]
    if thing["kind"] == "TFJob":
        return [*_refusals_of_tfjob(thing), *_refusals_of_names(thing)]
    return [*_refusals_of_core(thing), *_refusals_of_names(thing)]


def pod_specs(thing):
    """Yields the pod specs in an object."""
    if thing["kind"] == "TFJob":
        for replica in thing["spec"]["tfReplicaSpecs"].values():
            yield replica["template"]["spec"]
    elif thing["kind"] in ("Job", "Deployment"):
        yield thing["spec"]["template"]["spec"]


def _refusals_of_core(thing):
    found = []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(thing, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{thing['kind']}, {version}: {error.path}: {error.message}")
    return found


def _refusals_of_tfjob(thing):
    found = []
    spec = thing["spec"]
    if thing["apiVersion"] != "kubeflow.org/v1":
        found.append(f"apiVersion {thing['apiVersion']}")
    if unknown := set(thing) - {"apiVersion", "kind", "metadata", "spec"}:
        found.append(f"unknown {unknown}")
    known = {"tfReplicaSpecs", "runPolicy", "successPolicy", "enableDynamicWorker"}
    if unknown := set(spec) - known:
        found.append(f"unknown in spec {unknown}")
    run_policy = spec.get("runPolicy", {})
    if unknown := set(run_policy) - RUN_POLICY:
        found.append(f"unknown in runPolicy {unknown}")
    if run_policy.get("cleanPodPolicy") not in CLEAN_POD_POLICIES:
        found.append("cleanPodPolicy is not set to one that is known")
    if not DNS_LABEL.fullmatch(thing["metadata"]["name"]):
        found.append(f"name {thing['metadata']['name']!r}")
    replicas = spec["tfReplicaSpecs"]
    if len(set(replicas) & {"Chief", "Master"}) > 1:
        found.append("more than 1 chief/master")
    for kind, replica in replicas.items():
        found += [f"{kind}: {text}" for text in _refusals_of_replica(thing, replica)]
        if kind not in REPLICA_TYPES:
            found.append(f"unknown replica type {kind}")
    return found


def _refusals_of_replica(thing, replica):
    if unknown := set(replica) - {"replicas", "restartPolicy", "template"}:
        yield f"unknown {unknown}"
    if replica.get("restartPolicy") not in RESTART_POLICIES:
        yield "restartPolicy is not set to one that is known"
    if not isinstance(replica.get("replicas"), int) or replica["replicas"] < 1:
        yield "replicas is no number above 0"
    template = replica["template"]
    if "restartPolicy" in template["spec"]:
        yield "restartPolicy of the pod, which the operator overwrites"
    containers = [
        c for c in template["spec"]["containers"] if c["name"] == "tensorflow"
    ]
    if len(containers) != 1:
        yield "no container is named tensorflow"
    for container in containers:
        ports = {(p["name"], p["containerPort"]) for p in container["ports"]}
        if ("tfjob-port", 2222) not in ports:
            yield "no port tfjob-port"
    metadata = {"name": thing["metadata"]["name"], **template.get("metadata", {})}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
    yield from _refusals_of_core({**pod, "spec": template["spec"]})


def _refusals_of_names(thing):
    """Yields mounts without a volume, and names given twice."""
    for spec in pod_specs(thing):
        volumes = [volume["name"] for volume in spec.get("volumes", [])]
        if len(set(volumes)) < len(volumes):
            yield f"volumes {volumes}"
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            if not container.get("image"):
                yield f"{container['name']} has no image"
            mounts = container.get("volumeMounts", [])
            if missing := {mount["name"] for mount in mounts} - set(volumes):
                yield f"no volume {missing}"
            if len({mount["mountPath"] for mount in mounts}) < len(mounts):
                yield f"two mounts in one place: {mounts}"
            names = [variable["name"] for variable in container.get("env", [])]
            if len(set(names)) < len(names):
                yield f"variables {names}"


def module_file(module, path):
    """Returns a file of a module in Go's cache, of the newest version, or None."""
    usual = Path(os.environ.get("GOMODCACHE") or os.path.expanduser("~/go/pkg/mod"))
    for root in (usual, CACHE / "go" / "pkg" / "mod"):
        if found := sorted(root.glob(f"{module}@*/{path}")):
            return found[-1]
    return None


def crd_schema(path, version):
    """Returns the JSON schema of one version of the object that a CRD describes."""
    crd = yaml.safe_load(Path(path).read_text("utf-8"))
    (found,) = [v for v in crd["spec"]["versions"] if v["name"] == version]
    schema = closed(found["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


def argo_schema(path):
    """Returns the JSON schema of a Workflow from Argo's published one."""
    definitions = json.loads(Path(path).read_text("utf-8"))["definitions"]
    name = "io.argoproj.workflow.v1alpha1.Workflow"
    return closed({"$ref": f"#/definitions/{name}", "definitions": definitions})


def closed(schema):
    """Returns a copy in which an object takes no key that is not described."""
    schema = copy.deepcopy(schema)
    todo = [schema]
    while todo:
        part = todo.pop()
        if isinstance(part, list):
            todo += part
        elif isinstance(part, dict):
            if isinstance(part.get("properties"), dict):
                open_ended = part.get("x-kubernetes-preserve-unknown-fields")
                if not open_ended and "metadata" not in part.get("title", ""):
                    part.setdefault("additionalProperties", False)
            todo += part.values()
    return schema


def mismatches(thing, schema):
    """Returns where an object differs from a JSON schema."""
    validator = jsonschema.validators.validator_for(schema)(schema)
    return [
        f"{'/'.join(map(str, error.path))}: {error.message[:200]}"
        for error in validator.iter_errors(thing)
    ]
