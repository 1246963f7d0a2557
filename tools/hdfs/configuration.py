"""Writes the configuration of the secure HDFS, for daemons and for clients.

    conf/core-site.xml hdfs-site.xml       for daemons: with the paths of keytabs
    conf/httpfs-site.xml ssl-server.xml    only with HttpFS; only with HTTPS
    client/core-site.xml hdfs-site.xml     for clients: without secrets

The files depend only on the `Settings` chosen at the first `up`, so a restarted daemon
has the same configuration. The rules that map principals to users are those of the
walk-through; HDFS refuses a principal without a rule.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from poets.errors import PoetsError

REALM = "LOCAL"
PROTECTIONS = ("authentication", "integrity", "privacy")
USERS = ("tensorflow", "alice", "bob")
YARN_PORTS = (
    *("resourcemanager.rpc", "resourcemanager.scheduler", "resourcemanager.tracker"),
    *("resourcemanager.admin", "resourcemanager.http"),
    *("nodemanager.rpc", "nodemanager.localizer", "nodemanager.http"),
)

AUTH_TO_LOCAL = "\n".join(
    [f"RULE:[2:$1@$0](^{name}@{REALM}$)s/.*/{name}/" for name in ("hdfs", "httpfs")]
    + [f"RULE:[1:$1@$0](^{name}@{REALM}$)s/.*/{name}/" for name in ("hdfs", *USERS)]
)

LOG4J = """\
log4j.rootLogger=INFO,console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %p %c{1}: %m%n
# One DataNode cannot hold three replicas; a warning for each block is not needed.
log4j.logger.org.apache.hadoop.hdfs.server.blockmanagement.BlockPlacementPolicy=ERROR
log4j.logger.org.apache.hadoop.hdfs.protocol.BlockStoragePolicy=ERROR
# One line per block and per call would fill the log.
log4j.logger.BlockStateChange=WARN
log4j.logger.org.apache.hadoop.hdfs.StateChange=WARN
log4j.logger.org.apache.hadoop.hdfs.server.datanode.DataNode.clienttrace=WARN
log4j.logger.org.apache.hadoop.hdfs.server.datanode.fsdataset=WARN
log4j.logger.org.apache.hadoop.util.NativeCodeLoader=ERROR
"""


SHELL_LOG4J = """\
log4j.rootLogger=WARN,console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%p %c{1}: %m%n
log4j.logger.org.apache.hadoop.util.NativeCodeLoader=ERROR
"""


class HdfsError(PoetsError):
    """An operation on the local HDFS failed."""


@dataclass(frozen=True)
class Settings:
    """The settings of an HDFS, chosen at the first `up` and kept for later ones.

    Attributes:
      kdc: the folder of a KDC created by tools/kdc/kdc.py.
      keytab: the keytab of the daemons, with their principals `hdfs/HOST`,
        `HTTP/HOST` and `httpfs/HOST`.
      ports: use, such as `datanode-0.http` -> port on loopback; one for each of
        `port_names`.
      host: the host name in principals and URLs; resolves to loopback.
      datanodes: the number of DataNodes, at least 1.
      protection: one of `PROTECTIONS`, for both RPC and data transfer.
      replication: the replication of new files; may exceed the number of DataNodes.
      httpfs: whether the gateway HttpFS runs.
      https: whether the web interfaces also speak TLS, for swebhdfs.
      yarn: whether a ResourceManager and a NodeManager run, see yarn.py.
      token_life_s: for how long delegation tokens are valid; 0 is Hadoop's day.
    """

    kdc: str
    keytab: str
    ports: Mapping[str, int] = field(default_factory=dict)
    host: str = "localhost"
    datanodes: int = 1
    protection: str = "authentication"
    replication: int = 3
    httpfs: bool = False
    https: bool = False
    yarn: bool = False
    token_life_s: int = 0

    def principal(self, service: str) -> str:
        """Returns the principal of a local service, such as `hdfs/localhost@LOCAL`."""
        return f"{service}/{self.host}@{REALM}"

    def address(self, use: str) -> str:
        """Returns `host:port` of a use of a port."""
        return f"{self.host}:{self.ports[use]}"

    @property
    def port_names(self) -> list[str]:
        """All uses of a port, the most important first."""
        names = ["namenode.rpc", "namenode.http", "endpoints"]
        names += ["namenode.https"] * self.https + ["httpfs"] * self.httpfs
        names += YARN_PORTS * self.yarn
        kinds = ["transfer", "ipc", "http"] + ["https"] * self.https
        names += [
            f"datanode-{i}.{kind}" for i in range(self.datanodes) for kind in kinds
        ]
        return names


def core_site(settings: Settings) -> dict[str, str]:
    """Returns the part of core-site.xml that daemons and clients share."""
    return {
        "fs.defaultFS": f"hdfs://{settings.address('namenode.rpc')}",
        "hadoop.security.authentication": "kerberos",
        "hadoop.security.authorization": "true",
        "hadoop.rpc.protection": settings.protection,
        "hadoop.security.auth_to_local": AUTH_TO_LOCAL,
        # Clients report a missing NameNode within seconds, not minutes.
        "ipc.client.connect.max.retries": "5",
    }


def hdfs_site(settings: Settings) -> dict[str, str]:
    """Returns the part of hdfs-site.xml that daemons and clients share."""
    policy = "dfs.client.block.write.replace-datanode-on-failure"
    site = {
        "dfs.namenode.rpc-address": settings.address("namenode.rpc"),
        "dfs.namenode.http-address": settings.address("namenode.http"),
        "dfs.namenode.kerberos.principal": settings.principal("hdfs"),
        "dfs.datanode.kerberos.principal": settings.principal("hdfs"),
        "dfs.block.access.token.enable": "true",
        "dfs.data.transfer.protection": settings.protection,
        "dfs.client.use.datanode.hostname": "true",
        "dfs.replication": str(settings.replication),
        "dfs.blocksize": str(16 << 20),
        "dfs.http.policy": "HTTP_AND_HTTPS" if settings.https else "HTTP_ONLY",
        # If a DataNode fails during a write, continue with those that are left.
        f"{policy}.best-effort": "true",
    }
    if settings.https:
        site["dfs.namenode.https-address"] = settings.address("namenode.https")
    return site


def daemon_sites(settings: Settings, folder: Path) -> dict[str, dict[str, str]]:
    """Returns file name -> properties of the daemons' configuration.

    Args:
      settings: the settings of this HDFS.
      folder: its absolute path, for images, blocks and secrets.
    """
    keytab = settings.keytab
    web = settings.principal("HTTP")
    http = "hadoop.http.authentication"
    core = core_site(settings) | {
        "hadoop.tmp.dir": str(folder / "tmp"),
        # Without these three, the web interface trusts `?user.name=anyone`.
        f"{http}.type": "kerberos",
        f"{http}.kerberos.principal": web,
        f"{http}.kerberos.keytab": keytab,
        f"{http}.signature.secret.file": str(folder / "secrets" / "http"),
        "hadoop.http.filter.initializers": (
            "org.apache.hadoop.security.AuthenticationFilterInitializer"
        ),
        # For HADOOP_PROXY_USER: one user may act for one other.
        **_proxy_user("tensorflow", users="alice"),
    }
    hdfs = hdfs_site(settings) | {
        "dfs.namenode.keytab.file": keytab,
        "dfs.datanode.keytab.file": keytab,
        "dfs.web.authentication.kerberos.principal": web,
        "dfs.web.authentication.kerberos.keytab": keytab,
        "dfs.namenode.kerberos.internal.spnego.principal": web,
        # The DataNode runs as an ordinary user. SASL protects the transfer, so it
        # needs neither privileged ports nor jsvc; this allows a high web port, too.
        "ignore.secure.ports.for.testing": "true",
        "dfs.datanode.hostname": settings.host,
        "dfs.namenode.datanode.registration.ip-hostname-check": "false",
        "dfs.namenode.name.dir": (folder / "namenode").as_uri(),
        "dfs.namenode.replication.min": "1",
        "dfs.namenode.safemode.extension": "0",
        "dfs.namenode.acls.enabled": "true",
        # A file may be closed before the DataNode has reported its last block.
        # Without this, a client that is faster waits half a second per file.
        "dfs.namenode.file.close.num-committed-allowed": "1",
        # A killed DataNode is avoided after 5 s and dead after 2 * 5 s + 10 s.
        "dfs.heartbeat.interval": "1",
        "dfs.namenode.heartbeat.recheck-interval": "5000",
        "dfs.namenode.stale.datanode.interval": "5000",
        "dfs.namenode.avoid.read.stale.datanode": "true",
        "dfs.namenode.avoid.write.stale.datanode": "true",
        "dfs.namenode.handler.count": "16",
        "dfs.datanode.handler.count": "16",
        "dfs.datanode.max.transfer.threads": "1024",
        "dfs.datanode.du.reserved": "0",
        "dfs.permissions.superusergroup": "supergroup",
    }
    if settings.token_life_s:  # unless they are renewed
        life_ms = str(1000 * settings.token_life_s)
        hdfs["dfs.namenode.delegation.token.renew-interval"] = life_ms
    sites = {"core-site.xml": core, "hdfs-site.xml": hdfs}
    if settings.httpfs:
        core |= _proxy_user("httpfs", users="*")
        sites["httpfs-site.xml"] = _httpfs_site(settings, folder)
    return sites


def _proxy_user(user: str, users: str, service: str = "hadoop") -> dict[str, str]:
    """Returns the properties that let a local user impersonate one of `users`."""
    proxy = f"{service}.proxyuser.{user}"
    return {f"{proxy}.hosts": "127.0.0.1", f"{proxy}.users": users}


def datanode_arguments(settings: Settings, index: int, folder: Path) -> list[str]:
    """Returns the command line of one DataNode: its ports and its folder of blocks."""
    name = f"datanode-{index}"
    own = {
        "dfs.datanode.address": settings.address(f"{name}.transfer"),
        "dfs.datanode.ipc.address": settings.address(f"{name}.ipc"),
        "dfs.datanode.http.address": settings.address(f"{name}.http"),
        "dfs.datanode.data.dir": (folder / name).as_uri(),
    }
    if settings.https:
        own["dfs.datanode.https.address"] = settings.address(f"{name}.https")
    return [part for item in own.items() for part in ("-D", "=".join(item))]


def _httpfs_site(settings: Settings, folder: Path) -> dict[str, str]:
    kerberos = {
        "type": "kerberos",
        "kerberos.principal": settings.principal("HTTP"),
        "kerberos.keytab": settings.keytab,
    }
    hadoop = kerberos | {"kerberos.principal": settings.principal("httpfs")}
    return {
        "httpfs.http.hostname": settings.host,
        "httpfs.http.port": str(settings.ports["httpfs"]),
        "httpfs.hadoop.config.dir": str(folder / "conf"),
        **{f"hadoop.http.authentication.{key}": text for key, text in kerberos.items()},
        **{f"httpfs.authentication.{key}": text for key, text in kerberos.items()},
        **{f"httpfs.hadoop.authentication.{key}": text for key, text in hadoop.items()},
        **_proxy_user("tensorflow", users="alice", service="httpfs"),
    }


def write_site(path: Path, properties: Mapping[str, str], mode: int = 0o600) -> None:
    """Writes properties to a Hadoop XML file, atomically.

    Args:
      path: the file.
      properties: name -> text.
      mode: its permissions; by default only the owner may read it.

    Raises:
      HdfsError: if the file cannot be written.
    """
    root = ElementTree.Element("configuration")
    for name in sorted(properties):
        entry = ElementTree.SubElement(root, "property")
        ElementTree.SubElement(entry, "name").text = name
        ElementTree.SubElement(entry, "value").text = properties[name]
    ElementTree.indent(root)
    text = ElementTree.tostring(root, "unicode", xml_declaration=True)
    write_whole(path, f"{text}\n", mode)


def write_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """Writes a file atomically; by default only the owner may read it.

    Raises:
      HdfsError: if the file cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(part, path)
    except OSError as error:
        raise HdfsError(
            f"cannot write {str(path)!r}: {error.strerror}; choose a writable folder"
        ) from error
