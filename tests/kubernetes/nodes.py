"""A real cluster on this machine, for tests: control plane, kubelet, our image.

    kubernetes     the cluster, once a session; skipped where `make kubernetes` and
                   `make images` have not been run
    namespace      an empty namespace of a test's own, which takes restricted pods only
    disk           its folder, with drawn pictures in it

A claim in a namespace is a folder of this machine, so tests see the results. A cluster
that was running before the tests runs on after them.
"""

import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from poets.dcos.options import flatten
from poets.kubernetes.manifests import Target, manifests
from poets.kubernetes.pods import USER
from tools.hdfs.folder import locked
from tools.kubernetes.build import CACHE, missing
from tools.kubernetes.cluster import Cluster
from tools.kubernetes.images import CLUSTER_IMAGES, POETS, Images

CLAIM = "disk"
STORAGE = f"pvc:{CLAIM}"
STEPS = 200
TIMEOUT_S = 600


class Namespace:
    """A namespace of the cluster, and a folder of this machine as a claim in it.

    Attributes:
      name: of the namespace.
      folder: the folder behind the claim `disk`.
    """

    def __init__(self, cluster, name, folder, wait_until):
        self.name = name
        self.folder = folder
        self.cluster = cluster
        self.wait_until = wait_until

    def kubectl(self, *words, **options):
        """Runs kubectl in the namespace and returns its output."""
        return self.cluster.kubectl(*words, "-n", self.name, **options)

    def apply(self, thing):
        """Applies an object, a List or a text; unknown fields are refused."""
        text = thing if isinstance(thing, str) else json.dumps(thing)
        return self.kubectl("apply", "--validate=strict", "-f", "-", stdin=text)

    def add_volume(self, claim, size="1Gi"):
        """Makes the folder the volume of a claim, which may come later."""
        spec = {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "hostPath": {"path": str(self.folder), "type": "Directory"},
            "claimRef": {"namespace": self.name, "name": claim},
        }
        metadata = {"name": f"{self.name}-{claim}", "labels": {"of": self.name}}
        kind = "PersistentVolume"
        volume = {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}
        self.apply(volume)

    def own_files(self):
        """Gives all files of the folder to the user of our pods."""
        owner = f"{USER}:{USER}"
        subprocess.run(["chown", "-R", owner, self.folder], check=True, timeout=60)

    def get(self, *words):
        """Returns objects as `kubectl get` prints them."""
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def pods(self, job):
        """Returns the pods of a job, the first worker first."""
        selector = f"app.kubernetes.io/instance={job}"
        pods = self.get("pods", "-l", selector)["items"]
        return sorted(pods, key=lambda pod: pod["metadata"]["name"])

    def conditions(self, kind, name):
        """Returns the conditions that are true, by their type."""
        status = self.get(kind, name).get("status", {})
        return {
            condition["type"]: condition
            for condition in status.get("conditions", [])
            if condition["status"] == "True"
        }

    def wait_for(self, kind, name, *types, timeout_s=TIMEOUT_S):
        """Returns the first of some conditions of an object to become true."""
        found = {}

        def one_is_true():
            conditions = self.conditions(kind, name)
            found.update({t: conditions[t] for t in types if t in conditions})
            return found

        one_is_true.__name__ = f"{' or '.join(types)} of {kind} {name}"
        self.wait_until(one_is_true, timeout_s, 0.5)
        if "Failed" in found:  # pytest shows it if the test expected success
            for pod in self.get("pods")["items"]:
                print(pod["metadata"]["name"], self.log(pod["metadata"]["name"]))
        return next(iter(found.values()))

    def log(self, pod):
        """Returns the log of a pod; "" before it has one."""
        done = self.cluster.run("kubectl", "logs", pod, "-n", self.name)
        return done.stdout if done.returncode == 0 else ""

    def wait_for_log(self, pod, text, timeout_s=TIMEOUT_S):
        """Waits until the log of a pod has a text."""

        def log_has_it():
            return text in self.log(pod)

        log_has_it.__name__ = f"{text!r} in the log of {pod}"
        self.wait_until(log_has_it, timeout_s, 0.2)

    def ask(self, service, path, body=None):
        """Returns what a Service answers, as `flowers:http`; with a body, by POST."""
        url = f"/api/v1/namespaces/{self.name}/services/{service}/proxy{path}"
        if body is None:
            return self.kubectl("get", "--raw", url)
        file = self.folder / f"body-{uuid.uuid4().hex}"
        file.write_bytes(body)
        return self.kubectl("create", "--raw", url, "-f", str(file))


