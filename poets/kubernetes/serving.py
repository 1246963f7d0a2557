"""Builds the objects that serve a trained model in the cluster, as one List.

    deployment        Deployment and Service of `poets serve`; with `max_replicas`, a
                      HorizontalPodAutoscaler, which requires a metrics server
    inferenceservice  KServe's InferenceService: TensorFlow Serving on the SavedModel,
                      which KServe copies from the storage

A server reads its model from any storage, as the user and with the settings of the job
that an options file describes.
"""

import posixpath
from dataclasses import dataclass
from urllib.parse import urlsplit

from poets.errors import ConfigError
from poets.kubernetes.objects import Json, as_list, deployment, labels_of, object_of
from poets.kubernetes.pods import AWS_SECRET, Surroundings, literal, pod_of
from poets.kubernetes.volumes import Volume, is_visible, scratch_volume
from poets.storage import scheme_of

KINDS = ("deployment", "inferenceservice")
HTTP_PORT = 8501
GRPC_PORT = 8500
SCRATCH_MB = 2048
"""A model from another storage and pictures from URLs are copied to /tmp."""
HDFS_SECRET = "hdfscreds"
TARGET_CPU_PERCENTAGE = 75
STARTUP_S = 300


@dataclass(frozen=True)
class Serving:
    """A model server.

    Attributes:
      results: the model: a results folder, a file or a folder of versions.
      name: of the model and of all objects.
      image: an image that contains poets.
      replicas: pods; with `max_replicas`, the fewest.
      max_replicas: the most pods; None for a fixed number.
      cpus, mem_mb: of each pod, as request and as limit.
      service_type: of the Service.
      namespace: None leaves it to kubectl.
      aws_secret: the Secret with the keys of S3.
    """

    results: str
    name: str
    image: str
    replicas: int = 1
    max_replicas: int | None = None
    cpus: str = "1"
    mem_mb: int = 2048
    service_type: str = "ClusterIP"
    namespace: str | None = None
    aws_secret: str = AWS_SECRET


def serving(
    kind: str, wanted: Serving, around: Surroundings, volume: Volume | None
) -> Json:
    """Returns the objects of a model server of one of KINDS.

    Raises:
      ConfigError: if the pods could not see the results, in the volume or elsewhere.
    """
    if not is_visible(wanted.results, volume):
        found = "there is no volume"
        if volume:
            found = f"the volume is at {volume.mount_path!r}"
        raise ConfigError(
            f"pods cannot see {wanted.results!r}: {found}; give --storage pvc:NAME and "
            "a path below its folder, or results on hdfs://, s3:// or gs://"
        )
    make = _deployment if kind == "deployment" else _inference_service
    return as_list(make(wanted, around, volume), wanted.namespace)


def _deployment(wanted: Serving, around: Surroundings, _: Volume | None) -> list[Json]:
    labels = labels_of(wanted.name, "server")
    # The old pods answer until the new ones have loaded the model.
    more: Json = {"strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}}
    if not wanted.max_replicas:  # else each `kubectl apply` would reset their number
        more["replicas"] = wanted.replicas
    ports = {"http": HTTP_PORT, "grpc": GRPC_PORT}
    service = {
        "type": wanted.service_type,
        "selector": labels,
        "ports": [
            {"name": name, "port": port, "targetPort": name}
            for name, port in ports.items()
        ],
    }
    items = [
        deployment(wanted.name, labels, _pod(wanted, around), **more),
        object_of("v1", "Service", wanted.name, labels, service),
    ]
    if wanted.max_replicas:
        items.append(_autoscaler(wanted, labels))
    return items


def _pod(wanted: Serving, around: Surroundings) -> Json:
    amounts = _amounts(wanted)

    def probe(path: str, period_s: int, failures: int) -> Json:
        return {
            "httpGet": {"path": f"/v2/health/{path}", "port": "http"},
            "periodSeconds": period_s,
            "timeoutSeconds": 5,
            "failureThreshold": failures,
        }

    server = {
        "name": "server",
        "image": wanted.image,
        "command": ["poets", "serve"],
        "args": [literal(f"{wanted.name}={wanted.results}"), "--host=0.0.0.0"],
        "ports": [
            {"name": "http", "containerPort": HTTP_PORT},
            {"name": "grpc", "containerPort": GRPC_PORT},
        ],
        "startupProbe": probe("ready", 2, STARTUP_S // 2),
        "readinessProbe": probe("ready", 5, 2),
        "livenessProbe": probe("live", 10, 3),
        # Until all nodes know that the pod is leaving, they still send requests to it.
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}},
        "resources": {"requests": amounts, "limits": amounts},
    }
    return pod_of([server], around, [scratch_volume(SCRATCH_MB)])


