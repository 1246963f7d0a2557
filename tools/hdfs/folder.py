"""Sets up and reads the folder of an HDFS.

    DIR/settings.json        the choices of the first `up`, including ports
    DIR/conf/                configuration of the daemons
    DIR/client/              configuration of the clients, ca.pem with HTTPS
    DIR/secrets/             keystore, signature secret, tickets while they are used
    DIR/kdc/                 the KDC, unless another one is given

Settings are written once, and the other files depend only on them. So `up` can be
repeated: a stopped HDFS comes back with the same ports and files.
"""

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from poets.errors import ConfigError, format_problems
from tools.hdfs.configuration import (
    LOG4J,
    PROTECTIONS,
    REALM,
    SHELL_LOG4J,
    Settings,
    core_site,
    daemon_sites,
    hdfs_site,
    write_site,
    write_whole,
)
from tools.hdfs.daemons import free_ports
from tools.hdfs.keystore import write_keystore
from tools.hdfs.yarn import yarn_daemon_site, yarn_site
from tools.kdc.local import LocalKdc
from tools.kdc.principals import read_principals

ROOT = Path(__file__).resolve().parents[2]
PRINCIPALS = ROOT / "demo" / "hdfs-principals.txt"
FILE = "settings.json"
MAX_DATANODES = 16


def find(folder: Path) -> Settings | None:
    """Returns the settings of the HDFS in a folder, None if there is none.

    Raises:
      ConfigError: if they cannot be read.
    """
    path = folder / FILE
    try:
        kept: Any = json.loads(path.read_text(encoding="utf-8"))
        return Settings(**kept)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"cannot read {str(path)!r}: {error}; run `down`, remove the folder and "
            "start again"
        ) from error


def make(
    folder: Path,
    wanted: Mapping[str, Any],
    kdc: Path | None = None,
    principals_file: Path = PRINCIPALS,
) -> Settings:
    """Prepares the HDFS of a folder, so that its daemons can start.

    This starts the KDC and creates principals, keytab, ports and configuration. An
    existing HDFS keeps its settings.

    Args:
      folder: its folder, created if absent.
      wanted: fields of `Settings` that the caller requires.
      kdc: the KDC's folder; default: that of the existing HDFS, or `folder/kdc`.
      principals_file: the services; their host names are replaced by this machine's.

    Raises:
      ConfigError: if `wanted` differs from the existing settings, or is invalid.
    """
    folder = folder.absolute()
    kept = find(folder)
    named = dict(wanted) | ({"kdc": str(kdc.absolute())} if kdc else {})
    problems = _problems(named, kept, folder)
    if problems:
        raise ConfigError(format_problems(f"HDFS in {str(folder)!r}", problems))
    settings = kept or replace(_new(folder), **named)
    principals = local_principals(principals_file, settings.host)
    local_kdc = LocalKdc(settings.kdc)
    local_kdc.start()
    local_kdc.add(principals)
    keytab = local_kdc.keytab(_secret(settings), principals)
    if not settings.ports:
        names = settings.port_names
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        settings = replace(settings, keytab=str(keytab), ports=ports)
    write_configuration(folder, settings)
    return settings


def local_principals(path: Path, host: str) -> list[str]:
    """Returns the services of a principals file with this machine's host name.

    For example, `hdfs/name-0-node.hdfs.autoip.dcos.thisdcos.directory@LOCAL` becomes
    `hdfs/HOST@LOCAL`.

    Raises:
      ConfigError: if the file is malformed, or lacks a service that HDFS needs.
    """
    names = [principal.partition("@")[0] for principal in read_principals(path, REALM)]
    services = dict.fromkeys(name.partition("/")[0] for name in names if "/" in name)
    if missing := [name for name in ("hdfs", "HTTP") if name not in services]:
        raise ConfigError(
            f"principals file {str(path)!r} has no {' and no '.join(missing)}; add "
            f"lines like {missing[0]}/{host}@{REALM}"
        )
    services["httpfs"] = None
    return [f"{service}/{host}@{REALM}" for service in services]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock that lets one process at a time start or stop an HDFS."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_configuration(folder: Path, settings: Settings) -> None:
    """Writes all configuration files of a folder from the settings."""
    for name in ("log", "run", "tmp", "secrets"):
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    secret = folder / "secrets" / "http"
    if not secret.exists():
        write_whole(secret, os.urandom(32).hex())
    conf = folder / "conf"
    for name, properties in daemon_sites(settings, folder).items():
        write_site(conf / name, properties)
    write_whole(conf / "log4j.properties", LOG4J)
    write_whole(conf / "shell" / "log4j.properties", SHELL_LOG4J)
    # The daemons require a folder of web pages, which the jars do not contain.
    for pages in ("hdfs", "datanode", "static"):
        (conf / "webapps" / pages).mkdir(parents=True, exist_ok=True)
    if settings.https:
        write_keystore(folder, settings.host)
    client = folder / "client"
    write_site(client / "core-site.xml", core_site(settings), 0o644)
    write_site(client / "hdfs-site.xml", hdfs_site(settings), 0o644)
    if settings.yarn:
        write_site(conf / "yarn-site.xml", yarn_daemon_site(settings, folder))
        write_site(client / "yarn-site.xml", yarn_site(settings), 0o644)
    write_whole(folder / FILE, json.dumps(asdict(settings), indent=2) + "\n")


def _is_loopback(host: str) -> bool:
    try:
        return socket.gethostbyname(host).startswith("127.")
    except OSError:
        return False


def _new(folder: Path) -> Settings:
    return Settings(kdc=str(folder / "kdc"), keytab="")


def _secret(settings: Settings) -> str:
    """Returns the name of the keytab among the KDC's secrets.

    It differs from the walk-through's `hdfs_keytab`, which has a cluster's host names.
    """
    return f"__dcos_base64__hdfs_{settings.host}_keytab"


def _problems(
    wanted: Mapping[str, Any], kept: Settings | None, folder: Path
) -> list[str]:
    """Returns all problems of the wanted settings."""
    found = []
    if ":" in str(folder):
        found.append(
            "Java's class path takes no ':' in a folder's name; choose another"
        )
    if not _is_loopback(host := wanted.get("host", "localhost")):
        found.append(
            f"host {host!r} does not resolve to 127.0.0.1 here; use localhost, or add "
            "it to /etc/hosts"
        )
    protection = wanted.get("protection", PROTECTIONS[0])
    if protection not in PROTECTIONS:
        found.append(f"protection {protection!r} is none of {', '.join(PROTECTIONS)}")
    for name, least, most in (("datanodes", 1, MAX_DATANODES), ("replication", 1, 512)):
        number = wanted.get(name, least)
        if not least <= number <= most:
            found.append(f"{name} {number} is not between {least} and {most}")
    if kept is not None:
        for each in fields(kept):
            is_now = getattr(kept, each.name)
            if wanted.get(each.name, is_now) != is_now:
                found.append(
                    f"{each.name} is {is_now!r} there, not {wanted[each.name]!r}; "
                    "leave the option out, or use another folder"
                )
    return found
