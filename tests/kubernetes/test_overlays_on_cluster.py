"""The overlays of deploy/kubernetes, the sweeps and the workflow, with real pods."""

import json

import pytest
import yaml

from poets.dcos.options import read_options
from poets.kubernetes.manifests import Target, manifests
from poets.sweeps.grid import parse_axis
from tests.kubernetes.bucket import ENDPOINT, SETTINGS
from tests.kubernetes.nodes import STORAGE
from tests.kubernetes.overlays import DEPLOY, POD, TFJOB_POD, ended, replaced
from tools.kubernetes.images import POETS

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("kind", ["job", "tfjob"])
def test_the_overlay_with_a_claim_trains_and_tensorboard_shows_it(
    namespace, disk, overlay, kind
):
    namespace.add_volume("disk-retrain", "8Gi")
    overlay(f"{kind}-pvc", {})
    assert ended(namespace, kind) in ("Complete", "Succeeded")
    assert (disk / "retrained_graph.pb").exists()
    namespace.wait_for("deployment", "tensorboard", "Available")

    def runs_are_shown():
        runs = json.loads(namespace.ask("tensorboard:http", "/data/runs"))
        return {"retrain/train", "retrain/validation"} <= set(runs)

    namespace.wait_until(runs_are_shown, 300, 1)


@pytest.mark.parametrize("kind", ["job", "tfjob"])
def test_the_overlay_with_a_folder_of_the_node_trains(namespace, disk, overlay, kind):
    """The restricted standard does not allow such folders."""
    label = "pod-security.kubernetes.io/enforce=privileged"
    namespace.cluster.kubectl("label", "--overwrite", "ns", namespace.name, label)
    place = {"name": "output", "hostPath": {"path": str(disk), "type": "Directory"}}
    patches = [
        replaced("Job", f"{POD}/volumes/1", place),
        replaced("TFJob", f"{TFJOB_POD}/volumes/1", place),
        replaced("Deployment", f"{POD}/volumes/2", place),
    ]
    overlay(f"{kind}-hostpath", {}, patches)
    assert ended(namespace, kind) in ("Complete", "Succeeded")
    assert (disk / "retrained_graph.pb").exists()


@pytest.mark.parametrize("kind", ["job", "tfjob"])
def test_the_overlay_with_s3_trains_with_four_workers(namespace, bucket, overlay, kind):
    places = {"IMAGE_DIR": "s3://photos/images", "OUTPUT_DIR": "s3://photos/models"}
    overlay(f"{kind}-s3", SETTINGS | places)
    assert ended(namespace, kind) in ("Complete", "Succeeded")
    assert (bucket / "models" / "retrained_graph.pb").exists()


def test_the_sweep_component_trains_nine_heads_in_one_job(namespace, bucket, overlay):
    places = {"IMAGE_DIR": "s3://photos/images", "OUTPUT_DIR": "s3://photos/models"}
    overlay("job-s3", SETTINGS | places, components=["sweep"])
    assert ended(namespace, "job") == "Complete"
    sweep = bucket / "models" / "sweep"
    assert len(list((sweep / "runs").glob("*.json"))) == 9
    assert (sweep / "sweep.csv").exists()


def test_the_grid_of_nine_jobs_trains_and_one_tensorboard_shows_all(namespace, disk):
    grid = ("learning_rate=0.001,0.01,1.0", "train_batch_size=25,50,100")
    settings = ["worker.cpus=0.2", "worker.mem=1500", "worker.disk=512"]
    settings += ["tensorboard.cpus=0.2", "tensorboard.mem=1000"]
    args = ["architecture=scattering_128", "how_many_training_steps=50"]
    options = read_options(str(DEPLOY / "sweep.json"), settings, args)
    axes = tuple(parse_axis(text) for text in grid)
    target = Target("job", STORAGE, POETS, grid=axes)
    namespace.apply(manifests(options, target))
    for i in range(3):
        for j in range(3):
            name = f"tfjob-retrain-hyperparam-{i}-{j}"
            ended = namespace.wait_for("job", name, "Complete", "Failed")
            assert ended["type"] == "Complete", name
    folders = sorted(path.name for path in disk.glob("image-retraining-*"))
    assert len(folders) == 9
    for folder in folders:
        assert (disk / folder / "saved_models" / "1" / "saved_model.pb").exists()
    shown = "tensorboard-hyperparam-sweep"
    namespace.wait_for("deployment", shown, "Available")

    def all_runs_are_shown():
        runs = json.loads(namespace.ask(f"{shown}:http", "/data/runs"))
        return len({run.split("/")[0] for run in runs}) == 9

    namespace.wait_until(all_runs_are_shown, 300, 1)


def test_the_workflow_goes_through_all_its_steps(namespace, bucket, flowers):
    """Real pods of each step, its exit handler, and a request to what it serves."""
    label = "pod-security.kubernetes.io/enforce=privileged"  # Argo's own pods
    namespace.cluster.kubectl("label", "--overwrite", "ns", namespace.name, label)
    namespace.kubectl("apply", "-f", str(DEPLOY / "argo" / "tf-user.yaml"))
    parameters = {
        "job-name": "flowers",
        "namespace": namespace.name,
        "image": POETS,
        "tf-worker": "2",
        "image-dir": "s3://photos/images",
        "model-name": "mobile",
        "model-architecture": "scattering_128",
        "model-train-steps": "100",
        "model-serving-servicetype": "ClusterIP",
        "s3-train-base-url": "s3://photos/models",
        "s3-endpoint": ENDPOINT,
        "s3-use-https": "0",
        "aws-region": "us-east-1",
    }
    words = [word for p in parameters.items() for word in ("-p", "=".join(p))]
    workflow = yaml.safe_load((DEPLOY / "argo" / "workflow.yaml").read_text())
    train = next(t for t in workflow["spec"]["templates"] if t["name"] == "train-model")
    manifest = train["resource"]["manifest"]
    train["resource"]["manifest"] = manifest.replace('cpu: "2"', "cpu: 250m")
    file = namespace.folder / "workflow.json"
    file.write_text(json.dumps(workflow))
    submit = ["argo", "submit", str(file), "-n", namespace.name, "-o", "name", *words]
    done = namespace.cluster.run(*submit)
    assert done.returncode == 0, done.stderr
    name = done.stdout.strip()
    namespace.wait_for("workflow", name, "Completed", timeout_s=900)
    status = namespace.get("workflow", name)["status"]
    assert status["phase"] == "Succeeded", status.get("message")
    ran = {node.get("templateName") for node in status["nodes"].values()}
    assert ran >= {
        "get-workflow-info",
        "tensorboard",
        "tensorboard-service",
        "train-model",
        "print-server",
        "serve-model",
        "exit-handler",
        "cleanup",
    }
    assert namespace.get("tfjobs")["items"] == []  # the exit handler's work
    namespace.wait_for("deployment", "mobile-flowers", "Available")
    picture = next((flowers / "roses").iterdir()).read_bytes()
    path = "/v1/models/mobile-flowers:classify"
    answer = json.loads(namespace.ask("mobile-flowers:http", path, picture))
    assert {label for label, _ in answer["results"][0]} == {"daisy", "roses", "tulips"}
