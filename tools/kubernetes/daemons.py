"""The processes of the cluster: their configuration and command lines.

    etcd ──> API server ──> controller manager, scheduler, CoreDNS
                  └──> containerd ──> kubelet, kube-proxy ──> pods

All of them are in the machine's namespaces (machine.py), so addresses and ports are
fixed, and nothing outside reaches them.
"""

import json
from pathlib import Path

from tools.kubernetes import certificates
from tools.kubernetes.build import source
from tools.kubernetes.components import COMPONENTS
from tools.kubernetes.images import PAUSE
from tools.kubernetes.machine import ADDRESS, BESIDE, NODE

STAGES = (
    "node/fast/node-initialize",
    "node/heartbeat-with-lease/node-heartbeat-with-lease",
    "pod/fast/pod-ready",
    "pod/fast/pod-complete",
    "pod/fast/pod-delete",
)
"""Files of kwok's module: what becomes of a node and of pods, as fast as can be."""

SERVER = f"https://{ADDRESS}:6443"
SERVICES = "10.96.0.0/16"
PODS = "10.88.0.0/16"
CNI_PROGRAMS = "/usr/lib/cni"  # Debian's containernetworking-plugins


def write_configuration(folder: Path, cgroup: str) -> None:
    """Writes certificates and configuration files below a folder.

    Args:
      folder: that of the cluster.
      cgroup: the parent of the pods' cgroups, as `/poets-1234`.
    """
    pki, conf = folder / "pki", folder / "conf"
    conf.mkdir(parents=True, exist_ok=True)
    (conf / "cni").mkdir(exist_ok=True)
    certificates.make_authority(pki)
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")
    addresses = (ADDRESS, "10.96.0.1", "127.0.0.1")
    server = [f"DNS:{name}" for name in names] + [f"IP:{text}" for text in addresses]
    certificates.issue(pki, "server", "/CN=kube-apiserver", server)
    certificates.issue(pki, "admin", "/O=system:masters/CN=admin")
    certificates.issue(pki, "kubelet", f"/O=system:nodes/CN=system:node:{NODE}")
    for name in ("admin", "kubelet"):
        path = folder / f"{name}.kubeconfig"
        certificates.write_kubeconfig(pki, name, SERVER, path)
    (conf / "containerd.toml").write_text(_containerd(folder))
    (conf / "Corefile").write_text(_corefile(folder))
    files = {
        "cni/10-bridge.conflist": _network(),
        "kubelet.json": _kubelet(folder, cgroup),
        "kube-proxy.json": _proxy(folder),
    }
    for name, settings in files.items():
        (conf / name).write_text(json.dumps(settings, indent=2))


def control_plane(folder: Path, programs: Path) -> dict[str, list[str]]:
    """Returns the command lines of etcd and the API server, in this order."""
    pki = folder / "pki"
    return {
        "etcd": [
            str(programs / "etcd"),
            "--data-dir=/var/lib/etcd",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--unsafe-no-fsync",
        ],
        "kube-apiserver": [
            str(programs / "kube-apiserver"),
            "--etcd-servers=http://127.0.0.1:2379",
            f"--advertise-address={ADDRESS}",
            f"--service-cluster-ip-range={SERVICES}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-client-certificate={pki / 'admin.pem'}",
            f"--kubelet-client-key={pki / 'admin.key'}",
            f"--client-ca-file={pki / 'ca.pem'}",
            f"--tls-cert-file={pki / 'server.pem'}",
            f"--tls-private-key-file={pki / 'server.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki / 'ca.key'}",
            f"--service-account-signing-key-file={pki / 'ca.key'}",
        ],
    }


def controllers(folder: Path, programs: Path) -> dict[str, list[str]]:
    """Returns the command lines of the API server's clients but kubelet."""
    pki = folder / "pki"
    admin = f"--kubeconfig={folder / 'admin.kubeconfig'}"
    return {
        "kube-controller-manager": [
            str(programs / "kube-controller-manager"),
            admin,
            "--leader-elect=false",
            f"--root-ca-file={pki / 'ca.pem'}",
            f"--service-account-private-key-file={pki / 'ca.key'}",
        ],
        "kube-scheduler": [
            str(programs / "kube-scheduler"),
            admin,
            "--leader-elect=false",
        ],
        "coredns": [str(programs / "coredns"), "-conf", str(folder / "conf/Corefile")],
    }


def runtime(folder: Path) -> dict[str, list[str]]:
    """Returns the command line of what runs the containers of a node."""
    config = folder / "conf" / "containerd.toml"
    return {"containerd": ["containerd", f"--config={config}"]}


def node(folder: Path, programs: Path) -> dict[str, list[str]]:
    """Returns the command lines of a node whose runtime is up."""
    return {
        "kubelet": [
            str(programs / "kubelet"),
            f"--config={folder / 'conf' / 'kubelet.json'}",
            f"--kubeconfig={folder / 'kubelet.kubeconfig'}",
            f"--hostname-override={NODE}",
            f"--node-ip={ADDRESS}",
        ],
        "kube-proxy": [
            str(programs / "kube-proxy"),
            f"--config={folder / 'conf' / 'kube-proxy.json'}",
            f"--hostname-override={NODE}",
        ],
    }


def pretended_node(folder: Path, programs: Path) -> dict[str, list[str]]:
    """Returns the command line of kwok: pods come and end, and nothing runs in them."""
    stages = source(COMPONENTS["kwok"], programs.parent) / "kustomize" / "stage"
    return {
        "kwok": [
            str(programs / "kwok"),
            f"--kubeconfig={folder / 'admin.kubeconfig'}",
            *(f"--config={stages / stage}.yaml" for stage in STAGES),
            "--manage-all-nodes=true",
            f"--node-ip={ADDRESS}",
        ]
    }


def _containerd(folder: Path) -> str:
    """Returns the settings of Debian 12's containerd 1.6."""
    return f"""\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  disable_hugetlb_controller = true
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{CNI_PROGRAMS}"
  conf_dir = "{folder / "conf" / "cni"}"
"""


def _corefile(folder: Path) -> str:
    """Returns the settings of CoreDNS: names of the cluster, and no others."""
    return f"""\
cluster.local in-addr.arpa {{
    bind {ADDRESS}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {folder / "admin.kubeconfig"}
        ttl 1
    }}
}}
. {{
    bind {ADDRESS}
    hosts {{
        {ADDRESS} {NODE} {BESIDE}
    }}
}}
"""


def _network() -> dict[str, object]:
    bridge = {
        "type": "bridge",
        "bridge": "pods",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": PODS}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, ports]}


def _kubelet(folder: Path, cgroup: str) -> dict[str, object]:
    """Returns kubelet's settings on a machine with cgroups of version 1."""
    never = ("memory.available", "nodefs.available", "nodefs.inodesFree")
    authority = {"clientCAFile": str(folder / "pki" / "ca.pem")}
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": False}, "x509": authority},
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [ADDRESS],
        "clusterDomain": "cluster.local",
        "evictionHard": dict.fromkeys(never, "0%"),
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "maxOpenFiles": 20000,
        "oomScoreAdj": 0,
        "resolvConf": str(folder / "conf" / "resolv.conf"),
        "runtimeRequestTimeout": "15m",
        "syncFrequency": "10s",
    }


def _proxy(folder: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(folder / "admin.kubeconfig")},
        # Answers within the bridge would go past the rules that changed the address.
        "iptables": {"masqueradeAll": True},
        # They are of the whole machine.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }
