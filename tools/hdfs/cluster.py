"""Starts and stops a secure HDFS, and waits until it is ready.

    KDC <── NameNode <── DataNode 0, 1, ...
                ^   <── HttpFS (--httpfs)
                |   <── ResourceManager, NodeManager (--yarn)
             clients ──> endpoints: client/ over HTTP, as DC/OS HDFS serves it

Everything listens on loopback only and is kept below one folder, see folder.py. Both
the command line and the tests use this class; the tests also stop, kill and restart
single daemons.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tools.hdfs import archive, yarn
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
    # Jersey 1, in HttpFS, defines classes by reflection, which Java 17 forbids.
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
)
HEAP_MB = 256
START_TIMEOUT_S = 120.0
REGISTER_TIMEOUT_S = 15.0
REGISTERED = "successfully registered with NN"  # a DataNode's log


class SecureHdfs:
    """The HDFS of a folder, running or not.

    Attributes:
      folder: its absolute path.
      settings: its settings.
      kdc: its KDC.
      url: the file system's URL, such as `hdfs://localhost:12345`.
      conf_dir: the folder of the client configuration.
      config_uri: the same over HTTP.
      namenode, datanodes, httpfs, endpoints: the daemons; `httpfs` may be None.
      yarn: the daemons of YARN; may be empty.
    """

    def __init__(
        self, folder: Path, settings: Settings, class_path: str, yarn_path: str = ""
    ):
        """Describes the HDFS of a folder; creates and starts nothing.

        Args:
          folder: its folder, which need not exist.
          settings: settings with all ports.
          class_path: Hadoop's jars.
          yarn_path: those of YARN, to start its daemons.
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
        self.yarn = []
        if settings.yarn:
            for name, main in yarn.DAEMONS.items():
                self.yarn.append(self._jvm(name, main, class_path=yarn_path))
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
        return [
            self.namenode,
            *self.datanodes,
            *gateway,
            *self.yarn,
            self.endpoints,
        ]

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Starts all daemons that do not run, and waits until files can be written.

        Raises:
          HdfsError: if a daemon dies or the file system is not ready in time. The
            message has the last errors of the log.
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
        for daemon in self.yarn:
            daemon.start()
        self.wait_until_ready(deadline - time.monotonic())
        lists = (self.folder / "tmp").glob("*.classes")
        archive.make(self._archive, [self._java, *JVM], lists, self._class_path)

    def stop(self) -> list[str]:
        """Stops all daemons but not the KDC; returns the names of those that ran."""
        return [daemon.name for daemon in reversed(self.daemons) if daemon.stop()]

    def start_namenode(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Starts the NameNode and, unless given 0 s, waits until it is ready.

        It stays in safe mode until each running DataNode has registered.
        """
        running = sum(datanode.pid is not None for datanode in self.datanodes)
        live = f"dfs.namenode.safemode.min.datanodes={running}"
        self._jvm("namenode", NAMENODE, "-D", live).start()
        if timeout_s:
            self.wait_until_ready(timeout_s)

    def stop_namenode(self) -> None:
        """Stops the NameNode, and waits until its ports are free.

        A process can be gone before its last threads have closed their sockets.
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
          HdfsError: if a daemon ends, or after the timeout.
        """
        deadline = time.monotonic() + timeout_s
        started = [daemon for daemon in self.daemons if daemon.pid_file.exists()]
        for daemon in started:
            self._wait_for_ports(daemon, max(deadline - time.monotonic(), 1))
        # A NameNode sends writers to DataNodes that it knew before a crash, even if
        # they have not registered again.
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
        """Creates the folders of the walk-through, and gives one to its user."""
        self.make_folder("/tensorflow_input_data", "hdfs:supergroup")
        self.make_folder("/tensorflow", "tensorflow:tensorflow")
        if self.yarn:  # Spark keeps the files of an application there
            self.make_folder("/user/tensorflow", "tensorflow:tensorflow")

    def make_folder(self, path: str, owner: str) -> None:
        """Creates a folder, unless it exists, for an owner such as `alice:alice`."""
        self.transfer("folder", path, owner)

    def put(self, local: Path, path: str) -> str:
        """Uploads a local folder atomically; returns a text with count and speed.

        Raises:
          HdfsError: if `path` has other content, or a file cannot be written.
        """
        return self.transfer("put", str(local), path)

    def transfer(self, *arguments: str, timeout_s: float = 900) -> str:
        """Runs a verb of transfer.py as the superuser and returns what it printed.

        Raises:
          HdfsError: if it fails, or after the timeout.
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
        """Returns a command line of transfer.py, which logs in as the superuser."""
        settings = self.settings
        login = [settings.principal("hdfs"), settings.keytab]
        command = [sys.executable, str(HERE / "transfer.py"), verb]
        return [*command, self.url, str(self.conf_dir), *login, *arguments]

    def _format(self) -> None:
        """Creates an empty file system; the image appears only when it is complete."""
        image = self.folder / "namenode"
        part = image.with_name("namenode.part")
        shutil.rmtree(part, ignore_errors=True)  # of an interrupted `up`
        where = f"dfs.namenode.name.dir={part.as_uri()}"
        arguments = ("-D", where, "-format", "-nonInteractive")
        formatter = self._jvm("format", NAMENODE, *arguments)
        formatter.start()
        wait_until(lambda: formatter.pid is None, START_TIMEOUT_S)
        formatter.stop()
        if not (part / "current" / "seen_txid").exists():
            raise HdfsError(
                _with_log("the NameNode cannot create a file system", formatter)
            )
        part.rename(image)

    def java(
        self,
        main_class: str,
        *arguments: str,
        conf_dir: Path | None = None,
        listed: Path | None = None,
        class_path: str = "",
    ) -> list[str]:
        """Returns the command line of one of Hadoop's Java programs, for this HDFS.

        Args:
          main_class: the program.
          arguments: its arguments.
          conf_dir: its configuration; default: the daemons'.
          listed: the file for a list of its classes, see archive.py.
          class_path: other jars than HDFS's, whose classes are in no archive.
        """
        shared = [] if class_path else archive.flags(self._archive, listed)
        return [
            self._java,
            f"-Xmx{HEAP_MB}m",
            *JVM,
            *shared,
            f"-Djava.security.krb5.conf={self.kdc.krb5_conf}",
            "-Djava.net.preferIPv4Stack=true",
            f"-Dhadoop.log.dir={self.folder / 'log'}",
            "-cp",  # the jars first, as when the archive of their classes was made
            f"{class_path or self._class_path}:{conf_dir or self.folder / 'conf'}",
            main_class,
            *arguments,
        ]

    def _jvm(
        self, name: str, main_class: str, *arguments: str, class_path: str = ""
    ) -> Daemon:
        listed = self.folder / "tmp" / f"{name}.classes"
        command = self.java(
            main_class, *arguments, listed=listed, class_path=class_path
        )
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
        """The environment of the daemons, without the caller's login and secrets."""
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
        raise HdfsError(_with_log(f"{daemon.name} ended unexpectedly", daemon))


def _with_log(problem: str, daemon: Daemon) -> str:
    return f"{problem}; the log {str(daemon.log)!r} ends with\n{daemon.last_errors()}"
