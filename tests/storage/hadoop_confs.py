"""What a test knows of Hadoop: a configuration that it makes, none of this machine's.

The fixtures are for each test of the files that import them.
"""

from importlib.util import find_spec
from pathlib import Path

import pytest

from poets.kerberos import login
from poets.storage.hadoop.conf import HadoopConf

VARIABLES = (
    *("POETS_HADOOP_CONF", "HDFS_CORE_SITE_URI", "HDFS_HDFS_SITE_URI"),
    *("HADOOP_CONF_DIR", "HADOOP_HOME", "HADOOP_USER_NAME", "HADOOP_PROXY_USER"),
    *("POETS_CA_FILE", "REQUESTS_CA_BUNDLE", "POETS_STORAGE_TIMEOUT_S"),
    *login.VARIABLES,
)
EMPTY = "<configuration/>"
HA = {
    "dfs.nameservices": "Flowers",
    "dfs.ha.namenodes.Flowers": "nn1, nn2",
    "dfs.namenode.rpc-address.Flowers.nn1": "a:9000",
    "dfs.namenode.rpc-address.Flowers.nn2": "b",
    "dfs.namenode.rpc-address.single": "c:9001",
    "fs.viewfs.mounttable.table.linkFallback": "hdfs://c/",
    "fs.viewfs.mounttable.bare.link./a": "hdfs://c/",
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    """Nothing of this machine's own Hadoop and Kerberos; tickets are removed."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    yield
    login.close()


@pytest.fixture(autouse=True)
def web_client(require):
    """Skips the test where the client of WebHDFS is absent."""
    require("webhdfs", all(map(find_spec, ("hdfs", "requests_kerberos"))))


def properties(more: str = "", **values: str) -> str:
    """Returns a configuration file; `_` in a name means a dot."""
    made = "".join(
        f"<property><name>{name.replace('_', '.')}</name><value>{value}</value>"
        "</property>"
        for name, value in values.items()
    )
    return f"<?xml version='1.0'?>\n<configuration>{made}{more}</configuration>\n"


def write_conf(folder: Path, core: str = EMPTY, hdfs: str = EMPTY) -> None:
    """Writes core-site.xml and hdfs-site.xml, as `properties` returns them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "core-site.xml").write_text(core, "utf-8")
    (folder / "hdfs-site.xml").write_text(hdfs, "utf-8")


def made_conf(default: str | None = None, **more: str) -> HadoopConf:
    """Returns the configuration of `HA`, with fs.defaultFS and more of its own."""
    values = HA | more | ({"fs.defaultFS": default} if default else {})
    raw = {key: (value, "hdfs-site.xml") for key, value in values.items()}
    return HadoopConf(raw, ("hdfs-site.xml",), "POETS_HADOOP_CONF")
