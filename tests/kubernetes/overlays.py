"""Overlays of deploy/kubernetes on the real cluster, for tests that ask.

overlay        applies one with the settings of this machine
"""

import json
import shutil
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
SMALL = {"ARCHITECTURE": "scattering_128", "TRAINING_STEPS": "100"}
AMOUNTS = {"cpu": "250m", "memory": "1500Mi"}
POD = "/spec/template/spec"
TFJOB_POD = "/spec/tfReplicaSpecs/Worker/template/spec"


@pytest.fixture
def overlay(namespace, tmp_path):
    """Returns a function that applies an overlay with the settings of this machine.

    It makes an overlay of its own, as docs/kubernetes.md shows: other places, workers
    that fit into two cores. `files` are texts by their paths below deploy/kubernetes.
    """

    def apply(name, settings, patches=(), components=(), files=()):
        tree = tmp_path / "kubernetes"
        if not tree.exists():
            shutil.copytree(DEPLOY, tree)
        for path, text in dict(files).items():
            (tree / path).write_text(text)
        folder = tree / "overlays" / "own"
        folder.mkdir(exist_ok=True)
        literals = [f"{key}={value}" for key, value in (SMALL | settings).items()]
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [f"../{name}"],
            "components": [f"../../{part}" for part in components],
            "generatorOptions": {"disableNameSuffixHash": True},
            "configMapGenerator": [
                {"name": "poets", "behavior": "merge", "literals": literals}
            ],
            "patches": [
                *patches,
                replaced("Job", f"{POD}/containers/0/resources", AMOUNTS),
                replaced("TFJob", f"{TFJOB_POD}/containers/0/resources", AMOUNTS),
            ],
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        namespace.kubectl("apply", "--validate=strict", "-k", str(folder))

    return apply


def replaced(kind, path, value):
    """Returns a patch; `value` replaces both requests and limits of resources."""
    if path.endswith("resources"):
        value = {"requests": value, "limits": value}
    operation = {"op": "replace", "path": path, "value": value}
    return {"target": {"kind": kind}, "patch": json.dumps([operation])}


def ended(namespace, kind):
    """Returns how the job of an overlay ended."""
    if kind == "tfjob":
        names = ("tfjob-retrain", "Succeeded", "Failed")
    else:
        names = ("retrain", "Complete", "Failed")
    return namespace.wait_for(kind, *names)["type"]
