"""The secure world on this machine: a real KDC, a real HDFS, for tests that ask.

    kdc            a KDC, once a session
    secure_hdfs    an HDFS with everything: 2 DataNodes, TLS, HttpFS; once a session
    private_hdfs   another one, 2 DataNodes and protection "privacy"; once a session
    start_hdfs     one of a test's own: start_hdfs(protection="integrity")

Nothing starts before a test asks. All folders are temporary; Hadoop's jars are those of
`tools/hdfs/hdfs.py`, in `.cache/hadoop`. A test that stops a daemon of `secure_hdfs`
starts it again before it ends.
"""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from poets.errors import PoetsError
from tools.hdfs import folder as folders
from tools.hdfs import maven
from tools.hdfs.cluster import SecureHdfs
from tools.hdfs.daemons import free_ports
from tools.hdfs.shell import run_hadoop
from tools.kdc.local import LocalKdc
from tools.packages import missing_packages

DFS_TIMEOUT_S = 60
CHANGE = """
import json, sys
from hdfs_native import Client, WriteOptions
url, conf, principal, keytab, acts = sys.argv[1:]
client = Client(url, {}, conf, kerberos_principal=principal, kerberos_keytab=keytab)

def create(path, size):
    writer = client.create(path, WriteOptions(overwrite=True, replication=1))
    for start in range(0, size, 1 << 22):
        writer.write(bytes(min(1 << 22, size - start)))
    writer.close()

for name, *arguments in json.loads(acts):
    (create if name == "create" else getattr(client, name))(*arguments)
"""


class Kdc(LocalKdc):
    """A KDC with the users that tests ask for."""

    def user(
        self,
        name: str,
        max_life: str | None = None,
        max_renewable_life: str | None = None,
    ) -> Path:
        """Returns the keytab of `name@LOCAL`, a principal made when it is new.

        Args:
          name: as "alice".
          max_life: of its tickets, as "20s".
          max_renewable_life: likewise.
        """
        principal = f"{name}@{self.realm}"
        self.add([principal], max_life, max_renewable_life)
        return self.keytab(f"__dcos_base64__{name}_keytab", [principal])

    def environment(self, name: str) -> dict[str, str]:
        """Returns the variables with which a user logs in from its keytab."""
        return {
            "KRB5_CONFIG": str(self.krb5_conf),
            "KRB5_CLIENT_KTNAME": str(self.user(name)),
            "POETS_KERBEROS_PRINCIPAL": f"{name}@{self.realm}",
        }


