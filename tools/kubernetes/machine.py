"""Process 1 of the cluster's machine: namespaces in which nothing outlives it.

    unshare --net --mount --pid --ipc --uts ── machine.py DIR

Everything of the cluster runs below it. When it ends, the kernel ends all processes and
drops all mounts and network devices of these namespaces. Its mounts hide folders of the
machine, so that programs with fixed paths keep their files below DIR:

    /var/lib  /var/log     DIR/lib, DIR/log
    /run                   in memory
    /proc/sys/...          files with the values that kubelet wants, because it would
                           set them for the whole machine
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

ADDRESS = "10.77.0.1"
NODE = "node"
BESIDE = "beside.example"
"""The name of servers on its loopback, also for pods; see `Cluster.forward`."""
# What kubelet sets, see setupKernelTunables in pkg/kubelet/cm.
SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
READY = "machine is ready"


def main() -> None:
    """Makes the machine, prints READY and reaps processes until it is killed."""
    folder = Path(sys.argv[1])
    _mount(folder)
    _connect()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    print(READY, flush=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        signal.sigwait({signal.SIGCHLD})
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


def _mount(folder: Path) -> None:
    for name in ("lib", "log"):
        (folder / name).mkdir(exist_ok=True)
        _run("mount", "--bind", str(folder / name), f"/var/{name}")
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    etc = {
        "hosts": f"127.0.0.1 localhost {BESIDE}\n{ADDRESS} {NODE}\n",
        "resolv.conf": f"nameserver {ADDRESS}\n",
    }
    for name, text in etc.items():
        (folder / "conf" / name).write_text(text)
        _run("mount", "--bind", str(folder / "conf" / name), f"/etc/{name}")
    for name, text in SYSCTLS.items():
        file = folder / "conf" / name.replace("/", ".")
        file.write_text(f"{text}\n")
        if Path("/proc/sys", name).exists():
            _run("mount", "--bind", str(file), f"/proc/sys/{name}")


def _connect() -> None:
    """Gives the machine an address and a default route, which lead nowhere else."""
    for command in (
        "link set lo up",
        "link add uplink type veth peer name nowhere",
        f"address add {ADDRESS}/24 dev uplink",
        "link set uplink up",
        "link set nowhere up",
        "route add default dev uplink",
    ):
        _run("ip", *command.split())
    for name in ("ip_forward", "conf/all/route_localnet"):
        Path("/proc/sys/net/ipv4", name).write_text("1\n")
    _run("hostname", NODE)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=60)


if __name__ == "__main__":
    main()
