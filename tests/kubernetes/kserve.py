"""KServe's controller on the real cluster, for tests that ask.

    kserve         its CRDs, runtime and webhooks; the controller, once a session

The controller is a process of the cluster's machine, in KServe's mode without Knative
and Istio. All objects are those of its module, but images: its own storage initializer
is built by `make images`, and in place of TensorFlow Serving, which no registry here
has, pods run `poets serve` with the same paths, ports and REST.
"""

import base64
import json
import shutil
import subprocess
import sys

import pytest
import yaml

from tools.kubernetes import certificates
from tools.kubernetes.build import source
from tools.kubernetes.components import COMPONENTS
from tools.kubernetes.images import POETS, STORAGE_INITIALIZER
from tools.kubernetes.machine import ADDRESS

PROGRAM = "kserve-manager"
WEBHOOK_PORT = 9443
STOP_TIMEOUT_S = 30
READY = """
import urllib.request
urllib.request.urlopen("http://127.0.0.1:8081/readyz", timeout=5)
"""
KINDS = "inferenceservices", "clusterservingruntimes", "clusterstoragecontainers"
SETTINGS = {  # key of KServe's ConfigMap -> what differs from its default
    "deploy": {"defaultDeploymentMode": "Standard"},
    "ingress": {"disableIngressCreation": True},
    "storageInitializer": {"image": STORAGE_INITIALIZER},
}


@pytest.fixture(scope="session")
def kserve(kubernetes, tmp_path_factory, wait_until):
    """The cluster with KServe in it; its controller ends after the session."""
    module = source(COMPONENTS[PROGRAM])
    config = module / "config"
    crds = tmp_path_factory.mktemp("kserve") / "crd"
    shutil.copytree(config / "crd", crds)
    kubernetes.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(crds))
    crds = [f"crd/{kind}.serving.kserve.io" for kind in KINDS]
    wait = ["kubectl", "wait", "--for=condition=Established", *crds, "--timeout=60s"]

    def kinds_are_known():  # kubectl refuses to wait for what has no status yet
        return kubernetes.run(*wait).returncode == 0

    wait_until(kinds_are_known, 60, 0.5)
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "kserve"},
    }
    things = [namespace, _settings(config), _storage_container(config)]
    things.append(_runtime(config))
    _apply(kubernetes, things)
    process = _start(kubernetes, tmp_path_factory.mktemp("kserve"), wait_until)
    hooks = _webhooks(config, kubernetes.folder / "pki" / "ca.pem")
    _apply(kubernetes, hooks)
    yield kubernetes
    for hook in hooks:  # they would refuse what comes after the controller
        kubernetes.kubectl("delete", hook["kind"], hook["metadata"]["name"])
    process.terminate()
    process.wait(STOP_TIMEOUT_S)


def _apply(cluster, things):
    listed = {"apiVersion": "v1", "kind": "List", "items": things}
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(listed))


def _start(cluster, folder, wait_until):
    """Starts the controller and returns once its webhooks answer."""
    certificates.issue(
        cluster.folder / "pki", "kserve", "/CN=kserve", [f"IP:{ADDRESS}"]
    )
    place = folder / "k8s-webhook-server" / "serving-certs"
    place.mkdir(parents=True)
    for name, kind in (("tls.crt", "pem"), ("tls.key", "key")):
        shutil.copy(cluster.folder / "pki" / f"kserve.{kind}", place / name)
    log = folder / "log"
    variables = [f"TMPDIR={folder}", "POD_NAMESPACE=kserve"]
    command = cluster.command("env", *variables, PROGRAM, "--metrics-addr=0")
    with log.open("w") as file:
        process = subprocess.Popen(
            command,
            env=cluster.environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )

    def controller_is_ready():
        assert process.poll() is None, log.read_text()[-3000:]
        return cluster.run(sys.executable, "-c", READY).returncode == 0

    wait_until(controller_is_ready, 120, 0.5)
    return process


def _settings(config):
    (found,) = _read(config / "configmap" / "inferenceservice.yaml")
    for key, changes in SETTINGS.items():
        given = json.loads(found["data"][key])
        found["data"][key] = json.dumps(given | changes)
    del found["data"]["_example"]
    return found


def _storage_container(config):
    (found,) = _read(config / "storagecontainers" / "default.yaml")
    found["spec"]["container"]["image"] = STORAGE_INITIALIZER
    return found


def _runtime(config):
    """Returns KServe's runtime for TensorFlow, with `poets serve` in its container."""
    (found,) = _read(config / "runtimes" / "kserve-tensorflow-serving.yaml")
    (container,) = found["spec"]["containers"]
    assert "--model_base_path=/mnt/models" in container["args"]
    container["image"] = POETS
    container["command"] = ["poets", "serve"]
    container["args"] = ["{{.Name}}=/mnt/models", "--host=0.0.0.0", "--port=8080"]
    container["args"] += ["--grpc_port=9000"]
    return found


def _webhooks(config, authority):
    """Returns the webhooks of InferenceServices and pods, on the machine's address."""
    bundle = base64.b64encode(authority.read_bytes()).decode()
    found = []
    for thing in _read(config / "webhook" / "manifests.yaml"):
        if thing["metadata"]["name"] == "inferenceservice.serving.kserve.io":
            thing["metadata"] = {"name": "inferenceservice.serving.kserve.io"}
            for hook in thing["webhooks"]:
                path = hook["clientConfig"]["service"]["path"]
                url = f"https://{ADDRESS}:{WEBHOOK_PORT}{path}"
                hook["clientConfig"] = {"url": url, "caBundle": bundle}
                hook["admissionReviewVersions"] = ["v1"]
            found.append(thing)
    assert len(found) == 2
    return found


def _read(path):
    return [thing for thing in yaml.safe_load_all(path.read_text()) if thing]
