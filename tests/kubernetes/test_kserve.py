"""What KServe itself makes of the InferenceService that poets prints."""

import json
import shutil

import pytest

from poets.kubernetes.pods import Surroundings
from poets.kubernetes.serving import Serving, serving
from poets.kubernetes.volumes import output_volume
from tests.kubernetes.bucket import ENDPOINT, KEY, SECRET
from tests.kubernetes.nodes import CLAIM, STORAGE
from tools.kubernetes.cluster import ClusterError
from tools.kubernetes.images import POETS

pytest_plugins = ["tests.finished"]
pytestmark = pytest.mark.soak


@pytest.fixture
def services(namespace, kserve):
    """The namespace of a test, for KServe's own pods, which run as they like."""
    label = "pod-security.kubernetes.io/enforce=privileged"
    kserve.kubectl("label", "--overwrite", "ns", namespace.name, label)
    yield namespace
    namespace.kubectl("delete", "inferenceservice", "--all", "--wait=true")


def printed(results, volume=None, **settings):
    wanted = Serving(results, "flowers", POETS, cpus="300m", mem_mb=1500, **settings)
    return serving("inferenceservice", wanted, Surroundings(), volume)


def answers(namespace, finished):
    """Returns what the Service that KServe makes answers to a test picture."""
    ended = namespace.wait_for("inferenceservice", "flowers", "Ready")
    assert ended["status"] == "True"
    picture = (finished.image_dir / finished.turned).read_bytes()
    path = "/v1/models/flowers:classify"
    found = json.loads(namespace.ask("flowers-predictor:80", path, picture))
    return {label for label, _ in found["results"][0]}


def test_a_model_on_a_claim_is_served(services, finished):
    run = services.folder / "run"
    shutil.copytree(finished.folder, run)
    services.own_files()
    volume = output_volume(STORAGE, read_only=True)
    services.apply(printed("/tf-output/run/saved_model/1", volume))
    assert answers(services, finished) == set(finished.labels)


def test_a_model_on_s3_is_fetched_with_the_keys_of_the_secret(
    services, bucket, finished
):
    shutil.copytree(finished.folder / "saved_model", bucket / "flowers")
    services.own_files()
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    services.kubectl(
        "patch", "secret", "aws-creds", "-p", json.dumps({"stringData": keys})
    )
    notes = (f"s3-endpoint={ENDPOINT}", "s3-usehttps=0", "s3-region=us-east-1")
    words = [f"serving.kserve.io/{note}" for note in notes]
    services.kubectl("annotate", "secret", "aws-creds", *words)
    services.apply(printed("s3://photos/flowers"))
    assert answers(services, finished) == set(finished.labels)


def test_more_pods_are_kserves_autoscaler(services):
    volume = output_volume(f"pvc:{CLAIM}", read_only=True)
    services.apply(printed("/tf-output/run/saved_model/1", volume, max_replicas=3))

    def autoscaler_is_there():
        found = services.get("hpa")["items"]
        return [
            (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"]) for hpa in found
        ]

    services.wait_until(autoscaler_is_there, 60, 0.5)
    assert autoscaler_is_there() == [(1, 3)]


def test_kserve_refuses_what_it_does_not_know(services):
    volume = output_volume(STORAGE, read_only=True)
    service = printed("/tf-output/run/saved_model/1", volume)
    predictor = service["items"][-1]["spec"]["predictor"]
    with pytest.raises(ClusterError, match="unknown field .*modell"):
        services.apply({**service, "items": [with_(service, modell={})]})
    predictor["minReplicas"], predictor["maxReplicas"] = 3, 1
    with pytest.raises(ClusterError, match=r"denied the request: .*[Mm]axReplicas"):
        services.apply(service)


def with_(service, **fields):
    """Returns the InferenceService with further fields in its predictor."""
    found = json.loads(json.dumps(service["items"][-1]))
    found["spec"]["predictor"] |= fields
    return found
