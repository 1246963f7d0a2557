"""Derives the environment of the package's scheduler and tasks from the options.

    options ──> scheduler_environment ──> task_environment ──> os.environ of the hook

Marathon starts the scheduler with variables made from the options. The scheduler passes
most of them on to the tasks, and removes the prefix TASKCFG_ALL_ from their names.
"""

import json
from collections.abc import Mapping

from poets.dcos.options import Options
from poets.dcos.schema import PACKAGE_NAME, PACKAGE_VERSION
from poets.dcos.tasks import GPU_WORKER, Task

FOR_TASKS = "TASKCFG_ALL_"

CLUSTER = "POETS_CLUSTER"
"""Our own variable for `task.py`: JSON of cluster, job_name, task_index and gpus."""

_ALWAYS = {
    "FRAMEWORK_NAME": "service.name",
    "FRAMEWORK_LOG_LEVEL": "service.log_level",
    "FRAMEWORK_USER": "service.user",
    "FRAMEWORK_PRINCIPAL": "service.service_account",
    "TF_IMAGE": "service.tf_image",
    "GPU_TF_IMAGE": "service.gpu_tf_image",
    "JOB_URL": "service.job_url",
    "JOB_PATH": "service.job_path",
    "JOB_NAME": "service.job_name",
    "JOB_CONTEXT": "service.job_context",
    "SHARED_FILESYSTEM": "service.shared_filesystem",
    "GCS_KEY": "service.gcs_key",
    "MESOS_API_VERSION": "service.mesos_api_version",
}
_IF_SET = {
    "USE_GCS_KEY": "service.use_gcs_key_secret",
    "USE_TENSORBOARD": "service.use_tensorboard",
    "SERVICE_REGION": "service.region",
}
_WITH_KERBEROS = {
    "SECURITY_KERBEROS_KEYTAB_SECRET": "keytab_secret",
    f"{FOR_TASKS}SECURITY_KERBEROS_ENABLED": "enabled",
    f"{FOR_TASKS}SECURITY_KERBEROS_PRIMARY": "primary",
    f"{FOR_TASKS}SECURITY_KERBEROS_REALM": "realm",
    f"{FOR_TASKS}SECURITY_KERBEROS_KDC_HOSTNAME": "kdc.hostname",
    f"{FOR_TASKS}SECURITY_KERBEROS_KDC_PORT": "kdc.port",
}
_RESOURCES = ("COUNT", "CPUS", "MEM", "DISK", "DISK_TYPE")
_SECTIONS = {
    "WORKER": ("worker", (*_RESOURCES, "PLACEMENT", "PORT")),
    "PS": ("parameter_server", (*_RESOURCES, "PLACEMENT", "PORT")),
    "GPU_WORKER": ("gpu_worker", (*_RESOURCES, "GPUS")),
    "TENSORBOARD": ("tensorboard", ("CPUS", "MEM", "PORT")),
}


def scheduler_environment(options: Options) -> dict[str, str]:
    """Returns the variables that Marathon gives the package's scheduler."""
    values: dict[str, object] = {
        "PACKAGE_NAME": PACKAGE_NAME,
        "PACKAGE_VERSION": PACKAGE_VERSION,
    }
    values |= {name: options[path] for name, path in _ALWAYS.items()}
    values |= {name: options[path] for name, path in _IF_SET.items() if options[path]}
    if config_uri := options["service.hdfs.config_uri"]:
        values["HDFS_ENABLED"] = True
        values["HDFS_CORE_SITE_URI"] = f"{config_uri}/core-site.xml"
        values["HDFS_HDFS_SITE_URI"] = f"{config_uri}/hdfs-site.xml"
    if options["service.virtual_network_enabled"]:
        values["ENABLE_VIRTUAL_NETWORK"] = "yes"
        for name in ("virtual_network_name", "virtual_network_plugin_labels"):
            values[name.upper()] = options[f"service.{name}"]
    for prefix, (section, names) in _SECTIONS.items():
        for name in names:
            option = "placement_constraint" if name == "PLACEMENT" else name.lower()
            values[f"{prefix}_{name}"] = options[f"{section}.{option}"]
    kerberos = "service.security.kerberos"
    if options[f"{kerberos}.enabled"]:
        for name, option in _WITH_KERBEROS.items():
            values[name] = options[f"{kerberos}.{option}"]
        if options[f"{kerberos}.debug"]:
            values[f"{FOR_TASKS}SECURITY_KERBEROS_DEBUG"] = True
    return {name: as_text(value) for name, value in values.items() if value is not None}


def task_environment(
    options: Options, task: Task, cluster: Mapping[str, list[str]], sandbox: str
) -> dict[str, str]:
    """Returns the variables of one task; `sandbox` is an absolute path."""
    service = options["service.name"]
    gpus = options["gpu_worker.gpus"] if task.pod is GPU_WORKER else 0
    place = {
        "cluster": cluster,
        "job_name": task.pod.job,
        "task_index": task.index,
        "gpus": gpus,
    }
    inherited = {
        name.removeprefix(FOR_TASKS): value
        for name, value in scheduler_environment(options).items()
    }
    return inherited | {
        "TASK_NAME": f"{task.name}-node",
        "POD_INSTANCE_INDEX": str(task.index),
        "FRAMEWORK_HOST": f"{service}.autoip.dcos.thisdcos.directory",
        "SCHEDULER_API_HOSTNAME": f"api.{service}.marathon.l4lb.thisdcos.directory",
        "MESOS_SANDBOX": sandbox,
        CLUSTER: json.dumps(place),
    }


def as_text(value: object) -> str:
    """Formats a JSON value like the package's template."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
