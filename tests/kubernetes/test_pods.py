"""What the pods of a printed Job run, run here: the manifests do the job.

Each pod's arguments and variables are taken as kubelet would make them. Only names
differ: the containers' folders are below a test's, their hosts are this one.
"""

import json
import os
import signal
from pathlib import Path

import pytest

from poets.dcos.options import read_options
from poets.errors import ConfigError
from poets.kubernetes.manifests import Target, manifests
from tests import retraining
from tests.kubernetes.schemas import pod_specs
from tests.tasks import check_same

ROOT = Path(__file__).parents[2]
ENTRY_POINT = ROOT / "deploy" / "kubernetes" / "retrain.py"
MOUNT = "/results"
INDEX = "batch.kubernetes.io/job-completion-index"


@pytest.fixture
def options(tmp_path, drawn_images):
    """Returns a function that reads the options of a job of so many workers."""

    def read(workers, image_dir=drawn_images, **more):
        flags = retraining.flags_for(
            Path("<<shared_filesystem>>"),
            image_dir,
            processes=1,
            flip_left_right=True,
            **more,
        )
        service = {
            "job_url": "https://example.com/poets-1.0.0.zip",
            "job_name": "poets",
            "job_context": json.dumps({"args": flags}),
            "shared_filesystem": MOUNT,
            "tf_image": "example.com/poets:1",
        }
        counts = {"worker": {"count": workers}, "gpu_worker": {"count": 0}}
        path = tmp_path / "options.json"
        path.write_text(json.dumps({"service": service, **counts}))
        return read_options(str(path))

    return read


def pods_of(printed):
    """Returns the arguments and variables of each pod of a printed Indexed Job."""
    (job,) = [item for item in printed["items"] if item["kind"] == "Job"]
    (spec,) = pod_specs(job)
    container = spec["containers"][0]
    pods = []
    for index in range(job["spec"]["completions"]):
        variables = {}
        for entry in container["env"]:
            if "valueFrom" in entry:
                field = entry["valueFrom"]["fieldRef"]["fieldPath"]
                assert field == f"metadata.annotations['{INDEX}']"
                variables[entry["name"]] = str(index)
            else:  # $(NAME) is what was defined before
                value = entry["value"]
                for name, known in variables.items():
                    value = value.replace(f"$({name})", known)
                variables[entry["name"]] = value
        pods.append((container["args"], variables))
    name = job["metadata"]["name"]
    hosts = [f"{name}-{index}.{spec['subdomain']}" for index in range(len(pods))]
    return pods, hosts


class Node:
    """Runs pods; what they write is below a folder."""

    def __init__(self, nursery, folder, hosts):
        self.nursery, self.folder, self.hosts = nursery, folder, hosts
        self.started = []

    def run(self, pod):
        """Starts a pod's entry point, what it says is kept."""
        args, variables = pod
        given = {name: self._here(text) for name, text in variables.items()}
        args = list(map(self._here, args))
        with (self.folder / f"log-{len(self.started)}").open("wb") as log:
            process = self.nursery.start(
                ENTRY_POINT.read_text(), {**os.environ, **given}, log, args
            )
        self.started.append(process)
        return process

    def _here(self, text):
        for host in self.hosts:
            text = text.replace(host, "localhost")
        return text.replace(f"={MOUNT}/", f"={self.folder}/")


@pytest.fixture
def node(nursery, tmp_path):
    nodes = []

    def make(hosts):
        folder = tmp_path / "results"
        folder.mkdir()
        nodes.append(Node(nursery, folder, hosts))
        return nodes[-1]

    yield make
    for each in nodes:
        for pod in each.started:
            pod.kill()
            pod.wait()


def test_the_pods_of_a_printed_job_do_it_together_though_one_is_evicted(
    options, node, one_process, wait_until
):
    """The exit code of a kill fails the Job, but not that of an evicted pod."""
    printed = manifests(options(2), Target("job", "hostpath:/srv/poets"))
    (job,) = [item for item in printed["items"] if item["kind"] == "Job"]
    first, second = job["spec"]["podFailurePolicy"]["rules"]
    assert first["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert 128 + signal.SIGKILL in second["onExitCodes"]["values"]
    pods, hosts = pods_of(printed)
    one = node(hosts)
    chief, other = [one.run(pod) for pod in pods]
    wait_until(lambda: "bottleneck files created" in chief.log.read_text(), 300)
    chief.kill()
    chief.wait()
    chief = one.run(pods[0])
    for pod in (chief, other):
        assert pod.wait() == 0, pod.log.read_text()
    check_same(one.folder, one_process)
    last = f"Save final result to : {one.folder}/retrained_graph.pb"
    assert chief.log.read_text().rstrip().endswith(last)
    assert "worker:1: the job is done" in other.log.read_text()


def test_a_mistake_ends_every_pod_with_a_code_that_fails_the_job(
    options, node, tmp_path, wait_until
):
    printed = manifests(
        options(2, image_dir=tmp_path / "absent"),
        Target("job", "hostpath:/srv/poets"),
    )
    pods, hosts = pods_of(printed)
    one = node(hosts)
    worker = one.run(pods[1])
    wait_until(lambda: "waiting for the chief" in worker.log.read_text(), 300)
    chief = one.run(pods[0])
    assert [pod.wait() for pod in (chief, worker)] == [2, 2], worker.log.read_text()
    said = [pod.log.read_text() for pod in (chief, worker)]
    assert "poets retrain: Image directory " in said[0]
    assert "poets retrain: the chief failed: Image directory " in said[1]


def test_workers_that_would_not_share_their_work_are_refused(options):
    with pytest.raises(
        ConfigError,
        match="--bottleneck_dir='/tmp/store' would be another folder in each of 2 "
        "workers; give --storage pvc:NAME",
    ):
        manifests(
            options(2, bottleneck_dir="/tmp/store"), Target("job", "hostpath:/srv")
        )
    assert manifests(
        options(1, bottleneck_dir="/tmp/store"), Target("job", "hostpath:/srv")
    )
