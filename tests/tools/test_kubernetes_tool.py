"""tools/kubernetes without its programs: configuration, namespaces, command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.kubernetes import certificates, daemons, kubernetes
from tools.kubernetes.cluster import CGROUPS, Cluster, ClusterError
from tools.kubernetes.components import COMPONENTS
from tools.kubernetes.machine import ADDRESS, NODE, SYSCTLS
from tools.packages import find_program


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pki")
    certificates.make_authority(folder)
    certificates.issue(folder, "server", "/CN=server", ["IP:10.77.0.1"])
    return folder


@pytest.fixture
def cluster(tmp_path, require):
    """The machine of a cluster, without any program of Kubernetes on it."""
    namespaces = ["unshare", "--net", "--mount", "--pid", "--fork", "true"]
    done = subprocess.run(namespaces, capture_output=True, check=False, timeout=60)
    require("namespaces", os.geteuid() == 0 and done.returncode == 0)
    made = Cluster(tmp_path / "cluster", tmp_path / "cache")
    made.start_machine()
    yield made
    made.stop()


def test_a_certificate_is_for_its_address_and_of_the_authority(pki):
    words = ["openssl", "verify", "-CAfile", pki / "ca.pem", "-verify_ip"]
    for address, good in (("10.77.0.1", True), ("10.77.0.2", False)):
        command = [*words, address, pki / "server.pem"]
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
        assert (done.returncode == 0) == good


def test_a_second_start_keeps_the_authority(pki):
    before = (pki / "ca.pem").read_bytes()
    certificates.make_authority(pki)
    assert (pki / "ca.pem").read_bytes() == before


def test_keys_are_for_their_owner_only(pki, tmp_path):
    path = tmp_path / "kubeconfig"
    certificates.write_kubeconfig(pki, "server", daemons.SERVER, path)
    assert path.stat().st_mode & 0o077 == pki.stat().st_mode & 0o077 == 0
    config = json.loads(path.read_text())
    assert config["clusters"][0]["cluster"]["server"] == daemons.SERVER


def test_every_program_that_a_cluster_starts_is_built():
    folder, programs = Path("/cluster"), Path("/bin")
    started = {
        **daemons.control_plane(folder, programs),
        **daemons.controllers(folder, programs),
        **daemons.runtime(folder),
        **daemons.node(folder, programs),
        **daemons.pretended_node(folder, programs),
    }
    of_debian = {"containerd"}
    assert set(started) - of_debian <= set(COMPONENTS)
    for name, command in started.items():
        assert command[0] == (name if name in of_debian else f"/bin/{name}")


def test_a_machine_is_apart_from_this_one_and_leaves_nothing(cluster, wait_until):
    before = {name: Path("/proc/sys", name).read_text() for name in SYSCTLS}
    done = cluster.run(
        "sh", "-c", "hostname; cat /proc/sys/vm/overcommit_memory; ls /run"
    )
    assert done.stdout.split() == [NODE, "1", "mount"]
    sleeper = subprocess.Popen(cluster.command("sleep", "600"))
    init = cluster.init
    assert cluster.stop()
    assert sleeper.wait(60)
    assert not Path(f"/proc/{init}").exists()
    assert cluster.init is None
    assert not list(CGROUPS.glob(f"*{cluster.cgroup}"))
    assert {name: Path("/proc/sys", name).read_text() for name in SYSCTLS} == before
    assert str(cluster.folder) not in Path("/proc/self/mounts").read_text()


POD = """
set -e
ip netns add pod
ip link add pods type veth peer name eth0 netns pod
ip address add 10.88.0.1/16 dev pods && ip link set pods up
ip -n pod address add 10.88.0.2/16 dev eth0 && ip -n pod link set eth0 up
ip -n pod route add default via 10.88.0.1
"""
GREET = """
import socket, sys
sent = sys.argv[1].encode()
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
server.accept()[0].sendall(sent)
"""
READ = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20)
print(connection.recv(100).decode())
"""


def test_a_pod_reaches_a_server_on_the_machines_loopback(cluster, require):
    require("iptables", find_program("iptables"))
    done = cluster.run("sh", "-c", POD)
    assert done.returncode == 0, done.stderr
    python = sys.executable
    command = cluster.command(python, "-c", GREET, "hello")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        port = server.stdout.readline().strip()
        read = ["ip", "netns", "exec", "pod", python, "-c", READ, ADDRESS, port]
        assert "refused" in cluster.run(*read).stderr
        cluster.forward(int(port))
        assert cluster.run(*read).stdout.strip() == "hello"


def test_a_cluster_that_is_down_runs_no_command(tmp_path):
    with pytest.raises(ClusterError, match="no cluster runs in .*; start it with"):
        Cluster(tmp_path / "none").command("true")


def typed(tmp_path, verb, *words):
    places = ["--cache", str(tmp_path / "cache"), "--directory", str(tmp_path / "c")]
    return kubernetes.main([verb, *places, *words])


def test_what_is_not_built_is_named_with_the_way_to_build_it(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(kubernetes.os, "geteuid", lambda: 0)
    assert typed(tmp_path, "up") == 2
    assert "not built: etcd, kube-apiserver" in (said := capsys.readouterr().err)
    assert "run `make kubernetes`" in said


def test_a_program_that_is_none_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(kubernetes.packages, "ensure", lambda kinds: None)
    assert typed(tmp_path, "build", "kubelett") == 2
    assert "no program kubelett; known are etcd" in capsys.readouterr().err


def test_status_and_down_of_no_cluster(tmp_path, capsys):
    assert typed(tmp_path, "status") == 1
    assert typed(tmp_path, "down") == 0
    assert "nothing runs" in capsys.readouterr().out
    assert not (tmp_path / "c").exists()


def test_a_run_without_a_command_is_a_mistake(tmp_path, capsys):
    assert typed(tmp_path, "run") == 2
    assert "give it after --" in capsys.readouterr().err
