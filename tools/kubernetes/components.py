"""The programs of the cluster: which Go module each is built from.

Versions fit together: containerd 1.6 of Debian 12 serves kubelet up to 1.36, whose API
server wants etcd 3.6. A row is all that a new program needs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

KUBERNETES = "v1.36.3"
_K8S = "k8s.io/kubernetes"
_ARGO = "github.com/argoproj/argo-workflows/v4"
_SIGNAL = "workflow/executor/osspecific/signal"
# kubectl refuses a server that does not know its version.
_VERSION = {
    f"{package}.{name}": value
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    for name, value in (
        ("gitVersion", KUBERNETES),
        ("gitMajor", KUBERNETES[1:].split(".")[0]),
        ("gitMinor", KUBERNETES.split(".")[1]),
    )
}


@dataclass(frozen=True)
class Component:
    """A program built from a Go module.

    Attributes:
      module: the module's path.
      version: the module's version.
      package: the main package, relative to the module.
      variables: variables that the linker sets, by their full names.
      stand_ins: file of the module that its zip lacks -> the file of the module that is
        copied in its place; "" for an empty one.
      user: the user of its image; None if it does not run in pods.
    """

    module: str
    version: str
    package: str
    variables: Mapping[str, str] = field(default_factory=dict)
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    user: int | None = None


COMPONENTS = {
    "etcd": Component("go.etcd.io/etcd/server/v3", "v3.6.8", "."),
    **{
        name: Component(_K8S, KUBERNETES, f"cmd/{name}", _VERSION)
        for name in (
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kube-proxy",
            "kubelet",
            "kubectl",
        )
    },
    "coredns": Component("github.com/coredns/coredns", "v1.14.7", "."),
    "kwok": Component("sigs.k8s.io/kwok", "v0.8.0", "cmd/kwok"),
    "training-operator": Component(
        "github.com/kubeflow/training-operator",
        "v1.9.3",
        "cmd/training-operator.v1",
        user=65532,
    ),
    "workflow-controller": Component(
        _ARGO, "v4.0.5", "cmd/workflow-controller", user=8737
    ),
    "argoexec": Component(
        _ARGO,
        "v4.0.5",
        "cmd/argoexec",
        stand_ins={f"{_SIGNAL}_linux.go": f"{_SIGNAL}_darwin.go"},
        user=0,
    ),
    "argo": Component(
        _ARGO, "v4.0.5", "cmd/argo", stand_ins={"ui/dist/app/index.html": ""}
    ),
    "kserve-manager": Component("github.com/kserve/kserve", "v0.19.0", "cmd/manager"),
    "versitygw": Component(
        "github.com/versity/versitygw", "v1.8.0", "cmd/versitygw", user=65532
    ),
}
