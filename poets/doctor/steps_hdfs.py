"""The steps of HDFS: client, configuration, authentication, NameNode, DataNodes.

    fs.defaultFS, dfs.ha.namenodes... ──> NameNode host:port ──> TCP ──> first request
                                              │
                                              └──> hdfs/host, or HTTP/host: its ticket

The web interfaces have the same steps; their addresses are in their URLs.
"""

import ctypes
import importlib
import importlib.metadata
from dataclasses import replace

from poets.doctor import Checkup, Finding, StepError, step
from poets.doctor.network import host_and_port, reach
from poets.doctor.security import WEBHDFS, is_secure, principal_of, token_of
from poets.doctor.steps_kerberos import with_kerberos
from poets.doctor.steps_storage import read_inputs, write_outputs
from poets.errors import KerberosError
from poets.kerberos.libkrb5 import get_service_ticket
from poets.kerberos.login import current_login
from poets.storage import ADAPTERS, open_storage
from poets.storage.calls import allowed_s
from poets.storage.hadoop.client_conf import AUTHENTICATION as AUTHENTICATION_KEY
from poets.storage.hadoop.conf import load_conf
from poets.storage.hadoop.url import DEFAULT_RPC_PORT, HA_PREFIX, WEB, locate
from poets.storage.hadoop.user import current_user

GSSAPI = "libgssapi_krb5.so.2"
CLIENTS = {"webhdfs": "hdfs", "swebhdfs": "hdfs"}
"""Scheme -> distribution; hdfs-native for the others."""

PRINCIPAL_KEY = "dfs.namenode.kerberos.principal"
KEYS = (
    "fs.defaultFS",
    AUTHENTICATION_KEY,
    PRINCIPAL_KEY,
    "dfs.data.transfer.protection",
    "dfs.client.use.datanode.hostname",
    "dfs.replication",
)
"""The keys to show; one that is not set is left out."""


@step("client library", "the client is installed")
def find_library(checkup: Checkup) -> Finding:
    """Loads the client and the system's GSSAPI, which it needs for Kerberos."""
    module, install = ADAPTERS[checkup.scheme]
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        cure = install or "install poets with all it needs"
        raise StepError(f"{error.name} is not installed", cure) from error
    client = CLIENTS.get(checkup.scheme, "hdfs-native")
    found = f"{client} {importlib.metadata.version(client)}"
    try:
        ctypes.CDLL(GSSAPI)
    except OSError as error:
        if not is_secure(checkup):
            return Finding(found)
        raise StepError(
            f"the library {GSSAPI} is not installed",
            "apt-get install libgssapi-krb5-2, or yum install krb5-libs",
        ) from error
    return Finding(f"{found}, {GSSAPI}")


@step("configuration", "the NameNode's address is known")
def find_configuration(checkup: Checkup) -> Finding:
    """Finds the NameNode of the URL, and the file that names it."""
    conf = load_conf()
    nodes = _name_nodes(checkup)
    details = [] if conf.sources else [f"no file: {conf.searched} are not set"]
    for source in conf.sources:
        details.append(f"from {source}")
        details += [
            f"  {key} = {conf[key]}"
            for key in KEYS
            if key in conf and conf.source_of(key) == source
        ]
    if not nodes:
        return Finding("addresses that the client finds", tuple(details))
    named = f"NameNode{'s' * (len(nodes) > 1)}"
    return Finding(f"{named} {', '.join(f'{h}:{p}' for h, p in nodes)}", tuple(details))


