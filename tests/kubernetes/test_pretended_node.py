"""A cluster whose node is kwok's: pods come and end, and nothing runs in them.

For machines without containers: `kubernetes.py up --pretend`.
"""

import os
from pathlib import Path

import pytest

from poets.kubernetes.manifests import Target, manifests
from poets.kubernetes.pods import Surroundings
from poets.kubernetes.serving import Serving, serving
from tests.kubernetes.nodes import Namespace, job_of
from tests.kubernetes.overlays import DEPLOY
from tools.hdfs.daemons import command_line
from tools.kubernetes import kubernetes as tool
from tools.kubernetes.build import missing
from tools.kubernetes.cluster import CGROUPS, Cluster
from tools.kubernetes.images import POETS

CLAIM = "disk-retrain"


@pytest.fixture(scope="module")
def pretended(require, tmp_path_factory):
    """A cluster of its own, skipped where `make kubernetes` has not been run."""
    require("kubernetes", os.geteuid() == 0 and not missing())
    folder = tmp_path_factory.mktemp("pretended")
    try:
        assert tool.main(["up", "--pretend", "--directory", str(folder)]) == 0
        yield Cluster(folder)
    finally:
        assert tool.main(["down", "--directory", str(folder)]) == 0


@pytest.fixture
def namespace(pretended, tmp_path, wait_until):
    """The namespace `default`; its jobs, servers and claims are removed after."""
    yield Namespace(pretended, "default", tmp_path, wait_until)
    kinds = "job,deployment,hpa,configmap,pvc"
    pretended.kubectl("delete", kinds, "--all", "--wait=true")
    pretended.kubectl("delete", "pv", "--all", "--wait=true")


def names_of(cluster):
    return {name for name, runs in cluster.status().items() if runs}


def test_kwok_is_in_place_of_the_programs_that_run_containers(pretended):
    running = names_of(pretended)
    assert {"etcd", "kube-apiserver", "kube-scheduler", "kwok"} <= running
    assert running.isdisjoint({"containerd", "kubelet", "kube-proxy"})


def test_the_pods_of_a_job_come_and_end_without_running(namespace):
    namespace.add_volume(CLAIM, "8Gi")
    namespace.kubectl("apply", "-f", str(DEPLOY / "storage" / "pvc" / "claim.yaml"))
    namespace.apply(manifests(job_of(workers=4), Target("job", f"pvc:{CLAIM}")))
    namespace.wait_for("job", "flowers", "Complete", timeout_s=120)
    assert namespace.get("job", "flowers")["status"]["succeeded"] == 4
    indices = {
        pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"]
        for pod in namespace.pods("flowers")
    }
    assert indices == {"0", "1", "2", "3"}
    assert list(namespace.folder.iterdir()) == []


@pytest.mark.parametrize(("storage", "workers"), [("pvc", 1), ("s3", 4), ("hdfs", 4)])
def test_the_job_of_an_overlay_completes(namespace, storage, workers):
    if storage == "pvc":
        namespace.add_volume(CLAIM, "8Gi")
    overlay = str(DEPLOY / "overlays" / f"job-{storage}")
    namespace.kubectl("apply", "--validate=strict", "-k", overlay)
    namespace.wait_for("job", "retrain", "Complete", timeout_s=120)
    assert namespace.get("job", "retrain")["status"]["succeeded"] == workers
    namespace.wait_for("deployment", "tensorboard", "Available", timeout_s=120)


def test_a_servers_pods_become_ready_behind_its_service(namespace):
    wanted = Serving("s3://models/flowers", "flowers", POETS, 2, max_replicas=4)
    namespace.apply(serving("deployment", wanted, Surroundings(), None))
    namespace.wait_for("deployment", "flowers", "Available", timeout_s=120)

    def autoscaler_keeps_two_pods():
        (found,) = namespace.get("hpa")["items"]
        return found["status"].get("desiredReplicas") in (None, 0, 2) and (
            namespace.get("deployment", "flowers")["status"]["readyReplicas"] in (1, 2)
        )

    namespace.wait_until(autoscaler_keeps_two_pods, 120, 0.5)


def test_add_ons_are_refused_since_their_controllers_would_not_run(pretended, capsys):
    words = ["--pretend", "--addons", "--directory", str(pretended.folder)]
    assert tool.main(["up", *words]) == 2
    assert "give --addons or --pretend, not both" in capsys.readouterr().err


def test_down_leaves_no_process_and_no_cgroup(pretended):
    """The last test: the others' cluster is started again by none."""
    init, cgroup = pretended.init, pretended.cgroup[1:]
    folder = str(pretended.folder)
    assert tool.main(["down", "--directory", folder]) == 0
    assert not Path(f"/proc/{init}").exists()
    assert [*CGROUPS.glob(cgroup), *CGROUPS.glob(f"*/{cgroup}")] == []
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    assert not any(folder in command_line(pid) for pid in pids)
    assert tool.main(["status", "--directory", folder]) == 1
