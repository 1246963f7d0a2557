"""The parts of tools/hdfs that need no Hadoop: daemons by pid file, ports, settings."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from poets.errors import ConfigError
from tools.hdfs import folder as folders
from tools.hdfs import maven
from tools.hdfs.cluster import SecureHdfs
from tools.hdfs.configuration import AUTH_TO_LOCAL, HdfsError, Settings, hdfs_site
from tools.hdfs.daemons import Daemon, command_line, free_ports
from tools.hdfs.yarn import yarn_daemon_site, yarn_site


def test_a_port_that_somebody_else_has_is_named(
    tmp_path: Path, closed_port: int
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", closed_port))
        other.listen()
        ports = {"namenode.rpc": closed_port}
        daemon = Daemon("namenode", tmp_path, ["sleep", "60"], os.environ, ports)
        with pytest.raises(HdfsError) as error:
            daemon.start()
    assert str(error.value) == (
        f"cannot start namenode: port {closed_port} (namenode.rpc) is in use by "
        "another process; stop that one, or use a new folder"
    )


def test_a_pid_file_never_ends_somebody_elses_process(tmp_path: Path) -> None:
    daemon = Daemon("namenode", tmp_path, ["sleep", Daemon.MARK], os.environ, {})
    with subprocess.Popen(["sleep", "60"]) as other:
        daemon.pid_file.parent.mkdir()
        daemon.pid_file.write_text(f"{other.pid}\n")
        try:
            assert daemon.pid is None
            assert daemon.stop() is False
            daemon.kill()
            assert other.poll() is None
        finally:
            other.kill()


def test_a_daemon_that_does_not_listen_to_reason_is_killed(
    tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    deaf = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    deaf += "; print('deaf', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", deaf, Daemon.MARK]
    daemon = Daemon("deaf", tmp_path, command, os.environ, {})
    daemon.start()

    def is_deaf() -> bool:
        return "deaf" in daemon.log.read_text().splitlines()

    wait_until(is_deaf)
    pid = daemon.pid
    assert pid is not None
    assert daemon.stop(timeout_s=0.3) is True
    assert daemon.pid is None
    assert not daemon.pid_file.exists()
    assert not command_line(pid)


def test_ports_are_different_and_free() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    for port in ports:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ({"datanodes": 0}, "datanodes 0 is not between 1 and 16"),
        ({"replication": 600}, "replication 600 is not between 1 and 512"),
        ({"host": "192.0.2.1"}, "host '192.0.2.1' does not resolve to 127.0.0.1 here"),
        ({"protection": "none"}, "protection 'none' is none of authentication, integr"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, wanted: dict[str, object], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        folders.make(tmp_path / "new", wanted)
    assert not (tmp_path / "new").exists()


def test_a_folder_with_a_colon_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes no ':' in a folder's name"):
        folders.make(tmp_path / "a:b", {})


def test_services_get_the_host_name_of_this_machine() -> None:
    assert folders.local_principals(folders.PRINCIPALS, "localhost") == [
        "hdfs/localhost@LOCAL",
        "HTTP/localhost@LOCAL",
        "httpfs/localhost@LOCAL",
    ]


def test_a_principals_file_without_a_service_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "principals.txt"
    path.write_text("hdfs/name-0-node@LOCAL\n")
    with pytest.raises(ConfigError, match=r"has no HTTP; add lines like HTTP/here@LOC"):
        folders.local_principals(path, "here")


def test_replication_and_ports_follow_the_settings() -> None:
    settings = Settings(kdc="kdc", keytab="keytab", datanodes=2, replication=2)
    assert settings.port_names == [
        "namenode.rpc",
        "namenode.http",
        "endpoints",
        *("datanode-0.transfer", "datanode-0.ipc", "datanode-0.http"),
        *("datanode-1.transfer", "datanode-1.ipc", "datanode-1.http"),
    ]
    numbers = range(1, 10)
    settings = replace(
        settings, ports=dict(zip(settings.port_names, numbers, strict=True))
    )
    assert hdfs_site(settings)["dfs.replication"] == "2"
    assert hdfs_site(settings)["dfs.namenode.rpc-address"] == "localhost:1"


def test_the_rules_are_those_of_the_walk_through() -> None:
    rules = AUTH_TO_LOCAL.splitlines()
    for rule in (
        "RULE:[2:$1@$0](^hdfs@LOCAL$)s/.*/hdfs/",
        "RULE:[1:$1@$0](^hdfs@LOCAL$)s/.*/hdfs/",
        "RULE:[1:$1@$0](^tensorflow@LOCAL$)s/.*/tensorflow/",
        "RULE:[1:$1@$0](^alice@LOCAL$)s/.*/alice/",
    ):
        assert rule in rules
    assert "DEFAULT" not in rules


def test_only_errors_of_the_last_start_are_shown(
    tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    script = "import sys; print('x ERROR of run', sys.argv[2]); print('rest')"
    for number in ("1", "2"):
        command = [sys.executable, "-c", script, Daemon.MARK, number]
        daemon = Daemon("brief", tmp_path, command, os.environ, {})
        daemon.start()

        def has_ended(daemon: Daemon = daemon, number: str = number) -> bool:
            said = f"of run {number}" in daemon.log.read_text()
            return said and daemon.pid is None

        wait_until(has_ended)
    assert daemon.last_errors() == "x ERROR of run 2"
    assert "of run 1" in daemon.log.read_text()


@pytest.fixture
def maven_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Puts a script in the place of `mvn`; returns the file of its calls."""
    calls = tmp_path / "calls"

    def put(script: str) -> Path:
        program = tmp_path / "bin" / "mvn"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho x >> {calls}\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        monkeypatch.delenv("JAVA_HOME", raising=False)
        monkeypatch.setattr(maven.time, "sleep", lambda seconds: None)
        return calls

    return put


