"""The configuration of YARN beside the secure HDFS: a ResourceManager, a NodeManager.

All authenticate by Kerberos, as the principal of the HDFS daemons. Containers run as
the user of the NodeManager (DefaultContainerExecutor): to run them as their own users
takes Hadoop's setuid program, which is in no jar (LinuxContainerExecutor). Tokens and
results belong to the users all the same.
"""

from pathlib import Path

from tools.hdfs.configuration import Settings

_SERVER = "org.apache.hadoop.yarn.server"
DAEMONS = {
    "resourcemanager": f"{_SERVER}.resourcemanager.ResourceManager",
    "nodemanager": f"{_SERVER}.nodemanager.NodeManager",
}
FIFO = f"{_SERVER}.resourcemanager.scheduler.fifo.FifoScheduler"
MEMORY_MB = 8192
CORES = 8
"""What containers may take together, whatever this machine has."""


def yarn_site(settings: Settings) -> dict[str, str]:
    """Returns the part of yarn-site.xml that daemons and clients share."""
    manager, node = "yarn.resourcemanager", "yarn.nodemanager"
    return {
        f"{manager}.hostname": settings.host,
        f"{manager}.address": settings.address("resourcemanager.rpc"),
        f"{manager}.scheduler.address": settings.address("resourcemanager.scheduler"),
        f"{manager}.resource-tracker.address": settings.address(
            "resourcemanager.tracker"
        ),
        f"{manager}.admin.address": settings.address("resourcemanager.admin"),
        f"{manager}.webapp.address": settings.address("resourcemanager.http"),
        f"{manager}.principal": settings.principal("hdfs"),
        f"{node}.principal": settings.principal("hdfs"),
        "yarn.scheduler.minimum-allocation-mb": "256",
        # Clients report a missing ResourceManager within seconds, not minutes.
        f"{manager}.connect.max-wait.ms": "10000",
        f"{manager}.connect.retry-interval.ms": "1000",
    }


def yarn_daemon_site(settings: Settings, folder: Path) -> dict[str, str]:
    """Returns yarn-site.xml of the daemons.

    Args:
      settings: the settings of this HDFS.
      folder: its absolute path.
    """
    manager, node = "yarn.resourcemanager", "yarn.nodemanager"
    full = f"{node}.disk-health-checker.max-disk-utilization-per-disk-percentage"
    return yarn_site(settings) | {
        f"{manager}.keytab": settings.keytab,
        f"{manager}.scheduler.class": FIFO,  # the usual one needs a file of queues
        f"{node}.keytab": settings.keytab,
        f"{node}.address": settings.address("nodemanager.rpc"),
        f"{node}.localizer.address": settings.address("nodemanager.localizer"),
        f"{node}.webapp.address": settings.address("nodemanager.http"),
        f"{node}.local-dirs": str(folder / "yarn" / "local"),
        f"{node}.log-dirs": str(folder / "yarn" / "logs"),
        f"{node}.resource.memory-mb": str(MEMORY_MB),
        f"{node}.resource.cpu-vcores": str(CORES),
        f"{node}.vmem-check-enabled": "false",
        f"{node}.delete.debug-delay-sec": "0",
        # The NodeManager waits for the ResourceManager, which starts beside it.
        f"{manager}.connect.max-wait.ms": "120000",
        full: "99.5",
    }
