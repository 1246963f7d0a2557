"""Pods of a real job, killed in each phase: it ends with the same bytes after all."""

import hashlib
import json
import shutil

import pytest

from tests.kubernetes.nodes import run

TUNED = {"architecture": "mobilenet_0.25_128", "fine_tune_steps": 200}
PHASES = {  # phase -> changed flags, text in the chief's log
    "pass": ({}, "bottlenecks: "),
    "head": ({"how_many_training_steps": 20_000}, "Step 1000"),
    "fine-tuning": (TUNED, "fine-tuning step"),
    "publishing": ({}, "Final test accuracy"),
}
RESULTS = ("retrained_graph.pb", "retrained_graph.tflite", "retrained_labels.txt")


def digests(folder):
    return {
        name: hashlib.sha256((folder / "run" / name).read_bytes()).hexdigest()
        for name in RESULTS
    }


@pytest.fixture(scope="session")
def undisturbed():
    """Returns the results of each phase's job, once known, by the phase's flags."""
    return {}


@pytest.fixture
def train(namespace, disk, model_dir, undisturbed):
    """Returns a function that runs a phase's job, disturbed by another function."""
    shutil.copytree(model_dir, disk / "models", dirs_exist_ok=True)
    namespace.own_files()

    def once(flags, kind, disturb):
        run(namespace, kind, **flags)
        disturb()
        good, bad = ("Succeeded" if kind == "tfjob" else "Complete"), "Failed"
        ended = namespace.wait_for(kind, "flowers", good, bad)
        assert ended["type"] == good, ended
        found = digests(disk)
        namespace.kubectl("delete", kind, "flowers", "--wait=true")
        for name in ("run", "bottlenecks"):
            shutil.rmtree(disk / name)
        return found

    def train(phase, kind, disturb):
        flags, text = PHASES[phase]
        key = json.dumps(flags)
        if key not in undisturbed:
            undisturbed[key] = once(flags, kind, lambda: None)

        def disturb_in_phase():
            chief = first_pod(namespace, kind, 0)
            namespace.wait_for_log(chief, text)
            disturb()

        return once(flags, kind, disturb_in_phase), undisturbed[key]

    return train


def first_pod(namespace, kind, index):
    """Returns the name of a worker's pod, once there is one."""
    start = "flowers-worker-" if kind == "tfjob" else "flowers-"
    found = []

    def pod_is_there():
        names = [pod["metadata"]["name"] for pod in namespace.pods("flowers")]
        found.extend(name for name in names if name.startswith(f"{start}{index}"))
        return found

    namespace.wait_until(pod_is_there)
    return found[0]


def delete(namespace, pod):
    namespace.kubectl("delete", "pod", pod, "--wait=false")


def force_delete(namespace, pod):
    namespace.kubectl("delete", "pod", pod, "--force", "--grace-period=0")


def evict(namespace, pod):
    """Evicts a pod, as `kubectl drain` does."""
    wanted = {"name": pod, "namespace": namespace.name}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": wanted}
    url = f"/api/v1/namespaces/{namespace.name}/pods/{pod}/eviction"
    namespace.kubectl("create", "--raw", url, "-f", "-", stdin=json.dumps(eviction))


@pytest.mark.soak
@pytest.mark.parametrize(
    ("phase", "way", "index", "kind"),
    [
        ("pass", delete, 1, "job"),
        ("pass", evict, 0, "job"),
        ("pass", force_delete, 1, "job"),
        ("pass", evict, 1, "tfjob"),
        ("head", delete, 0, "job"),
        ("head", evict, 0, "tfjob"),
        ("publishing", evict, 0, "job"),
        ("publishing", force_delete, 0, "job"),
        ("fine-tuning", delete, 1, "job"),
        ("fine-tuning", evict, 0, "job"),
    ],
)
def test_a_disturbed_job_gives_the_same_bytes(
    namespace, train, phase, way, index, kind
):
    gone = []

    def disturb():
        pod = first_pod(namespace, kind, index)
        gone.append(namespace.get("pod", pod)["metadata"]["uid"])
        way(namespace, pod)
        left = [p for p in namespace.pods("flowers") if p["metadata"]["uid"] in gone]
        assert all(p["metadata"].get("deletionTimestamp") for p in left)

    disturbed, expected = train(phase, kind, disturb)
    assert gone
    assert disturbed == expected
