"""What a real control plane, kubelet and our image make of what poets prints."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from poets.dcos.options import flatten
from poets.kubernetes.manifests import Target, manifests
from poets.kubernetes.pods import USER
from poets.kubernetes.serving import Serving, serving
from tests.kubernetes.nodes import CLAIM
from tools.kubernetes.cluster import ClusterError
from tools.kubernetes.images import POETS

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (DEPLOY / "overlays").iterdir())
STORAGE = f"pvc:{CLAIM}"
STEPS = 200


@pytest.fixture(scope="session")
def flowers(tmp_path_factory, labelled_folder):
    """Pictures that one worker computes for some seconds."""
    counts = {"daisy": 300, "roses": 300, "tulips": 300}
    return labelled_folder(tmp_path_factory.mktemp("flowers"), counts, size_px=160)


@pytest.fixture
def disk(namespace, flowers):
    """The namespace's folder with the pictures in it."""
    shutil.copytree(flowers, namespace.folder / "images")
    subprocess.run(
        ["chown", "-R", f"{USER}:{USER}", namespace.folder], check=True, timeout=60
    )
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


def test_a_job_trains_and_its_model_is_served(namespace, disk, flowers):
    """In a namespace that takes pods by the restricted standard only."""
    run(namespace)
    assert namespace.wait_for("job", "flowers", "Complete", "Failed")["type"] == (
        "Complete"
    )
    metrics = json.loads((disk / "run" / "metrics.json").read_text())
    assert metrics["accuracy"]["test"]["accuracy"] > 0.6

    wanted = Serving("/tf-output/run", "flowers", POETS, cpus="500m", mem_mb=1500)
    around, volume = _on_claim()
    namespace.apply(serving("deployment", wanted, around, volume))
    namespace.wait_for("deployment", "flowers", "Available")
    picture = next((flowers / "roses").iterdir()).read_bytes()
    path = "/v1/models/flowers:classify"
    answer = json.loads(namespace.ask("flowers:http", path, picture))
    labels = {label for label, _ in answer["results"][0]}
    assert labels == {"daisy", "roses", "tulips"}
    assert '"live":true' in namespace.ask("flowers:http", "/v2/health/live")


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
