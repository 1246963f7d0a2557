"""All options of the DC/OS package `beta-tensorflow` 0.2.0-1.5.0-beta, as one table.

The package's own schema allows extra keys, so DC/OS silently ignores misspelt options.
`poets.dcos.validate` finds them with this table.
"""

from dataclasses import dataclass
from typing import Any

PACKAGE_NAME = "beta-tensorflow"
PACKAGE_VERSION = "0.2.0-1.5.0-beta"


@dataclass(frozen=True)
class Option:
    """One option of the package.

    Attributes:
      path: its place in the options file, such as `worker.cpus`.
      kind: `string`, `boolean`, `integer` or `number`.
      default: the default value; None if it has none.
      choices: the allowed values; empty for any.
    """

    path: str
    kind: str
    default: str | bool | int | float | None
    choices: tuple[str, ...] = ()


LOG_LEVELS = ("OFF", "FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE", "ALL")
DISK_TYPES = ("ROOT", "MOUNT")


def _service() -> list[Option]:
    image = "mesosphere/dcos-tensorflow:0.0.3-1.5.0"
    rows: list[tuple[Any, ...]] = [
        ("name", "string", "tensorflow"),
        ("user", "string", "nobody"),
        ("job_url", "string", ""),
        ("job_path", "string", ""),
        ("job_name", "string", ""),
        ("job_context", "string", "{}"),
        ("shared_filesystem", "string", ""),
        ("tf_image", "string", image),
        ("gpu_tf_image", "string", f"{image}-gpu"),
        ("hdfs.config_uri", "string", ""),
        ("gcs_key", "string", ""),
        ("use_gcs_key_secret", "boolean", False),
        ("use_tensorboard", "boolean", False),
        ("region", "string", ""),
        ("service_account", "string", ""),
        ("service_account_secret", "string", ""),
        ("virtual_network_enabled", "boolean", False),
        ("virtual_network_name", "string", "dcos"),
        ("virtual_network_plugin_labels", "string", ""),
        ("mesos_api_version", "string", "V1", ("V0", "V1")),
        ("log_level", "string", "INFO", LOG_LEVELS),
        ("security.kerberos.enabled", "boolean", False),
        ("security.kerberos.debug", "boolean", False),
        ("security.kerberos.primary", "string", "tensorflow"),
        ("security.kerberos.realm", "string", None),
        ("security.kerberos.keytab_secret", "string", None),
        ("security.kerberos.kdc.hostname", "string", None),
        ("security.kerberos.kdc.port", "integer", None),
    ]
    return [Option(f"service.{name}", *row) for name, *row in rows]


def _pod(section: str, count: int) -> list[Option]:
    return [
        Option(f"{section}.count", "integer", count),
        Option(f"{section}.cpus", "number", 1.0),
        Option(f"{section}.mem", "integer", 4096),
        Option(f"{section}.disk", "integer", 4096),
        Option(f"{section}.disk_type", "string", "ROOT", DISK_TYPES),
    ]


SCHEMA: dict[str, Option] = {
    option.path: option
    for option in [
        *_service(),
        *_pod("parameter_server", 2),
        Option("parameter_server.port", "integer", 2223),
        Option("parameter_server.placement_constraint", "string", "[]"),
        *_pod("worker", 3),
        Option("worker.port", "integer", 2222),
        Option("worker.placement_constraint", "string", "[]"),
        *_pod("gpu_worker", 0),
        Option("gpu_worker.gpus", "integer", 1),
        Option("tensorboard.port", "integer", 6006),
        Option("tensorboard.cpus", "number", 1.0),
        Option("tensorboard.mem", "integer", 4096),
    ]
}
"""Path -> option."""
