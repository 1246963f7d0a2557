"""Pods on a Kerberized HDFS: the overlays, and the options file of DC/OS."""

import json

import pytest

from poets.dcos.options import read_options
from poets.kubernetes.manifests import Target, manifests
from poets.kubernetes.pods import surroundings_of
from poets.kubernetes.serving import Serving, serving
from tests.kubernetes.hadoop import ROOT, metrics_of
from tests.kubernetes.overlays import ended
from tools.kubernetes.images import POETS

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("kind", ["job", "tfjob"])
def test_the_overlay_with_hdfs_trains_with_four_workers(
    namespace, hdfs_beside, overlay, kind
):
    namespace.apply(hdfs_beside.keytab_secret("hdfs-keytab"))
    output = f"/tensorflow/{kind}_run"
    files = {
        f"storage/hdfs/{name}": text
        for name, text in hdfs_beside.client_files().items()
    }
    overlay(f"{kind}-hdfs", {"OUTPUT_DIR": f"hdfs://default{output}"}, files=files)
    assert ended(namespace, kind) in ("Complete", "Succeeded")
    assert metrics_of(hdfs_beside, output)["accuracy"]["test"]["accuracy"] > 0.6
    owners = {
        line.split()[2] for line in hdfs_beside.dfs("-ls", output).splitlines()[1:]
    }
    assert owners == {"tensorflow"}
    namespace.wait_for("deployment", "tensorboard", "Available")

    def runs_are_shown():
        runs = json.loads(namespace.ask("tensorboard:http", "/data/runs"))
        return {"retrain/train", "retrain/validation"} <= set(runs)

    namespace.wait_until(runs_are_shown, 300, 1)


def test_the_options_file_of_dcos_trains_and_its_model_is_served(
    namespace, hdfs_beside, flowers
):
    """Pods fetch the client configuration, and log in with the keytab."""
    host, port = hdfs_beside.kdc_address.split(":")
    settings = [
        "worker.count=2",
        "worker.cpus=0.3",
        "worker.mem=1500",
        "worker.disk=1024",
        "service.shared_filesystem=hdfs://default/tensorflow/options_run",
        f"service.hdfs.config_uri={hdfs_beside.config_uri}",
        f"service.security.kerberos.kdc.hostname={host}",
        f"service.security.kerberos.kdc.port={port}",
    ]
    demo = str(ROOT / "demo" / "poets.json")
    options = read_options(demo, settings, ["how_many_training_steps=100"])
    namespace.apply(hdfs_beside.keytab_secret("tensorflow-keytab"))
    namespace.apply(manifests(options, Target("job", image=POETS)))
    found = namespace.wait_for("job", "tensorflow", "Complete", "Failed")
    assert found["type"] == "Complete", found
    results = "hdfs://default/tensorflow/options_run"
    wanted = Serving(results, "model", POETS, cpus="500m", mem_mb=1500)
    around = surroundings_of(options, None, [results])
    namespace.apply(serving("deployment", wanted, around, None))
    namespace.wait_for("deployment", "model", "Available")
    picture = next((flowers / "roses").iterdir()).read_bytes()
    answer = json.loads(
        namespace.ask("model:http", "/v1/models/model:classify", picture)
    )
    assert {label for label, _ in answer["results"][0]} == {"daisy", "roses", "tulips"}
