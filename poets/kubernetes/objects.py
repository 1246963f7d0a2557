"""Builds the objects that run pods: TFJob, Job, Service and Deployment.

    job     Indexed Job and headless Service: worker i is <job>-<i>.<job>, and kubelet
            puts i into TF_CONFIG
    tfjob   TFJob of the training operator (kubeflow.org/v1), which gives each worker
            its address and TF_CONFIG

In a Job, a worker that is deleted or evicted starts again under the same name; a TFJob
then fails as a whole, because the operator counts a pod as failed that still runs while
it is being deleted. Both end at once if a worker fails (exit code 1) or reports the
user's mistake (2), a Job also if one is killed for memory, which it would need again.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from poets.kubernetes.pods import PORT, PORT_NAME, TENSORBOARD_PORT

KINDS = ("job", "tfjob")
RETRIES = 20
FINAL_EXIT_CODES = (1, 2, 137)
"""Failed, the user's mistake, killed by SIGKILL.

kubelet and the kernel send SIGKILL to a container above its memory limit. Pods that
are deleted or evicted get SIGTERM first, which ends them with another code.
"""
Json = dict[str, Any]
INDEX = "batch.kubernetes.io/job-completion-index"


def as_list(items: list[Json], namespace: str | None) -> Json:
    """Returns the objects as one List; a namespace of None leaves it to kubectl."""
    if namespace:
        for item in items:
            item["metadata"]["namespace"] = namespace
    return {"apiVersion": "v1", "kind": "List", "items": items}


def object_of(
    api: str, kind: str, name: str, labels: dict[str, str], spec: Json | None = None
) -> Json:
    """Returns one object."""
    metadata = {"name": name, "labels": labels}
    found: Json = {"apiVersion": api, "kind": kind, "metadata": metadata}
    return {**found, "spec": spec} if spec else found


def workers(kind: str, name: str, count: int, pod: Json) -> Iterator[Json]:
    """Yields the objects of a kind that run a job of `count` workers, each in a pod."""
    labels = labels_of(name, "worker")
    template = {"metadata": {"labels": labels}, "spec": pod}
    if kind == "tfjob":
        yield tfjob(name, labels, count, template)
    else:
        yield headless_service(name, labels)
        yield indexed_job(name, labels, count, template)


def labels_of(name: str, component: str) -> dict[str, str]:
    """Returns the labels of an object and its pods."""
    return {
        "app.kubernetes.io/name": "poets",
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/component": component,
    }


def tfjob(name: str, labels: dict[str, str], count: int, template: Json) -> Json:
    """Returns a TFJob whose worker 0 is the chief."""
    worker = {
        "replicas": count,
        # Restarts after exit codes from 128 (killed), not after 1 to 127.
        "restartPolicy": "ExitCode",
        "template": template,
    }
    spec = {
        "runPolicy": {"cleanPodPolicy": "Running", "backoffLimit": RETRIES},
        "tfReplicaSpecs": {"Worker": worker},
    }
    return object_of("kubeflow.org/v1", "TFJob", name, labels, spec)


def headless_service(name: str, labels: dict[str, str]) -> Json:
    """Returns the Service that makes the pods of an Indexed Job known to DNS."""
    spec = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": labels,
        "ports": [{"name": PORT_NAME, "port": PORT}],
    }
    return object_of("v1", "Service", name, labels, spec)


def indexed_job(name: str, labels: dict[str, str], count: int, template: Json) -> Json:
    """Returns a Job of `count` workers, each with TF_CONFIG; index 0 is the chief."""
    pod = template["spec"]
    container = pod["containers"][0]
    environment = [*container["env"], *tf_config(name, count)]
    pod = {
        **pod,
        "containers": [{**container, "env": environment}],
        "subdomain": name,
        "restartPolicy": "Never",
    }
    drained = {
        "action": "Ignore",
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }
    failed = {
        "action": "FailJob",
        "onExitCodes": {
            "containerName": container["name"],
            "operator": "In",
            "values": list(FINAL_EXIT_CODES),
        },
        "onPodConditions": [],  # required until Kubernetes 1.30
    }
    spec = {
        "completionMode": "Indexed",
        "completions": count,
        "parallelism": count,
        "backoffLimit": RETRIES,
        # The first match counts: a drained node may have to kill.
        "podFailurePolicy": {"rules": [drained, failed]},
        "template": {**template, "spec": pod},
    }
    return object_of("batch/v1", "Job", name, labels, spec)


def tf_config(name: str, count: int) -> list[Json]:
    """Returns variables from which kubelet builds each worker's TF_CONFIG."""
    hosts = [f"{name}-{i}.{name}:{PORT}" for i in range(count)]
    cluster = json.dumps({"worker": hosts})
    task = '{"type": "worker", "index": $(TASK_INDEX)}'
    path = f"metadata.annotations['{INDEX}']"
    return [
        {"name": "TASK_INDEX", "valueFrom": {"fieldRef": {"fieldPath": path}}},
        {"name": "TF_CONFIG", "value": f'{{"cluster": {cluster}, "task": {task}}}'},
    ]


def tensorboard(name: str, pod: Json) -> Sequence[Json]:
    """Returns the Deployment and the Service of a TensorBoard."""
    labels = labels_of(name, "tensorboard")
    service = {
        "selector": labels,
        "ports": [{"name": "http", "port": 80, "targetPort": TENSORBOARD_PORT}],
    }
    return (
        deployment(name, labels, pod, replicas=1, strategy={"type": "Recreate"}),
        object_of("v1", "Service", name, labels, service),
    )


def deployment(name: str, labels: dict[str, str], pod: Json, **more: Any) -> Json:
    """Returns a Deployment of a pod; `more` is the rest of its spec."""
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"selector": {"matchLabels": labels}, "template": template, **more}
    return object_of("apps/v1", "Deployment", name, labels, spec)