@pytest.fixture(scope="session")
def kubernetes(require):
    """The cluster, with the images and the add-ons, running."""
    stored = Images()
    built = os.geteuid() == 0 and not missing()
    built = built and all(stored.archive(tag).exists() for tag in CLUSTER_IMAGES)
    require("kubernetes", built)
    require("kubernetes-image", stored.is_current())  # else run `make images`
    folder = CACHE.resolve() / "cluster"
    cluster = Cluster(folder)
    with locked(folder):
        ran = cluster.init is not None
        cluster.start()
        for tag in CLUSTER_IMAGES:
            cluster.load(stored.archive(tag))
        cluster.install_addons()
        yield cluster
        if not ran:
            cluster.stop()


@pytest.fixture
def namespace(kubernetes, tmp_path_factory, wait_until):
    """An empty namespace; it and its folder are removed after the test."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    folder = Path("/var/tmp") / f"poets-{name}"
    folder.mkdir()
    os.chown(folder, USER, USER)
    made = Namespace(kubernetes, name, folder, wait_until)
    for thing in _objects(name):
        kubernetes.kubectl("apply", "-f", "-", stdin=json.dumps(thing))
    made.add_volume(CLAIM)
    yield made
    kubernetes.kubectl("delete", "namespace", name)  # waits for the last pod
    kubernetes.kubectl("delete", "pv", "-l", f"of={name}", "--wait=false")
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def flowers(tmp_path_factory, labelled_folder):
    """Pictures that one worker computes for some seconds."""
    counts = {"daisy": 300, "roses": 300, "tulips": 300}
    return labelled_folder(tmp_path_factory.mktemp("flowers"), counts, size_px=160)


@pytest.fixture
def disk(namespace, flowers):
    """The namespace's folder with the pictures in it."""
    shutil.copytree(flowers, namespace.folder / "images")
    namespace.own_files()
    return namespace.folder


def job_of(name="flowers", workers=2, mem_mb=1500, **flags):
    """Returns an options file of a job on the claim."""
    below = "<<shared_filesystem>>"
    args = {
        "--image_dir": f"{below}/images",
        "--architecture": "scattering_128",
        "--how_many_training_steps": STEPS,
        "--bottleneck_dir": f"{below}/bottlenecks",
        "--model_dir": f"{below}/models",
        "--output_graph": f"{below}/run/retrained_graph.pb",
        "--output_labels": f"{below}/run/retrained_labels.txt",
        "--saved_model_dir": f"{below}/run/saved_model/1",
        "--summaries_dir": f"{below}/run/training_summaries",
        "--checkpoint_path": f"{below}/run/checkpoint",
        **{f"--{flag}": value for flag, value in flags.items()},
    }
    service = {
        "name": name,
        "job_name": "poets",
        "job_context": json.dumps({"args": args}),
        "tf_image": POETS,
    }
    worker = {"count": workers, "cpus": 0.5, "mem": mem_mb, "disk": 1024}
    others = {"parameter_server": {"count": 0}, "gpu_worker": {"count": 0}}
    return flatten({"service": service, "worker": worker, **others})


def run(namespace, kind="job", **settings):
    namespace.apply(manifests(job_of(**settings), Target(kind, STORAGE)))


def _objects(name):
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    claim = {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "1Gi"}},
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": labels},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"namespace": name, "name": CLAIM},
            "spec": claim,
        },
    ]
