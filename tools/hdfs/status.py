"""Reports the status of an HDFS, from its pid files and from the NameNode."""

import re
from typing import Any

from tools.hdfs.cluster import SecureHdfs
from tools.hdfs.configuration import HdfsError
from tools.hdfs.shell import DFS_ADMIN, run_hadoop

REPORT_TIMEOUT_S = 30


def status(hdfs: SecureHdfs) -> dict[str, Any]:
    """Returns the status, as plain values for JSON.

    Returns:
      `daemons`: name -> pid (or None) and ports; `safe_mode` and `live_datanodes`,
      None if the NameNode does not answer, with the reason in `problem`; `works`:
      whether all daemons run, out of safe mode; and the addresses for clients.
    """
    daemons: dict[str, Any] = {
        "kdc": {"pid": hdfs.kdc.pid, "ports": {"kdc": hdfs.kdc.port}}
    }
    for daemon in hdfs.daemons:
        daemons[daemon.name] = {"pid": daemon.pid, "ports": dict(daemon.ports)}
    safe_mode, live, problem = None, None, ""
    if daemons["kdc"]["pid"] and daemons["namenode"]["pid"]:
        safe_mode, live, problem = _report(hdfs)
    return {
        "url": hdfs.url,
        "config_uri": hdfs.config_uri,
        "krb5_conf": str(hdfs.kdc.krb5_conf),
        "kdc": f"127.0.0.1:{hdfs.kdc.port}",
        "daemons": daemons,
        "safe_mode": safe_mode,
        "live_datanodes": live,
        "problem": problem,
        "works": all(daemon["pid"] for daemon in daemons.values())
        and safe_mode is False
        and live == hdfs.settings.datanodes,
    }


def _report(hdfs: SecureHdfs) -> tuple[bool | None, int | None, str]:
    """Returns safe mode and the number of live DataNodes, or why they are unknown."""
    try:
        done = run_hadoop(
            hdfs,
            ["-report", "-live"],
            main_class=DFS_ADMIN,
            capture=True,
            timeout_s=REPORT_TIMEOUT_S,
        )
    except HdfsError as error:
        return None, None, str(error)
    if done.returncode:
        return None, None, (done.stderr or done.stdout).strip().partition("\n")[0]
    live = re.search(r"^Live datanodes \((\d+)\)", done.stdout, re.MULTILINE)
    return "Safe mode is ON" in done.stdout, int(live[1]) if live else 0, ""


def status_lines(found: dict[str, Any]) -> list[str]:
    """Formats a status as text, with one line per daemon."""
    lines = []
    for name, daemon in found["daemons"].items():
        runs = f"pid {daemon['pid']}" if daemon["pid"] else "not running"
        ports = ", ".join(f"{use} {port}" for use, port in _short(daemon["ports"]))
        lines.append(f"{name:<12} {runs:<12} {ports}")
    lines.append(f"file system  {found['url']}")
    if found["safe_mode"] is None:
        return [
            *lines,
            f"state        unknown: {found['problem'] or 'it does not run'}",
        ]
    lines.append(f"safe mode    {'on' if found['safe_mode'] else 'off'}")
    count = sum(name.startswith("datanode-") for name in found["daemons"])
    return [*lines, f"DataNodes    {found['live_datanodes']} of {count} live"]


def _short(ports: dict[str, int]) -> list[tuple[str, int]]:
    return [(use.rpartition(".")[2], port) for use, port in ports.items()]