def test_the_class_path_is_resolved_once_while_its_jars_are_there(
    tmp_path: Path, maven_program: Callable[[str], Path]
) -> None:
    jar = tmp_path / "a.jar"
    jar.touch()
    calls = maven_program(
        f'for word; do case $word in *outputFile=*) printf "{jar}" >"${{word#*=}}";; '
        "esac; done"
    )
    cache = tmp_path / "cache"
    assert maven.class_path(cache) == str(jar)
    assert maven.class_path(cache) == str(jar)
    assert calls.read_text() == "x\n"
    jar.unlink()
    with pytest.raises(HdfsError, match="some of its jars are missing; remove"):
        maven.class_path(cache)
    assert calls.read_text() == "x\nx\n"


def test_a_download_is_tried_again_and_then_reported(
    tmp_path: Path, maven_program: Callable[[str], Path]
) -> None:
    calls = maven_program("echo '[ERROR] Could not transfer artifact x'; exit 1")
    with pytest.raises(HdfsError) as error:
        maven.class_path(tmp_path / "cache")
    assert str(error.value) == (
        "cannot download Hadoop after 4 attempts: [ERROR] Could not transfer artifact "
        "x; check the connection to https://repo.maven.apache.org (set a proxy in "
        "~/.m2/settings.xml) and run again: finished downloads are kept"
    )
    assert calls.read_text() == "x\n" * 4


def test_a_daemon_that_ends_at_once_is_reported_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "bin" / "java"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'Error: no such machine' >&2; exit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    settings = Settings(kdc=str(tmp_path / "kdc"), keytab="keytab")
    names = settings.port_names
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    hdfs = SecureHdfs(tmp_path, replace(settings, ports=ports), "a.jar")
    with pytest.raises(HdfsError) as error:
        hdfs.start_namenode(60)
    assert str(error.value) == (
        "namenode ended unexpectedly; the log "
        f"'{tmp_path}/log/namenode.log' ends with\n"
        "Error: no such machine"
    )


def test_a_daemon_runs_from_its_start_on(tmp_path: Path) -> None:
    for number in range(30):
        command = [sys.executable, "-c", "import time; time.sleep(60)", Daemon.MARK]
        daemon = Daemon(f"daemon-{number}", tmp_path, command, os.environ, {})
        daemon.start()
        seen = [daemon.pid for _ in range(50)]
        daemon.kill()
        assert None not in seen
        assert len(set(seen)) == 1


def test_clients_of_yarn_get_its_addresses_and_no_secret(tmp_path: Path) -> None:
    settings = Settings(kdc="kdc", keytab="/secrets/keytab", yarn=True)
    names = settings.port_names
    settings = replace(settings, ports={name: n for n, name in enumerate(names, 9000)})
    shared, own = yarn_site(settings), yarn_daemon_site(settings, tmp_path)
    changed = "yarn.resourcemanager.connect.max-wait.ms"
    assert {key: own[key] for key in shared if key != changed} == {
        key: value for key, value in shared.items() if key != changed
    }
    assert "/secrets/keytab" not in shared.values()
    addresses = [value for key, value in own.items() if key.endswith("address")]
    wanted = [name for name in names if name.startswith(("resource", "nodemanager"))]
    assert sorted(addresses) == sorted(map(settings.address, wanted))