def _autoscaler(wanted: Serving, labels: dict[str, str]) -> Json:
    cpu = {
        "name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": TARGET_CPU_PERCENTAGE},
    }
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": wanted.name}
    spec = {
        "scaleTargetRef": target,
        "minReplicas": wanted.replicas,
        "maxReplicas": wanted.max_replicas,
        "metrics": [{"type": "Resource", "resource": cpu}],
    }
    kind = "HorizontalPodAutoscaler"
    return object_of("autoscaling/v2", kind, wanted.name, labels, spec)


def _inference_service(
    wanted: Serving, around: Surroundings, volume: Volume | None
) -> list[Json]:
    labels = labels_of(wanted.name, "server")
    uri = storage_uri(wanted.results, volume)
    amounts = _amounts(wanted)
    predictor: Json = {
        "minReplicas": wanted.replicas,
        "maxReplicas": wanted.max_replicas or wanted.replicas,
        "model": {
            "modelFormat": {"name": "tensorflow"},
            "storageUri": uri,
            "resources": {"requests": amounts, "limits": amounts},
        },
    }
    items = []
    if secret := kserve_secret(wanted.results, wanted.aws_secret):
        predictor["serviceAccountName"] = wanted.name
        account = object_of("v1", "ServiceAccount", wanted.name, labels)
        items.append({**account, "secrets": [{"name": secret}]})
    api, kind = "serving.kserve.io/v1beta1", "InferenceService"
    return [*items, object_of(api, kind, wanted.name, labels, {"predictor": predictor})]


def kserve_secret(results: str, aws_secret: str = AWS_SECRET) -> str | None:
    """Returns the Secret with which KServe reads a storage; None without one."""
    scheme = scheme_of(results)
    return {"s3": aws_secret, "hdfs": HDFS_SECRET, "webhdfs": HDFS_SECRET}.get(scheme)


def storage_uri(results: str, volume: Volume | None) -> str:
    """Returns KServe's URI of a folder of versions of a SavedModel.

    KServe's `hdfs://` has no authority: the NameNode is in its Secret. TensorFlow
    Serving wants the folder of `1`, `2`, ..., so of `saved_model/1` it is the parent.

    Raises:
      ConfigError: if KServe cannot read the storage.
    """
    parent, _, last = results.rstrip("/").rpartition("/")
    folder = parent if last.isdigit() else results.rstrip("/")
    scheme = scheme_of(results)
    if scheme in ("hdfs", "webhdfs", "swebhdfs"):
        prefix = "hdfs" if scheme == "hdfs" else "webhdfs"
        return f"{prefix}://{urlsplit(folder).path.lstrip('/')}"
    if scheme in ("s3", "gs"):
        return folder
    claim = volume.source.get("persistentVolumeClaim") if volume else None
    if not volume or not claim:
        raise ConfigError(
            f"KServe cannot read {results!r}; give --storage pvc:NAME, or results on "
            "hdfs://, s3:// or gs://"
        )
    path = posixpath.relpath(folder.removeprefix("file://"), volume.mount_path)
    return f"pvc://{claim['claimName']}/{path}"


def _amounts(wanted: Serving) -> Json:
    return {"cpu": wanted.cpus, "memory": f"{wanted.mem_mb}Mi"}
