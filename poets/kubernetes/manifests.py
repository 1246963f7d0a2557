"""Builds the objects of a job as one List for `kubectl apply -f -`.

    options ──> places, flags, resources ──> pods ──> objects ──> List

With `--grid` there is one job per combination; with `service.use_tensorboard`, one
TensorBoard for all of them. If a job could not run, an error lists all reasons.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from poets.config import RetrainConfig
from poets.dcos.context import flags_of
from poets.dcos.environment import as_text
from poets.dcos.options import Options
from poets.dcos.tasks import GPU_WORKER, WORKER, Pod
from poets.errors import ConfigError, PoetsError, format_problems
from poets.flags import FIELDS
from poets.kubernetes.grid import runs
from poets.kubernetes.objects import KINDS, as_list, tensorboard, workers
from poets.kubernetes.pods import (
    object_name,
    surroundings_of,
    tensorboard_pod,
    worker_pod,
)
from poets.kubernetes.volumes import DEFAULT_MOUNT, Volume, is_visible, output_volume
from poets.sweeps.grid import SUMMARIES, Axis

NAME_LENGTH = 40
"""Leaves space for `-worker-<i>` or a combination's number in Kubernetes' 63."""

WITHOUT_COUNTERPART = (
    "parameter_server.count",  # parameter servers would do nothing
    "worker.placement_constraint",
    "parameter_server.placement_constraint",
    "worker.disk_type",
    "gpu_worker.disk_type",
    "service.virtual_network_enabled",
    "service.use_gcs_key_secret",
)


@dataclass(frozen=True)
class Target:
    """Settings that are not in the options file.

    Attributes:
      kind: one of `poets.kubernetes.objects.KINDS`.
      storage: as `--storage`, see `poets.kubernetes.volumes`.
      image: an image that runs `poets retrain`; None takes `service.tf_image`.
      namespace: None leaves it to kubectl.
      grid: flags and values to combine.
    """

    kind: str = KINDS[0]
    storage: str = "none"
    image: str | None = None
    namespace: str | None = None
    grid: tuple[Axis, ...] = ()


def manifests(options: Options, target: Target) -> dict[str, Any]:
    """Returns the objects that run the job, as one List.

    Raises:
      ConfigError: if the job cannot run on Kubernetes with these options.
    """
    kind = _kind_of_workers(options)
    count, disk_mb = (options[f"{kind.section}.{name}"] for name in ("count", "disk"))
    of_kind = "service.gpu_tf_image" if kind is GPU_WORKER else "service.tf_image"
    image = target.image or options[of_kind]
    resources = _resources(options, kind)
    output = result_volume(options, target.storage)
    # What replaces the placeholders.
    shared = options["service.shared_filesystem"]
    log_dir = shared or (output.mount_path if output else None)
    name = job_name(options)
    items: list[dict[str, Any]] = []
    problems: set[str] = set()
    for suffix, args in runs(target.grid, log_dir or ""):
        try:
            config, flags = flags_of(options, log_dir, args)
        except PoetsError as error:
            problems.add(str(error))
            continue
        problems.update(_lost_outputs(options, config, output, count))
        places = [getattr(config, name) for name in FIELDS]
        around = surroundings_of(options, output, places)
        pod = worker_pod(image, flags, resources, around, disk_mb)
        items += workers(target.kind, "-".join((name, *suffix)), count, pod)
    if problems:
        raise ConfigError(format_problems("cannot make the job", sorted(problems)))
    if options["service.use_tensorboard"]:
        summaries = f"{log_dir}/{SUMMARIES}" if target.grid else config.summaries_dir
        pod = tensorboard_pod(
            target.image or options["service.tf_image"],
            summaries,
            as_text(options["tensorboard.cpus"]),
            options["tensorboard.mem"],
            around,
        )
        shown = "tensorboard-hyperparam-sweep" if target.grid else f"{name}-tensorboard"
        items += tensorboard(shown, pod)
    return as_list(items, target.namespace)


def job_name(options: Options) -> str:
    """Returns `service.name` as a valid Kubernetes name (RFC 1035 label)."""
    name = object_name(options["service.name"])[:NAME_LENGTH].rstrip("-")
    return name if name[:1].isalpha() else f"job-{name}".rstrip("-")


def _kind_of_workers(options: Options) -> Pod:
    given = [pod for pod in (WORKER, GPU_WORKER) if options[f"{pod.section}.count"]]
    if len(given) != 1:
        raise ConfigError(
            f"worker.count is {options['worker.count']} and gpu_worker.count is "
            f"{options['gpu_worker.count']}; the workers of a job are all alike on "
            "Kubernetes: set one of the two to 0 and the other to 1 or more"
        )
    return given[0]


def _resources(options: Options, kind: Pod) -> dict[str, str | int]:
    resources: dict[str, str | int] = {
        "cpu": as_text(options[f"{kind.section}.cpus"]),
        "memory": f"{options[f'{kind.section}.mem']}Mi",
        "ephemeral-storage": f"{options[f'{kind.section}.disk']}Mi",
    }
    if kind is GPU_WORKER:
        resources["nvidia.com/gpu"] = options["gpu_worker.gpus"]
    return resources


def result_volume(
    options: Options, storage: str, *, read_only: bool = False
) -> Volume | None:
    """Returns the volume with the results, mounted where the options have them.

    Raises:
      ConfigError: if `storage` is none of the forms of `poets.kubernetes.volumes`.
    """
    shared = options["service.shared_filesystem"].removeprefix("file://")
    mount_path = shared if shared.startswith("/") else DEFAULT_MOUNT
    return output_volume(storage, mount_path, read_only=read_only)


def _lost_outputs(
    options: Options, config: RetrainConfig, output: Volume | None, workers: int
) -> Iterator[str]:
    """Yields a problem for each output that would not outlive its pod."""
    names = ["output_graph", "output_labels"]
    if workers > 1:
        names.append("bottleneck_dir")
    if options["service.use_tensorboard"]:
        names.append("summaries_dir")
    for name in names:
        place = getattr(config, name)
        if not is_visible(place, output):
            fate = "lost with its pod"
            if name == "bottleneck_dir":
                fate = f"another folder in each of {workers} workers"
            yield (
                f"--{name}={place!r} would be {fate}; give --storage "
                "pvc:NAME, or set service.shared_filesystem to an hdfs:// or s3:// "
                "folder, and put it below <<shared_filesystem>>"
            )
