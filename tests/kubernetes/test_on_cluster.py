"""What a real control plane, kubelet and our image make of what poets prints."""

import json
from pathlib import Path

import pytest

from poets.kubernetes.manifests import Target, manifests
from poets.kubernetes.serving import Serving, serving
from tests.kubernetes.nodes import STORAGE, job_of, run
from tools.kubernetes.cluster import ClusterError
from tools.kubernetes.images import POETS

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (DEPLOY / "overlays").iterdir())


def test_a_job_trains_and_its_model_is_served(namespace, disk, flowers):
    """In a namespace that takes pods by the restricted standard only."""
    run(namespace)
    assert namespace.wait_for("job", "flowers", "Complete", "Failed")["type"] == (
        "Complete"
    )
    metrics = json.loads((disk / "run" / "metrics.json").read_text())
    assert metrics["accuracy"]["test"]["accuracy"] > 0.6

    wanted = Serving("/tf-output/run", "model", POETS, cpus="500m", mem_mb=1500)
    around, volume = _on_claim()
    namespace.apply(serving("deployment", wanted, around, volume))
    namespace.wait_for("deployment", "model", "Available")
    picture = next((flowers / "roses").iterdir()).read_bytes()
    path = "/v1/models/model:classify"
    answer = json.loads(namespace.ask("model:http", path, picture))
    labels = {label for label, _ in answer["results"][0]}
    assert labels == {"daisy", "roses", "tulips"}
    assert '"live":true' in namespace.ask("model:http", "/v2/health/live")


def _on_claim():
    from poets.kubernetes.pods import Surroundings
    from poets.kubernetes.volumes import output_volume

    volume = output_volume(STORAGE, read_only=True)
    return Surroundings(volumes=(volume,)), volume


def test_the_users_mistake_fails_the_job_at_once_and_leaves_nothing(namespace, disk):
    before = sorted(path.name for path in disk.iterdir())
    run(namespace, workers=1, image_dir="<<shared_filesystem>>/imags")
    failed = namespace.wait_for("job", "flowers", "Complete", "Failed")
    assert (failed["type"], failed["reason"]) == ("Failed", "PodFailurePolicy")
    assert "exit code 2" in failed["message"]
    assert len(namespace.pods("flowers")) == 1
    assert sorted(path.name for path in disk.iterdir()) == before


def test_a_job_that_does_not_fit_into_its_memory_fails_at_once(namespace, disk):
    run(namespace, workers=1, mem_mb=100)
    failed = namespace.wait_for("job", "flowers", "Complete", "Failed")
    assert (failed["type"], failed["reason"]) == ("Failed", "PodFailurePolicy")
    (pod,) = namespace.pods("flowers")
    (status,) = pod["status"]["containerStatuses"]
    assert status["state"]["terminated"]["reason"] == "OOMKilled"


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_api_server_takes_every_overlay(kubernetes, name):
    words = ["apply", "--dry-run=server", "--validate=strict"]
    said = kubernetes.kubectl(*words, "-k", str(DEPLOY / "overlays" / name))
    assert "unchanged" not in said
    assert "server dry run" in said


def test_a_misspelt_field_is_refused(namespace):
    printed = manifests(job_of(), Target("job", STORAGE))
    _, job = printed["items"]
    job["spec"]["template"]["spec"]["containers"][0]["imagePulPolicy"] = "Never"
    with pytest.raises(ClusterError, match="unknown field .*imagePulPolicy"):
        namespace.apply(printed)
