"""Installs the training operator and Argo Workflows from their projects' manifests.

module of the program ──> DIR/addons/NAME/manifests ──┐
images of our own, what a small cluster lacks ────────┴─> kubectl apply -k
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.kubernetes.build import source
from tools.kubernetes.components import COMPONENTS
from tools.kubernetes.images import tag_of

Json = dict[str, Any]
OPERATOR = "training-operator"
ARGO = "workflow-controller"


def write_addons(folder: Path, cache: Path) -> dict[str, tuple[str, str]]:
    """Writes a kustomization for each add-on.

    Args:
      folder: that of the cluster.
      cache: that of the programs.

    Returns:
      The namespace and the Deployment of each, by the kustomization's folder.
    """
    made = {}
    for program, kustomization, namespace in (
        (OPERATOR, _operator, "kubeflow"),
        (ARGO, _argo, "argo"),
    ):
        place = folder / "addons" / program
        _write(place, kustomization, source(COMPONENTS[program], cache))
        made[str(place)] = (namespace, program)
    return made


def _write(place: Path, kustomization: Callable[[], Json], module: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    # Not by reference: kustomize refuses files above its own folder.
    shutil.copytree(module / "manifests", place / "manifests")
    (place / "kustomization.yaml").write_text(json.dumps(kustomization(), indent=2))


def _operator() -> Json:
    command = ["training-operator", "--enable-scheme=tfjob"]
    changes = [{"op": "replace", "path": f"{CONTAINER}/command", "value": command}]
    return {
        "resources": ["manifests/overlays/standalone"],
        "images": [_image("ghcr.io/kubeflow/training-v1/training-operator", OPERATOR)],
        "patches": [_patch(OPERATOR, changes)],
    }


def _argo() -> Json:
    arguments = ["--executor-image", tag_of("argoexec")]
    changes = [{"op": "replace", "path": f"{CONTAINER}/args", "value": arguments}]
    server = {"apiVersion": "apps/v1", "kind": "Deployment", "$patch": "delete"}
    server["metadata"] = {"name": "argo-server"}  # type: ignore[assignment]
    return {
        "namespace": "argo",
        "resources": ["manifests/cluster-install"],
        "images": [_image("quay.io/argoproj/workflow-controller", ARGO)],
        "patches": [_patch(ARGO, changes), {"patch": json.dumps(server)}],
    }


CONTAINER = "/spec/template/spec/containers/0"


def _image(published: str, program: str) -> Json:
    name, _, version = tag_of(program).rpartition(":")
    return {"name": published, "newName": name, "newTag": version}


def _patch(deployment: str, changes: list[Json]) -> Json:
    target = {"kind": "Deployment", "name": deployment}
    return {"target": target, "patch": json.dumps(changes)}
