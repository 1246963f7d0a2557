"""A secure HDFS as one object: its daemons started, waited for, stopped.

    KDC <── NameNode <── DataNode 0, 1, ...
                ^   <── HttpFS (--httpfs)
             clients ──> endpoints: client/ over HTTP, as DC/OS HDFS serves it

Everything listens on loopback alone and lives below one folder, see folder.py. The same
object serves the command line and the tests, which stop, kill and restart single
daemons with it.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tools.hdfs import archive
from tools.hdfs.configuration import (
    HdfsError,
    Settings,
    core_site,
    datanode_arguments,
)
from tools.hdfs.daemons import (
    STOP_TIMEOUT_S,
    Daemon,
    is_free,
    is_listening,
    wait_until,
)
from tools.kdc.local import LocalKdc
from tools.packages import find_program

HERE = Path(__file__).resolve().parent
NAMENODE = "org.apache.hadoop.hdfs.server.namenode.NameNode"
DATANODE = "org.apache.hadoop.hdfs.server.datanode.DataNode"
HTTPFS = "org.apache.hadoop.fs.http.server.HttpFSServerWebServer"
JVM = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    # Jersey 1, in HttpFS, makes classes in a way that Java 17 closed.
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
)
HEAP_MB = 256
START_TIMEOUT_S = 120.0
REGISTER_TIMEOUT_S = 15.0
REGISTERED = "successfully registered with NN"  # a DataNode's log


class SecureHdfs:
    """The HDFS of a folder, whether it runs or not.

    Attributes:
      folder: absolute.
      settings: what it was made with.
      kdc: its KDC.
      url: of the file system, as `hdfs://localhost:12345`.
      conf_dir: the folder of the client configuration.
      config_uri: the same over HTTP.
      namenode, datanodes, httpfs, endpoints: the daemons; `httpfs` may be None.
    """

    def __init__(self, folder: Path, settings: Settings, class_path: str):
        """Takes the HDFS of a folder as it is; makes and starts nothing.

        Args:
          folder: where it is, or is to be.
          settings: with all ports.
          class_path: Hadoop's jars.
        """
        self.folder = folder.absolute()
        self.settings = settings
        self.kdc = LocalKdc(settings.kdc)
        self.url = core_site(settings)["fs.defaultFS"]
        self.conf_dir = self.folder / "client"
        self.config_uri = f"http://127.0.0.1:{settings.ports['endpoints']}/v1/endpoints"
        self._class_path = class_path
        self._java = find_program("java") or "java"
        self._archive = archive.archive_of(class_path, self._java)
        self.namenode = self._jvm("namenode", NAMENODE)
        self.datanodes = [
            self._jvm(
                f"datanode-{i}", DATANODE, *datanode_arguments(settings, i, self.folder)
            )
            for i in range(settings.datanodes)
        ]
        self.httpfs = self._jvm("httpfs", HTTPFS) if settings.httpfs else None
        serve = [sys.executable, str(HERE / "endpoints.py"), str(self.conf_dir)]
        port = settings.ports["endpoints"]
        self.endpoints = Daemon(
            "endpoints",
            self.folder,
            [*serve, str(port), Daemon.MARK],
            self.environment,
            {"endpoints": port},
        )

    @property
    def daemons(self) -> list[Daemon]:
        """All daemons, in the order of their start."""
        gateway = [self.httpfs] if self.httpfs else []
        return [self.namenode, *self.datanodes, *gateway, self.endpoints]

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Starts what does not run and waits until files can be written and read.

        Raises:
          HdfsError: if a daemon dies or the file system does not work in time; with
            the last errors of the log.
        """
        deadline = time.monotonic() + timeout_s
        self.kdc.start()
        if not (self.folder / "namenode").exists():
            self._format()
        for datanode in self.datanodes:
            datanode.start()
        self.start_namenode(0)
        self.endpoints.start()
        if self.httpfs:
            self.httpfs.start()
        self.wait_until_ready(deadline - time.monotonic())
        lists = (self.folder / "tmp").glob("*.classes")
        archive.make(self._archive, [self._java, *JVM], lists, self._class_path)

    def stop(self) -> list[str]:
        """Stops all daemons, not the KDC; returns the names of those that ran."""
        return [daemon.name for daemon in reversed(self.daemons) if daemon.stop()]

    def start_namenode(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Starts the NameNode and, unless given 0 s, waits until it is ready.

        It stays in safe mode until each DataNode that runs has come back to it.
        """
        running = sum(datanode.pid is not None for datanode in self.datanodes)
        live = f"dfs.namenode.safemode.min.datanodes={running}"
        self._jvm("namenode", NAMENODE, "-D", live).start()
        if timeout_s:
            self.wait_until_ready(timeout_s)

    def stop_namenode(self) -> None:
        """Stops the NameNode as its administrator does; its ports are free then.

        The system lets a process go before the last of its threads, and its sockets.
        """
        self.namenode.stop()
        ports = [
            port
            for name, port in self.settings.ports.items()
            if name.startswith("namenode.")
        ]
        wait_until(lambda: all(map(is_free, ports)), STOP_TIMEOUT_S)

    def wait_until_ready(self, timeout_s: float) -> None:
        """Waits until the NameNode is out of safe mode and a probe works.

        The probe creates, reads and deletes a small file as the superuser.

        Raises:
          HdfsError: if a daemon ends, or time is up.
        """
        deadline = time.monotonic() + timeout_s
        started = [daemon for daemon in self.daemons if daemon.pid_file.exists()]
        for daemon in started:
            self._wait_for_ports(daemon, max(deadline - time.monotonic(), 1))
        # A NameNode that knew a DataNode before its crash sends writers there at once.
        running = [datanode for datanode in self.datanodes if datanode in started]
        wait_until(
            lambda: all(REGISTERED in daemon.said() for daemon in running),
            REGISTER_TIMEOUT_S,
        )
        left_s = max(deadline - time.monotonic(), 1)
        probe = self._transfer("probe", str(left_s))
        with subprocess.Popen(
            probe, env=self.environment, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                wait_until(
                    lambda: (
                        process.poll() is not None
                        or any(daemon.pid is None for daemon in started)
                    ),
                    left_s + 1,
                )
            finally:
                process.kill()
            said = process.communicate()[0].strip()
        for daemon in started:
            _require_alive(daemon)
        if process.returncode:
            found = said or "the NameNode does not answer"
            raise HdfsError(
                _with_log(
                    f"HDFS at {self.url} is not ready after {timeout_s:.0f} s: {found}",
                    self.namenode,
                )
            )

    def prepare(self) -> None:
        """Makes the folders of the walk-through; the output belongs to its user."""
        self.make_folder("/tensorflow_input_data", "hdfs:supergroup")
        self.make_folder("/tensorflow", "tensorflow:tensorflow")

    def make_folder(self, path: str, owner: str) -> None:
        """Makes a folder, unless it is there, for an owner like `alice:alice`."""
        self.transfer("folder", path, owner)

    def put(self, local: Path, path: str) -> str:
        """Puts a local folder there, whole; returns how many files and how fast.

        Raises:
          HdfsError: if something else is there, or a file cannot be put.
        """
        return self.transfer("put", str(local), path)

    def transfer(self, *arguments: str, timeout_s: float = 900) -> str:
        """Runs a verb of transfer.py as the superuser and returns what it printed.

        Raises:
          HdfsError: if it fails, or time is up.
        """
        try:
            done = subprocess.run(
                self._transfer(*arguments),
                env=self.environment,
                stdout=subprocess.PIPE,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise HdfsError(
                f"{arguments[0]} did not end within {timeout_s:g} s; look at the logs "
                f"in {str(self.folder / 'log')!r}"
            ) from error
        if done.returncode:
            raise HdfsError(done.stdout.strip() or f"{arguments[0]} failed")
        return done.stdout.strip()

    def _transfer(self, verb: str, *arguments: str) -> list[str]:
        """Returns the command line of transfer.py, a process for its own login."""
        settings = self.settings
        login = [settings.principal("hdfs"), settings.keytab]
        command = [sys.executable, str(HERE / "transfer.py"), verb]
        return [*command, self.url, str(self.conf_dir), *login, *arguments]

    def _format(self) -> None:
        """Makes the image of an empty file system, whole or not at all."""
        image = self.folder / "namenode"
        part = image.with_name("namenode.part")
        shutil.rmtree(part, ignore_errors=True)  # of an `up` that was stopped
        where = f"dfs.namenode.name.dir={part.as_uri()}"
        arguments = ("-D", where, "-format", "-nonInteractive")
        formatter = self._jvm("format", NAMENODE, *arguments)
        formatter.start()
        wait_until(lambda: formatter.pid is None, START_TIMEOUT_S)
        formatter.stop()
        if not (part / "current" / "seen_txid").exists():
            raise HdfsError(_with_log("the NameNode makes no file system", formatter))
        part.rename(image)

    def java(
        self,
        main_class: str,
        *arguments: str,
        conf_dir: Path | None = None,
        listed: Path | None = None,
    ) -> list[str]:
        """Returns the command line of a Java program of Hadoop, for this HDFS.

        Args:
          main_class: the program.
          arguments: its own.
          conf_dir: its configuration; default: that of the daemons.
          listed: where it may list its classes, see archive.py.
        """
        return [
            self._java,
            f"-Xmx{HEAP_MB}m",
            *JVM,
            *archive.flags(self._archive, listed),
            f"-Djava.security.krb5.conf={self.kdc.krb5_conf}",
            "-Djava.net.preferIPv4Stack=true",
            f"-Dhadoop.log.dir={self.folder / 'log'}",
            "-cp",  # the jars first, as in the archive of their classes
            f"{self._class_path}:{conf_dir or self.folder / 'conf'}",
            main_class,
            *arguments,
        ]

    def _jvm(self, name: str, main_class: str, *arguments: str) -> Daemon:
        listed = self.folder / "tmp" / f"{name}.classes"
        command = self.java(main_class, *arguments, listed=listed)
        own = [f"-Dpoets.pid.file={Daemon.MARK}"]
        if name == "httpfs":
            for kind, folder in (("home", "."), ("config", "conf"), ("log", "log")):
                own.append(f"-Dhttpfs.{kind}.dir={self.folder / folder}")
            own.append(f"-Dhttpfs.temp.dir={self.folder / 'tmp'}")
        ports = {
            use: port
            for use, port in self.settings.ports.items()
            if use.split(".")[0] == name
        }
        return Daemon(
            name,
            self.folder,
            [command[0], *own, *command[1:]],
            self.environment,
            ports,
        )

    @property
    def environment(self) -> Mapping[str, str]:
        """Returns the variables of daemons: none of the caller's login or secrets."""
        kept = ("PATH", "HOME", "LANG", "JAVA_HOME", "TMPDIR", "VIRTUAL_ENV")
        own = {name: os.environ[name] for name in kept if name in os.environ}
        return own | {"KRB5_CONFIG": str(self.kdc.krb5_conf)}

    def _wait_for_ports(self, daemon: Daemon, timeout_s: float) -> None:
        def listening() -> bool:
            host = self.settings.host
            return all(is_listening(host, port) for port in daemon.ports.values())

        if not wait_until(lambda: daemon.pid is None or listening(), timeout_s):
            ports = ", ".join(f"{port} ({use})" for use, port in daemon.ports.items())
            problem = (
                f"{daemon.name} does not listen on {ports} after {timeout_s:.0f} s"
            )
            raise HdfsError(_with_log(problem, daemon))
        _require_alive(daemon)


def _require_alive(daemon: Daemon) -> None:
    if daemon.pid is None:
        raise HdfsError(_with_log(f"{daemon.name} ended by itself", daemon))


def _with_log(problem: str, daemon: Daemon) -> str:
    return f"{problem}; the log {str(daemon.log)!r} ends with\n{daemon.last_errors()}"
