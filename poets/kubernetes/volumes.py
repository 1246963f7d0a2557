"""Where a pod keeps what must outlive it: a claim, a folder of its node, or nothing.

pvc:disk-retrain        a PersistentVolumeClaim of the namespace
hostpath:/srv/poets     a folder of the node that the image's user may write to
none                    storage is elsewhere: hdfs://, s3://, gs://
"""

import re
from dataclasses import dataclass
from typing import Any

from poets.errors import ConfigError

DEFAULT_MOUNT = "/tf-output"

OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
"""What Kubernetes takes as an object's name (RFC 1123 subdomain)."""


@dataclass(frozen=True)
class Volume:
    """A volume of a pod, and where its container sees it.

    Attributes:
      name: within the pod.
      source: as in a pod's `volumes`, less the name.
      mount_path: the folder in the container.
      read_only: whether the container may not write there.
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


def output_volume(storage: str, mount_path: str = DEFAULT_MOUNT) -> Volume | None:
    """Returns the volume that `--storage` asks for; None for `none`.

    Raises:
      ConfigError: if the text is none of the three forms of this module's head.
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
            f"--storage={storage!r} names no storage; give pvc:NAME for a claim, "
            "hostpath:/FOLDER for a folder of the node, or none"
        )
    return Volume("output", source, mount_path)


def scratch_volume(disk_mb: int) -> Volume:
    """Returns the pod's own /tmp; its root file system is read-only."""
    return Volume("tmp", {"emptyDir": {"sizeLimit": f"{disk_mb}Mi"}}, "/tmp")


def secret_volume(name: str, key: str) -> Volume:
    """Returns one key of a Secret as the file `/secrets/<name>/<key>`.

    Its mode is 0400; where the pod has an fsGroup, as ours, kubelet gives the file to
    root and lets that group read it (0440), or a user other than root could not.
    """
    secret = {
        "secretName": name,
        "defaultMode": 0o400,
        "items": [{"key": key, "path": key}],
    }
    return Volume(name[:63], {"secret": secret}, f"/secrets/{name}", read_only=True)
