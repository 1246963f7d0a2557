"""Starts and stops a Kubernetes cluster of one node in namespaces of its own.

    machine ──> etcd, API server ──> controllers ──> containerd, kubelet ──> add-ons
                                                └──> kwok, where containers cannot run

Both the command line and the tests use this class. Everything is below one folder:

    DIR/pki, DIR/conf            certificates, configuration; written at each start
    DIR/lib                      /var/lib of the machine: etcd, containerd, kubelet
    DIR/log, DIR/run             of each process
    DIR/admin.kubeconfig         of the cluster's administrator
"""

import functools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from poets.errors import PoetsError
from tools.hdfs.daemons import Daemon, wait_until
from tools.kubernetes import addons, daemons
from tools.kubernetes.build import CACHE
from tools.kubernetes.images import tag_of
from tools.kubernetes.machine import ADDRESS, NODE, READY

HERE = Path(__file__).resolve().parent
CGROUPS = Path("/sys/fs/cgroup")
NAMESPACES = ("net", "mount", "pid", "ipc", "uts")
START_TIMEOUT_S = 300.0
MACHINE_TIMEOUT_S = 60.0
KUBECTL_TIMEOUT_S = 300.0
PRETENDED_NODE = f"""\
apiVersion: v1
kind: Node
metadata: {{name: {NODE}, labels: {{kubernetes.io/os: linux}}}}
status:
  allocatable: {{cpu: "64", memory: 256Gi, pods: "110", ephemeral-storage: 1Ti}}
  capacity: {{cpu: "64", memory: 256Gi, pods: "110", ephemeral-storage: 1Ti}}
"""


class ClusterError(PoetsError):
    """The cluster or kubectl does not do what it was asked for."""


