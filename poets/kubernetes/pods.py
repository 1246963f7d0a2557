"""One task of the job as a pod, from the options.

    service.tf_image, worker.{cpus,mem,disk}  ──> image, resources
    service.job_context                       ──> args: --image_dir=…, --output_graph=…
    service.hdfs, service.security.kerberos   ──> the environment of a DC/OS task
    …kerberos.keytab_secret                   ──> a Secret, mounted for this pod alone

A pod of TensorBoard's looks at a copy of the job's summaries, since TensorBoard
itself reads neither hdfs:// nor what is kept by a ticket.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from poets.config import RetrainConfig
from poets.dcos.environment import FOR_TASKS, scheduler_environment
from poets.dcos.options import Options
from poets.dcos.secrets import KERBEROS
from poets.flags import FIELDS
from poets.kubernetes.volumes import Volume, scratch_volume, secret_volume
from poets.storage import scheme_of

CONTAINER = "tensorflow"
"""The name by which the training operator knows the container of the job."""

PORT = 2222
PORT_NAME = "tfjob-port"

SETTINGS = "poets"
"""A ConfigMap that a site may have, with variables for every pod of the job."""

AWS_SECRET = "aws-creds"
AWS_KEYS = {
    "AWS_ACCESS_KEY_ID": "awsAccessKeyID",
    "AWS_SECRET_ACCESS_KEY": "awsSecretAccessKey",
}
KEYTAB = "keytab"
"""The key of a keytab in its Secret."""

USER = 1000
"""Of the image's user and group."""

TENSORBOARD_PORT = 6006
MIRROR_MEM_MB = 1024


@dataclass(frozen=True)
class Surroundings:
    """What every pod of the job sees of the world.

    Attributes:
      environment: variable -> value.
      secrets: variable -> (name of a Secret, key in it).
      volumes: beside the pod's own /tmp.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    volumes: tuple[Volume, ...] = ()


def surroundings_of(
    options: Options, output: Volume | None, config: RetrainConfig
) -> Surroundings:
    """Returns what the pods of a job need to reach its images and its results."""
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
    places = [getattr(config, name) for name in FIELDS]
    if any(isinstance(place, str) and scheme_of(place) == "s3" for place in places):
        secrets = {name: (AWS_SECRET, key) for name, key in AWS_KEYS.items()}
    return Surroundings(environment, secrets, tuple(volumes))


def keytab_secret_of(options: Options) -> str | None:
    """Returns the Secret that stands for the options' keytab secret.

    Kubernetes has other rules for names: `tf/__dcos_base64__hdfs_keytab` is
    `tf-hdfs-keytab` here.
    """
    if not options[f"{KERBEROS}.enabled"]:
        return None
    given = options[f"{KERBEROS}.keytab_secret"].replace("__dcos_base64__", "")
    return object_name(given) or KEYTAB


def object_name(text: str) -> str:
    """Returns a text as Kubernetes takes it for a name; "" if nothing is left."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def worker_pod(
    image: str,
    flags: list[str],
    resources: Mapping[str, Any],
    around: Surroundings,
    disk_mb: int,
) -> dict[str, Any]:
    """Returns the spec of a pod that takes part in the job.

    Args:
      image: its entry point retrains, with the flags as its arguments.
      flags: as on the command line.
      resources: name -> amount, both requested and the limit, so that the job counts
        no more cores and memory as its own than it gets.
      around: what it sees of the world.
      disk_mb: size of its /tmp.
    """
    container = {
        "name": CONTAINER,
        "image": image,
        "args": [_literal(flag) for flag in flags],
        "ports": [{"name": PORT_NAME, "containerPort": PORT}],
        "resources": {"requests": dict(resources), "limits": dict(resources)},
    }
    return _pod([container], around, [scratch_volume(disk_mb)])


def tensorboard_pod(
    image: str, summaries_dir: str, cpus: str, mem_mb: int, around: Surroundings
) -> dict[str, Any]:
    """Returns the spec of a pod that shows the summaries, wherever they are."""
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
    return {**_pod([copying, showing], around, own), "terminationGracePeriodSeconds": 5}


def _pod(
    containers: list[dict[str, Any]], around: Surroundings, own: Iterable[Volume]
) -> dict[str, Any]:
    """Returns the spec; what the surroundings hold is for the first container alone."""
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
    return [
        *(
            {"name": name, "value": _literal(value)}
            for name, value in around.environment.items()
        ),
        *(
            {
                "name": name,
                "valueFrom": {"secretKeyRef": {"name": secret, "key": key}},
            }
            for name, (secret, key) in around.secrets.items()
        ),
    ]


def _literal(text: str) -> str:
    """Returns a text that kubelet leaves as it is: it would expand $(NAME)."""
    return text.replace("$(", "$$(")
