"""Pods of a real job, killed in each phase: it ends with the same bytes after all."""

import hashlib
import json
import shutil

import pytest

from tests.kubernetes.nodes import run

TUNED = {"architecture": "mobilenet_0.25_128", "fine_tune_steps": 200}
PHASES = {  # phase -> changed flags, text in the chief's log
    "pass": ({}, "the workers of this job meet in"),
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

    def a_part_is_stored():
        return any((disk / "bottlenecks").rglob("part-*.parquet"))

    def once(flags, disturb):
        run(namespace, **flags)
        disturb()
        ended = namespace.wait_for("job", "flowers", "Complete", "Failed")
        assert ended["type"] == "Complete", ended
        found = digests(disk)
        namespace.kubectl("delete", "job", "flowers", "--wait=true")
        for name in ("run", "bottlenecks"):
            shutil.rmtree(disk / name)
        return found

    def train(phase, disturb):
        flags, text = PHASES[phase]
        key = json.dumps(flags)
        if key not in undisturbed:
            undisturbed[key] = once(flags, lambda: None)

        def disturb_in_phase():
            chief = worker(namespace, 0)
            namespace.wait_for_log(chief, text)
            namespace.wait_until(a_part_is_stored, poll_s=0.05)
            disturb()

        return once(flags, disturb_in_phase), undisturbed[key]

    return train


def worker(namespace, index):
    """Returns the name of a worker's pod, once there is one."""
    found = []

    def pod_is_there():
        names = [pod["metadata"]["name"] for pod in namespace.pods("flowers")]
        found.extend(name for name in names if name.startswith(f"flowers-{index}"))
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
    ("phase", "way", "index"),
    [
        ("pass", delete, 1),
        ("pass", evict, 0),
        ("pass", force_delete, 1),
        ("head", delete, 0),
        ("publishing", evict, 0),
        ("publishing", force_delete, 0),
        ("fine-tuning", delete, 1),
        ("fine-tuning", evict, 0),
    ],
)
def test_a_disturbed_job_gives_the_same_bytes(namespace, train, phase, way, index):
    gone = []

    def disturb():
        pod = worker(namespace, index)
        gone.append(namespace.get("pod", pod)["metadata"]["uid"])
        way(namespace, pod)
        left = [p for p in namespace.pods("flowers") if p["metadata"]["uid"] in gone]
        assert all(p["metadata"].get("deletionTimestamp") for p in left)

    disturbed, expected = train(phase, disturb)
    assert gone
    assert disturbed == expected
