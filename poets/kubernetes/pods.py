"""Builds the pod of a task from the options.

    service.tf_image, worker.{cpus,mem,disk}  ──> image, resources
    service.job_context                       ──> args: --image_dir=…, --output_graph=…
    service.hdfs, service.security.kerberos   ──> the environment of a DC/OS task
    …kerberos.keytab_secret                   ──> a Secret, mounted as a file

The TensorBoard pod shows a copy of the job's summaries, because TensorBoard can read
neither hdfs:// nor storages that require a Kerberos ticket.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from poets.dcos.environment import FOR_TASKS, scheduler_environment
from poets.dcos.options import Options
from poets.dcos.secrets import KERBEROS
from poets.kubernetes.volumes import Volume, scratch_volume, secret_volume
from poets.storage import scheme_of

CONTAINER = "tensorflow"
"""The container name that the training operator requires."""

PORT = 2222
PORT_NAME = "tfjob-port"

SETTINGS = "poets"
"""An optional ConfigMap of the site, with variables for all pods of the job."""

AWS_SECRET = "aws-creds"
AWS_KEYS = {
    "AWS_ACCESS_KEY_ID": "awsAccessKeyID",
    "AWS_SECRET_ACCESS_KEY": "awsSecretAccessKey",
}
KEYTAB = "keytab"
"""The key of a keytab in its Secret."""

USER = 1000
"""The id of the image's user and group."""

TENSORBOARD_PORT = 6006
MIRROR_MEM_MB = 1024


@dataclass(frozen=True)
class Surroundings:
    """The environment and volumes of every pod of the job.

    Attributes:
      environment: variable -> value.
      secrets: variable -> (name of a Secret, key in it).
      volumes: the volumes other than the pod's own /tmp.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    volumes: tuple[Volume, ...] = ()


def surroundings_of(
    options: Options,
    output: Volume | None,
    places: Iterable[object],
    aws_secret: str = AWS_SECRET,
) -> Surroundings:
    """Returns the environment and volumes for access to some places.

    Args:
      options: of the job.
      output: the volume with the results, if they are in one.
      places: URLs; other objects among them are ignored.
      aws_secret: the Secret with the keys of S3, used if one of the places is there.
    """
    environment = {
        name.removeprefix(FOR_TASKS): value
        for name, value in scheduler_environment(options).items()
        if name.startswith((f"{FOR_TASKS}SECURITY_KERBEROS_", "HDFS_"))
    }
    secrets: dict[str, tuple[str, str]] = {}
    volumes = [output] if output else []
    if name := keytab_secret_of(options):
        volume = secret_volume(name, KEYTAB)
        environment["KRB5_CLIENT_KTNAME"] = f"{volume.mount_path}/{KEYTAB}"
        volumes.append(volume)
    if any(isinstance(place, str) and scheme_of(place) == "s3" for place in places):
        secrets = {name: (aws_secret, key) for name, key in AWS_KEYS.items()}
    return Surroundings(environment, secrets, tuple(volumes))


def keytab_secret_of(options: Options) -> str | None:
    """Returns the name of the keytab's Secret on Kubernetes; None without Kerberos.

    Kubernetes has other rules for names: `tf/__dcos_base64__hdfs_keytab` becomes
    `tf-hdfs-keytab`.
    """
    if not options[f"{KERBEROS}.enabled"]:
        return None
    given = options[f"{KERBEROS}.keytab_secret"].replace("__dcos_base64__", "")
    return object_name(given) or KEYTAB


def object_name(text: str) -> str:
    """Converts a text to a valid Kubernetes name; "" if nothing is left."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def worker_pod(
    image: str,
    flags: list[str],
    resources: Mapping[str, Any],
    around: Surroundings,
    disk_mb: int,
) -> dict[str, Any]:
    """Returns the spec of a worker's pod, with a /tmp of `disk_mb`.

    The image's entry point is `poets retrain`. The resources are both request and
    limit, so that the job uses no more cores and memory than it gets.
    """
    container = {
        "name": CONTAINER,
        "image": image,
        "args": [literal(flag) for flag in flags],
        "ports": [{"name": PORT_NAME, "containerPort": PORT}],
        "resources": {"requests": dict(resources), "limits": dict(resources)},
    }
    return pod_of([container], around, [scratch_volume(disk_mb)])


def tensorboard_pod(
    image: str, summaries_dir: str, cpus: str, mem_mb: int, around: Surroundings
) -> dict[str, Any]:
    """Returns the spec of a pod that shows summaries from any storage."""
    logs = Volume("logs", {"emptyDir": {}}, "/logs")
    copying = {
        "name": "follow",
        "image": image,
        "command": ["poets", "kubernetes", "follow", summaries_dir, logs.mount_path],
        "resources": {
            "requests": {"cpu": "100m", "memory": f"{MIRROR_MEM_MB // 4}Mi"},
            "limits": {"memory": f"{MIRROR_MEM_MB}Mi"},
        },
    }
    amounts = {"cpu": cpus, "memory": f"{mem_mb}Mi"}
    showing = {
        "name": "tensorboard",
        "image": image,
        "command": [
            "tensorboard",
            f"--logdir={logs.mount_path}",
            "--host=0.0.0.0",
            f"--port={TENSORBOARD_PORT}",
        ],
        "ports": [{"name": "http", "containerPort": TENSORBOARD_PORT}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
        "resources": {"requests": amounts, "limits": amounts},
    }
    own = [scratch_volume(1024), logs]
    return {
        **pod_of([copying, showing], around, own),
        "terminationGracePeriodSeconds": 5,
    }


def pod_of(
    containers: list[dict[str, Any]], around: Surroundings, own: Iterable[Volume]
) -> dict[str, Any]:
    """Returns the spec; only the first container gets the surroundings."""
    own = tuple(own)
    for container in containers:
        first = container is containers[0]
        seen = own + around.volumes if first else own
        container["volumeMounts"] = [volume.in_container for volume in seen]
        container["securityContext"] = {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        if first:
            container["envFrom"] = [
                {"configMapRef": {"name": SETTINGS, "optional": True}}
            ]
            container["env"] = _environment(around)
    return {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": containers,
        "volumes": [volume.in_pod for volume in own + around.volumes],
    }


def _environment(around: Surroundings) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "value": literal(value)}
        for name, value in around.environment.items()
    ]
    for name, (secret, key) in around.secrets.items():
        source = {"secretKeyRef": {"name": secret, "key": key}}
        found.append({"name": name, "valueFrom": source})
    return found


def literal(text: str) -> str:
    """Escapes $(NAME), which kubelet would expand."""
    return text.replace("$(", "$$(")