@step("authentication", "cluster and client agree on Kerberos")
def check_authentication(checkup: Checkup) -> Finding:
    """Compares the cluster's authentication with our login."""
    conf = load_conf()
    found = conf.get(AUTHENTICATION_KEY, "")
    if token_of(checkup):
        return Finding("delegation token")
    if is_secure(checkup):
        return Finding("kerberos")
    login = current_login()
    if login is None or not login.principal:
        user = current_user(login, with_kerberos=False)
        return Finding(f"simple: the cluster trusts any name, here {user}")
    where = (
        f"is {found!r} in {conf.source_of(AUTHENTICATION_KEY)}"
        if found
        else f"is not set (read {', '.join(conf.sources) or 'no file'})"
    )
    raise StepError(
        f"{AUTHENTICATION_KEY} {where}, although the principal {login.principal} is "
        "given: nobody would log in",
        "give the cluster's own core-site.xml and hdfs-site.xml (--hadoop_conf), or no "
        "principal if it has no Kerberos",
    )


@step("service ticket", "the KDC knows the server by its name")
@with_kerberos
def check_service_ticket(checkup: Checkup) -> Finding:
    """Gets a ticket for the server, by its expected name."""
    nodes = _name_nodes(checkup)
    if not nodes:
        return Finding("the URL names no server", applies=False)
    service, is_known = _service(checkup, nodes[0][0])
    try:
        ticket = get_service_ticket(current_login(), service, allowed_s())
    except KerberosError as error:
        if is_known:
            raise
        found = StepError.of(error).found
        return Finding(f"{found}, but it may have another name", applies=False)
    return Finding(f"{ticket.service}, key version {ticket.kvno}")


@step("port", "the NameNode accepts connections")
def reach_name_node(checkup: Checkup) -> Finding:
    """Connects to the NameNodes until one accepts."""
    nodes = _name_nodes(checkup)
    if not nodes:
        return Finding("the URL names no server", applies=False)
    usual = (
        "9870, with TLS 9871, HttpFS 14000"
        if checkup.scheme in WEBHDFS
        else "usually 8020; 9870 is the web's"
    )
    return reach(
        nodes,
        "the NameNode",
        f"check whether it is up, whether host and port are right ({usual}), and "
        "whether a firewall blocks it",
    )


@step("NameNode", "the NameNode answers us")
def ask_name_node(checkup: Checkup) -> Finding:
    """Asks the NameNode for its root folder."""
    filesystem, path = open_storage(f"{checkup.storage}/")
    filesystem.get_file_info(path)
    who = principal_of(checkup)
    return Finding("it answers" + (f" {who}" if who else ""))


@step(read_inputs.name, read_inputs.checks)
def read_by_datanode(checkup: Checkup) -> Finding:
    """Reads as from any storage; the bytes are from a DataNode."""
    finding = read_inputs.check(checkup)
    by = ", from a DataNode" if finding.applies else ""
    return replace(finding, text=finding.text + by)


@step(write_outputs.name, write_outputs.checks)
def write_by_datanode(checkup: Checkup) -> Finding:
    """Writes as to any storage, through NameNode and DataNode."""
    finding = write_outputs.check(checkup)
    by = "no safe mode, and a DataNode stored the bytes"
    return replace(finding, details=(*finding.details, by))


def _name_nodes(checkup: Checkup) -> tuple[tuple[str, int], ...]:
    """Returns host and port of each server of a URL.

    Empty for a mount table, and if the client finds the web interfaces itself.
    """
    conf = load_conf()
    if checkup.scheme in WEBHDFS:
        authority = checkup.storage.partition("://")[2]
        named = f"{HA_PREFIX}{authority}" in conf or authority in ("", "default")
        nodes = tuple([authority] if not named else [])
    else:
        nodes = locate(checkup.url, conf, user="").name_nodes
    *_, usual_port = WEB.get(checkup.scheme, (DEFAULT_RPC_PORT,))
    return tuple(host_and_port(node, usual_port) for node in nodes)


def _service(checkup: Checkup, host: str) -> tuple[str, bool]:
    """Returns the principal of the server, and whether it is certain."""
    if checkup.scheme in WEBHDFS:
        return f"HTTP/{host}", True
    named = load_conf().get(PRINCIPAL_KEY)
    has_name = not host.replace(".", "").isdecimal() and ":" not in host
    if named:
        return named.replace("_HOST", host.lower()), has_name or "_HOST" not in named
    return f"hdfs/{host}", False
