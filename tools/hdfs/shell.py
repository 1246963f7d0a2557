"""Runs Hadoop's own command line, such as `hdfs dfs`, as a principal.

    keytab ──kinit──> private ticket cache ──> java FsShell -ls /  ──> exit code

It reads only the client configuration, as on another machine. Each call gets its own
ticket, which is deleted afterwards.
"""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.hdfs.cluster import SecureHdfs
from tools.hdfs.configuration import HdfsError
from tools.packages import find_program

FS_SHELL = "org.apache.hadoop.fs.FsShell"
DFS_ADMIN = "org.apache.hadoop.hdfs.tools.DFSAdmin"
KINIT_TIMEOUT_S = 30


def run_hadoop(
    hdfs: SecureHdfs,
    arguments: Sequence[str],
    *,
    principal: str | None = None,
    keytab: Path | None = None,
    main_class: str = FS_SHELL,
    capture: bool = False,
    timeout_s: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a Hadoop program with a new ticket.

    Args:
      hdfs: the HDFS; if it does not run, the program reports that.
      arguments: arguments of `hdfs dfs`, such as `["-ls", "/"]`.
      principal: the user; default: the superuser, with the daemons' keytab.
      keytab: the keytab of `principal`.
      main_class: the program.
      capture: whether to return its output; else it goes to our stdout and stderr.
      timeout_s: the limit in seconds; None waits for ever.

    Raises:
      HdfsError: if kinit fails, or after the timeout.
    """
    settings = hdfs.settings
    principal = principal or settings.principal("hdfs")
    login = keytab or Path(settings.keytab)
    logging = (hdfs.folder / "conf" / "shell" / "log4j.properties").as_uri()
    with tempfile.TemporaryDirectory(dir=hdfs.folder / "secrets") as private:
        cache = Path(private) / "ticket"
        _kinit(hdfs, principal, login, cache)
        command = hdfs.java(main_class, *arguments, conf_dir=hdfs.conf_dir)
        command.insert(1, f"-Dlog4j.configuration={logging}")
        environment = dict(hdfs.environment) | {"KRB5CCNAME": str(cache)}
        environment["HADOOP_CONF_DIR"] = str(hdfs.conf_dir)
        try:
            return subprocess.run(
                command,
                env=environment,
                capture_output=capture,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise HdfsError(
                f"{main_class.rpartition('.')[2]} {' '.join(arguments)} did not end "
                f"within {timeout_s:g} s; look at the logs in "
                f"{str(hdfs.folder / 'log')!r}"
            ) from error


def _kinit(hdfs: SecureHdfs, principal: str, keytab: Path, cache: Path) -> None:
    command = [find_program("kinit") or "kinit", "-k", "-t", str(keytab)]
    done = subprocess.run(
        [*command, "-c", f"FILE:{cache}", principal],
        env=dict(hdfs.environment) | {"LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=KINIT_TIMEOUT_S,
        check=False,
    )
    if done.returncode or not os.path.exists(cache):
        raise HdfsError(
            f"no ticket for {principal!r} with keytab {str(keytab)!r}: "
            f"{done.stderr.strip()}; is the KDC in {str(hdfs.kdc.directory)!r} "
            "running, and is the keytab its own?"
        )
