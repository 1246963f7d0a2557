"""Builds the volumes of a pod: results in a claim or a folder of the node, and secrets.

pvc:disk-retrain        a PersistentVolumeClaim of the namespace
hostpath:/srv/poets     a folder of the node that the image's user may write to
none                    storage is elsewhere: hdfs://, s3://, gs://
"""

import posixpath
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from poets.errors import ConfigError

DEFAULT_MOUNT = "/tf-output"

OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
"""A valid name of a Kubernetes object (RFC 1123 subdomain)."""


@dataclass(frozen=True)
class Volume:
    """A volume of a pod, and its mount point in the container.

    Attributes:
      name: its name within the pod.
      source: its entry in the pod's `volumes`, without the name.
      mount_path: the folder in the container.
      read_only: whether it is mounted read-only.
    """

    name: str
    source: dict[str, Any]
    mount_path: str
    read_only: bool = False

    @property
    def in_pod(self) -> dict[str, Any]:
        """The entry of the pod's `volumes`."""
        return {"name": self.name, **self.source}

    @property
    def in_container(self) -> dict[str, Any]:
        """The entry of the container's `volumeMounts`."""
        mount = {"name": self.name, "mountPath": self.mount_path}
        return {**mount, "readOnly": True} if self.read_only else mount


def output_volume(
    storage: str, mount_path: str = DEFAULT_MOUNT, *, read_only: bool = False
) -> Volume | None:
    """Returns the volume that `--storage` asks for; None for `none`.

    Raises:
      ConfigError: if the text is none of the three forms in the module docstring.
    """
    kind, _, value = storage.partition(":")
    if storage == "none":
        return None
    if kind == "pvc" and OBJECT_NAME.fullmatch(value):
        source: dict[str, Any] = {"persistentVolumeClaim": {"claimName": value}}
    elif kind == "hostpath" and value.startswith("/"):
        source = {"hostPath": {"path": value, "type": "Directory"}}
    else:
        raise ConfigError(
            f"--storage={storage!r} is not a storage; give pvc:NAME for a claim, "
            "hostpath:/FOLDER for a folder of the node, or none"
        )
    return Volume("output", source, mount_path, read_only)


def is_visible(url: str, volume: Volume | None) -> bool:
    """Returns whether a place is the same for all pods: far away, or in the volume."""
    local = url.removeprefix("file://")
    if "://" in local or volume is None:
        return "://" in local
    return PurePosixPath(posixpath.normpath(local)).is_relative_to(volume.mount_path)


def scratch_volume(disk_mb: int) -> Volume:
    """Returns the pod's /tmp, because its root file system is read-only."""
    return Volume("tmp", {"emptyDir": {"sizeLimit": f"{disk_mb}Mi"}}, "/tmp")


def secret_volume(name: str, key: str) -> Volume:
    """Returns one key of a Secret as the file `/secrets/<name>/<key>`.

    Its mode is 0400. If the pod has an fsGroup, as ours does, kubelet makes the file
    readable for that group (0440), because it belongs to root.
    """
    secret = {
        "secretName": name,
        "defaultMode": 0o400,
        "items": [{"key": key, "path": key}],
    }
    return Volume(name[:63], {"secret": secret}, f"/secrets/{name}", read_only=True)