class Cluster:
    """The cluster of a folder, running or not.

    Attributes:
      folder: its absolute path.
      cgroup: the parent of the pods' cgroups.
    """

    def __init__(self, folder: Path, cache: Path = CACHE):
        """Describes the cluster of a folder; starts nothing.

        Args:
          folder: its folder, which need not exist.
          cache: where programs and images are.
        """
        self.folder = folder.resolve()  # a link to it is the same cluster
        self._cache = cache.resolve()
        self.cgroup = self._cgroup_of_folder() if folder.exists() else ""
        command = ["unshare", *(f"--{name}" for name in NAMESPACES)]
        command += ["--fork", "--mount-proc", "--kill-child", sys.executable]
        command += [str(HERE / "machine.py"), str(self.folder), Daemon.MARK]
        self._machine = self._daemon("machine", command)

    @property
    def init(self) -> int | None:
        """The id of the machine's process 1, seen from outside; None if it is down."""
        if (pid := self._machine.pid) is None:
            return None
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return None
        return int(children[0]) if children else None

    def start(
        self, *, pretend: bool = False, timeout_s: float = START_TIMEOUT_S
    ) -> None:
        """Starts the cluster unless it runs, and waits until its node is ready.

        Args:
          pretend: with kwok in place of kubelet, so that nothing runs in the pods.
          timeout_s: for everything.

        Raises:
          ClusterError: if a part ends or is not ready in time.
        """
        deadline = time.monotonic() + timeout_s
        self.start_machine()
        programs = self._cache / "bin"
        self._run_all(daemons.control_plane(self.folder, programs))
        self._wait(
            "kube-apiserver", lambda: self._says("get", "--raw=/readyz"), deadline
        )
        self._run_all(daemons.controllers(self.folder, programs))
        if pretend:
            self.kubectl("apply", "-f", "-", stdin=PRETENDED_NODE)
            self._run_all(daemons.pretended_node(self.folder, programs))
        else:
            self._run_all(daemons.runtime(self.folder))
            answers = ("ctr", "version")  # kubelet gives up at once without it
            ready = functools.partial(self._succeeds, *answers)
            self._wait("containerd", ready, deadline)
            self._run_all(daemons.node(self.folder, programs))
        condition = "--for=condition=Ready"
        self._wait(
            "kwok" if pretend else "kubelet",
            lambda: self._says("wait", condition, f"node/{NODE}", "--timeout=2s"),
            deadline,
        )
        account = ("get", "serviceaccount", "default")
        self._wait("kube-controller-manager", lambda: self._says(*account), deadline)

    def start_machine(self) -> None:
        """Starts the namespaces, with nothing in them yet, unless they are there.

        Raises:
          ClusterError: if they are not ready in time.
        """
        for name in ("conf", "log", "run"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.cgroup = self._cgroup_of_folder()
        daemons.write_configuration(self.folder, self.cgroup)
        if self.init is None:
            # Addresses that a killed machine had given to its pods.
            shutil.rmtree(self.folder / "lib" / "cni", ignore_errors=True)
        self._make_cgroups()
        self._machine.start()
        deadline = time.monotonic() + MACHINE_TIMEOUT_S
        self._wait("machine", lambda: READY in self._machine.said(), deadline)

    def install_addons(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Installs the training operator and Argo, and waits until they are ready."""
        found = addons.write_addons(self.folder, self._cache)
        for place, (namespace, program) in found.items():
            if self._image_of(namespace, program) == tag_of(program):
                continue
            if not self._says("get", "namespace", namespace):
                self.kubectl("create", "namespace", namespace)
            self.kubectl("apply", "--server-side", "--force-conflicts", "-k", place)
        for namespace, program in found.values():
            words = ["rollout", "status", f"deployment/{program}", "-n", namespace]
            self.kubectl(
                *words, f"--timeout={timeout_s:.0f}s", timeout_s=timeout_s + 30
            )

    def _image_of(self, namespace: str, deployment: str) -> str:
        """Returns the image of a Deployment; "" if there is none."""
        path = "jsonpath={.spec.template.spec.containers[0].image}"
        words = [
            "kubectl",
            "get",
            "deployment",
            deployment,
            "-n",
            namespace,
            "-o",
            path,
        ]
        return self.run(*words).stdout

    def stop(self) -> bool:
        """Ends all processes, removes the cgroups; returns whether it ran."""
        init = self.init
        ran = self._machine.pid is not None
        self._machine.kill()  # its processes end with it, and the files are on disk
        gone = not init or wait_until(lambda: not Path(f"/proc/{init}").exists(), 60)
        if not gone:
            raise ClusterError(f"process {init} of {str(self.folder)!r} does not end")
        if not wait_until(self._remove_cgroups, 30):
            raise ClusterError(f"cannot remove {CGROUPS}/*{self.cgroup}: still in use")
        return ran

    def command(self, *words: str) -> list[str]:
        """Returns the command line that runs a command on the machine.

        Raises:
          ClusterError: if the machine is down.
        """
        if (init := self.init) is None:
            raise ClusterError(
                f"no cluster runs in {str(self.folder)!r}; start it with "
                f"`kubernetes.py up {self.folder}`"
            )
        enter = [f"--{name}" for name in NAMESPACES]
        return ["nsenter", f"--target={init}", *enter, f"--wd={os.getcwd()}", *words]

    @property
    def environment(self) -> dict[str, str]:
        """The variables for clients on the machine."""
        path = f"{self._cache / 'bin'}:{os.environ.get('PATH', os.defpath)}"
        return os.environ | {
            "KUBECONFIG": str(self.folder / "admin.kubeconfig"),
            "PATH": path,
        }

    def run(
        self,
        *words: str,
        stdin: str | None = None,
        timeout_s: float = KUBECTL_TIMEOUT_S,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on the machine and captures its output."""
        return subprocess.run(
            self.command(*words),
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def kubectl(
        self,
        *words: str,
        stdin: str | None = None,
        timeout_s: float = KUBECTL_TIMEOUT_S,
    ) -> str:
        """Runs kubectl as administrator and returns its output.

        Raises:
          ClusterError: if it fails, with what it said.
        """
        done = self.run("kubectl", *words, stdin=stdin, timeout_s=timeout_s)
        if done.returncode:
            raise ClusterError(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def load(self, archive: Path) -> None:
        """Gives the node the images of an archive, unless it has them."""
        noted = self.folder / "lib" / "images" / archive.name
        mark = f"{archive.stat().st_mtime_ns}"
        if noted.exists() and noted.read_text() == mark:
            return
        command = ["ctr", "--namespace=k8s.io", "images", "import", str(archive)]
        done = self.run(*command, timeout_s=900)
        if done.returncode:
            raise ClusterError(f"cannot load {archive}: {done.stderr.strip()}")
        noted.parent.mkdir(exist_ok=True)
        noted.write_text(mark)

    def forward(self, port: int) -> None:
        """Lets pods reach a server that listens on the machine's loopback.

        Their name for it is BESIDE of machine.py.

        Raises:
          ClusterError: if the kernel refuses the rule.
        """
        words = ["-s", daemons.PODS, "-d", ADDRESS, "-p", "tcp", "--dport", str(port)]
        words += ["-j", "DNAT", "--to-destination", f"127.0.0.1:{port}"]
        rule = ("iptables", "--table=nat", "--append=PREROUTING", *words)
        done = self.run(*rule)
        if done.returncode:
            raise ClusterError(f"cannot forward port {port}: {done.stderr.strip()}")

    def status(self) -> dict[str, bool]:
        """Returns which processes run, by their names."""
        names = [path.stem for path in sorted((self.folder / "run").glob("*.pid"))]
        return {name: self._daemon(name, []).pid is not None for name in names}

    def _daemon(self, name: str, command: Sequence[str]) -> Daemon:
        return Daemon(name, self.folder, command, dict(os.environ), {})

    def _run_all(self, commands: dict[str, list[str]]) -> None:
        for name, words in commands.items():
            mark = ["env", f"POETS_PID_FILE={Daemon.MARK}"]
            self._daemon(name, self.command(*mark, *words)).start()

    def _says(self, *words: str) -> bool:
        """Returns whether kubectl succeeds."""
        return self._succeeds("kubectl", *words)

    def _succeeds(self, *words: str) -> bool:
        return self.run(*words).returncode == 0

    def _wait(self, name: str, ready: Callable[[], bool], deadline: float) -> None:
        daemon = self._daemon(name, [])
        left_s = deadline - time.monotonic()
        wait_until(lambda: daemon.pid is None or ready(), left_s, poll_s=0.3)
        if daemon.pid is None or not ready():
            problem = "ended" if daemon.pid is None else "is not ready"
            tail = "\n".join(daemon.said().splitlines()[-12:])
            raise ClusterError(
                f"{name} {problem}; {str(daemon.log)!r} ends with\n{tail}"
            )

    def _hierarchies(self) -> list[Path]:
        """Returns the folders of cgroups: one, or of version 1 one per controller."""
        if (CGROUPS / "cgroup.controllers").exists():
            return [CGROUPS]
        return [path for path in CGROUPS.iterdir() if not path.is_symlink()]

    def _cgroup_of_folder(self) -> str:
        return f"/poets-{self.folder.stat().st_ino}"

    def _make_cgroups(self) -> None:
        for path in self._hierarchies():
            (path / self.cgroup[1:]).mkdir(exist_ok=True)

    def _remove_cgroups(self) -> bool:
        """Returns whether they are gone."""
        if not self.cgroup:
            return True
        for path in self._hierarchies():
            for folder, _, _ in os.walk(path / self.cgroup[1:], topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    return False
        return True
