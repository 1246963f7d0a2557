"""The real KDC and a secure HDFS on the cluster's machine, for tests that ask.

    hdfs_beside    its clients are pods; once a session, with drawn pictures in it

They are those of `tools/` and listen on loopback. Pods reach their ports by the name
`beside.example`, which is also the host in the principals.
"""

import base64
import json
import sys
from pathlib import Path

import pytest

from poets.kerberos.krb5_conf import krb5_conf_text
from tests.secure import Kdc
from tools.hdfs import folder as folders
from tools.kubernetes.machine import BESIDE

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "hdfs" / "hdfs.py"
PICTURES = "/tensorflow_input_data/flower_photos"
"""Where the options file and the overlays of HDFS expect them."""

TIMEOUT_S = 600


class HdfsBeside:
    """An HDFS that pods reach.

    Attributes:
      folder: its folder.
      kdc: its KDC, whose address for pods is `kdc_address`.
      config_uri: of the client configuration, for pods.
    """

    def __init__(self, cluster, folder):
        self.cluster = cluster
        self.folder = folder
        self.kdc = Kdc(folder / "kdc")
        self.kdc_address = f"{BESIDE}:{self.kdc.port}"
        ports = folders.find(folder).ports
        self.config_uri = f"http://{BESIDE}:{ports['endpoints']}/v1/endpoints"
        for port in (self.kdc.port, *ports.values()):
            cluster.forward(port)

    def dfs(self, *words):
        """Returns what the real `hdfs dfs` prints, as the superuser."""
        command = [sys.executable, str(TOOL), "shell", str(self.folder), "--", *words]
        done = self.cluster.run(*command, timeout_s=TIMEOUT_S)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def client_files(self):
        """Returns the texts of a client's configuration in a pod, by file name."""
        files = {
            name: (self.folder / "client" / name).read_text()
            for name in ("core-site.xml", "hdfs-site.xml")
        }
        krb5_conf = krb5_conf_text(self.kdc.realm, [self.kdc_address])
        return {**files, "krb5.conf": krb5_conf}

    def keytab_secret(self, name):
        """Returns a Secret with the keytab of `tensorflow`."""
        data = base64.b64encode(self.kdc.user("tensorflow").read_bytes()).decode()
        metadata = {"name": name}
        thing = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
        return {**thing, "data": {"keytab": data}}


@pytest.fixture(scope="session")
def hdfs_beside(kubernetes, hadoop, flowers, tmp_path_factory):
    """A secure HDFS of one DataNode, with the pictures; `hadoop` has the jars."""
    folder = tmp_path_factory.mktemp("hdfs-beside")

    def tool(verb, *words):
        command = [sys.executable, str(TOOL), verb, str(folder), *words]
        return kubernetes.run(*command, timeout_s=TIMEOUT_S)

    try:
        done = tool("up", f"--host={BESIDE}", f"--put={flowers}={PICTURES}")
        assert done.returncode == 0, done.stderr
        yield HdfsBeside(kubernetes, folder)
    finally:
        tool("down")


def metrics_of(hdfs, place):
    """Returns metrics.json of a results folder."""
    return json.loads(hdfs.dfs("-cat", f"{place}/metrics.json"))