class Hdfs:
    """A running secure HDFS.

    Attributes:
      cluster: its daemons, to stop, kill and start.
      kdc: its KDC.
      url: as `hdfs://localhost:12345`.
      webhdfs_url, swebhdfs_url, httpfs_url: the other ways in; "" where it has none.
      conf_dir: the folder of the client configuration.
      config_uri: the same over HTTP, as `service.hdfs.config_uri`.
      ca_file: the certificate of its web interfaces.
      krb5_conf: for KRB5_CONFIG.
    """

    def __init__(self, cluster: SecureHdfs, kdc: Kdc):
        self.cluster = cluster
        self.kdc = kdc
        self.url = cluster.url
        settings = cluster.settings
        self.webhdfs_url = f"webhdfs://{settings.address('namenode.http')}"
        self.swebhdfs_url = self.httpfs_url = ""
        if settings.https:
            self.swebhdfs_url = f"swebhdfs://{settings.address('namenode.https')}"
        if settings.httpfs:
            self.httpfs_url = f"webhdfs://{settings.address('httpfs')}"
        self.conf_dir = cluster.conf_dir
        self.config_uri = cluster.config_uri
        self.ca_file = cluster.conf_dir / "ca.pem"
        self.krb5_conf = kdc.krb5_conf

    def keytab(self, user: str) -> Path:
        """Returns the keytab of a user, as "tensorflow" or "alice"."""
        return self.kdc.user(user)

    def environment(self, user: str) -> dict[str, str]:
        """Returns the variables with which a user's programs get in."""
        conf = {"POETS_HADOOP_CONF": str(self.conf_dir)}
        return conf | self.kdc.environment(user)

    def dfs(
        self, *arguments: str, user: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs the real `hdfs dfs`, as `dfs("-ls", "/")`; some 1.2 s.

        Args:
          arguments: those of FsShell.
          user: who asks; default: the superuser.
        """
        return run_hadoop(
            self.cluster,
            arguments,
            principal=f"{user}@{self.kdc.realm}" if user else None,
            keytab=self.keytab(user) if user else None,
            capture=True,
            timeout_s=DFS_TIMEOUT_S,
        )

    def change(self, *acts: tuple[object, ...]) -> None:
        """Does several things as the superuser, faster than `dfs`.

        Args:
          acts: a method of hdfs_native's client and its arguments each, as
            `("set_permission", "/a", 0o700)`; or "create", a path and a size.
        """
        settings = self.cluster.settings
        login = [settings.principal("hdfs"), str(settings.keytab)]
        subprocess.run(
            [
                *(sys.executable, "-c", CHANGE),
                *(self.url, str(self.conf_dir), *login, json.dumps(acts)),
            ],
            env=dict(self.cluster.environment),
            check=True,
            timeout=300,
        )

    def stop_namenode(self) -> None:
        """Stops the NameNode; its port is free then."""
        self.cluster.stop_namenode()

    def kill_namenode(self) -> None:
        """Kills the NameNode, as a crash does."""
        self.cluster.namenode.kill()

    def start_namenode(self) -> None:
        """Starts the NameNode on its port; returns once files can be written."""
        self.cluster.start_namenode()

    def kill_datanode(self, index: int) -> None:
        """Kills a DataNode, as a crash does."""
        self.cluster.datanodes[index].kill()

    def start_all(self) -> None:
        """Starts what does not run, the KDC included, and waits until it works."""
        self.cluster.start()


def conf_with_namenode(hdfs: Hdfs, port: int, folder: Path) -> dict[str, str]:
    """Copies the client configuration to a folder, with the NameNode at another port.

    Returns:
      the variables by which programs use it.
    """
    shutil.copytree(hdfs.conf_dir, folder)
    for path in folder.glob("*-site.xml"):
        text = path.read_text()
        path.write_text(text.replace(hdfs.url[len("hdfs://") :], f"localhost:{port}"))
    return {"POETS_HADOOP_CONF": str(folder)}


@pytest.fixture(scope="session")
def kdc(
    require: Callable[[str, object], None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kdc]:
    """A running KDC of realm LOCAL."""
    require("kdc", not missing_packages(["krb5"]))
    running = Kdc(tmp_path_factory.mktemp("kdc"), port=free_ports(1)[0])
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def hadoop(require: Callable[[str, object], None]) -> str:
    """The class path of Hadoop, downloaded at its first use."""
    require("hdfs", not missing_packages(["jdk"]))
    require("hdfs", importlib.util.find_spec("hdfs_native"))
    try:
        return maven.class_path()
    except PoetsError as error:
        print(error)
        require("hdfs", False)
        raise


@pytest.fixture(scope="session")
def secure_hdfs(
    hadoop: str, kdc: Kdc, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hdfs]:
    """An HDFS with 2 DataNodes, TLS and HttpFS; `/user/tensorflow` is there too."""
    folder = tmp_path_factory.mktemp("hdfs")
    wanted = {"datanodes": 2, "https": True, "httpfs": True}
    running = _started(folder, wanted, hadoop, kdc)
    try:
        running.cluster.make_folder("/user/tensorflow", "tensorflow:tensorflow")
        yield running
    finally:
        running.cluster.stop()


@pytest.fixture(scope="session")
def private_hdfs(
    hadoop: str, kdc: Kdc, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hdfs]:
    """An HDFS with 2 DataNodes, that encrypts all data; other tests run beside it."""
    wanted = {"datanodes": 2, "protection": "privacy"}
    running = _started(tmp_path_factory.mktemp("hdfs"), wanted, hadoop, kdc)
    try:
        yield running
    finally:
        running.cluster.stop()


@pytest.fixture
def start_hdfs(
    hadoop: str, kdc: Kdc, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Hdfs]]:
    """Starts an HDFS of its own for the test; takes fields of `Settings`."""
    started: list[Hdfs] = []

    def start(**wanted: object) -> Hdfs:
        folder = tmp_path_factory.mktemp("hdfs")
        started.append(_started(folder, wanted, hadoop, kdc))
        return started[-1]

    yield start
    for hdfs in started:
        hdfs.cluster.stop()


def _started(
    folder: Path, wanted: Mapping[str, object], class_path: str, kdc: Kdc
) -> Hdfs:
    settings = folders.make(folder, wanted, kdc.directory)
    yarn = maven.class_path(pom=maven.YARN) if settings.yarn else ""
    cluster = SecureHdfs(folder, settings, class_path, yarn)
    try:
        cluster.start()
        cluster.prepare()
    except BaseException:
        cluster.stop()
        raise
    return Hdfs(cluster, kdc)
