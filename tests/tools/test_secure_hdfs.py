"""The HDFS of tools/hdfs is as secure as it says, and comes back after faults."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.secure import Hdfs, Kdc
from tools.hdfs import folder as folders
from tools.hdfs.cluster import SecureHdfs
from tools.hdfs.configuration import HdfsError, hdfs_site
from tools.hdfs.daemons import command_line


@pytest.mark.parametrize(
    "path", ["/", "/jmx", "/conf", "/logs/", "/webhdfs/v1/?op=LIST"]
)
@pytest.mark.parametrize("user", ["", "user.name=hdfs"])
def test_web_interfaces_ask_for_kerberos(
    secure_hdfs: Hdfs, path: str, user: str
) -> None:
    settings = secure_hdfs.cluster.settings
    path += ("&" if "?" in path else "?") + user
    for url in (
        f"http://{settings.address('namenode.http')}{path}",
        f"https://{settings.address('namenode.https')}{path}",
    ):
        answer = requests.get(url, timeout=300, verify=str(secure_hdfs.ca_file))
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Negotiate"


def test_datanodes_and_the_gateway_ask_for_kerberos(secure_hdfs: Hdfs) -> None:
    settings = secure_hdfs.cluster.settings
    for url in (
        f"http://{settings.address('datanode-0.http')}/jmx?user.name=hdfs",
        f"https://{settings.address('datanode-1.https')}/jmx",
        f"http://{settings.address('httpfs')}/webhdfs/v1/?op=LISTSTATUS&user.name=hdfs",
    ):
        answer = requests.get(url, timeout=300, verify=str(secure_hdfs.ca_file))
        assert answer.status_code == 401, url


def test_authentication_carries_files_both_ways(
    secure_hdfs: Hdfs, tmp_path: Path
) -> None:
    _carries_files(secure_hdfs, "authentication", tmp_path)


@pytest.mark.soak  # between the weakest and the strongest
def test_integrity_carries_files_both_ways(
    start_hdfs: Callable[..., Hdfs], tmp_path: Path
) -> None:
    _carries_files(start_hdfs(protection="integrity"), "integrity", tmp_path)


def test_privacy_carries_files_both_ways(private_hdfs: Hdfs, tmp_path: Path) -> None:
    _carries_files(private_hdfs, "privacy", tmp_path)


def _carries_files(hdfs: Hdfs, protection: str, folder: Path) -> None:
    assert (
        hdfs_site(hdfs.cluster.settings)["dfs.data.transfer.protection"] == protection
    )
    data = os.urandom(300_000)
    (folder / "there").write_bytes(data)
    assert hdfs.cluster.put(folder, "/put").startswith("put 1 files")
    done = hdfs.dfs("-get", "/put/there", str(folder / "back"))
    assert done.returncode == 0, done.stderr
    assert (folder / "back").read_bytes() == data


def test_everything_listens_on_loopback_alone(secure_hdfs: Hdfs) -> None:
    ports = set(secure_hdfs.cluster.settings.ports.values()) | {secure_hdfs.kdc.port}
    found = set()
    for table, loopback in (
        ("tcp", "0100007F"),
        ("tcp6", "0000000000000000FFFF00000100007F"),
    ):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            host, _, port = line.split()[1].partition(":")
            if line.split()[3] == "0A" and int(port, 16) in ports:
                assert host == loopback
                found.add(int(port, 16))
    assert found == ports


def test_clients_are_served_a_configuration_without_secrets(
    secure_hdfs: Hdfs,
) -> None:
    listed = requests.get(secure_hdfs.config_uri, timeout=10).json()
    assert listed == ["core-site.xml", "hdfs-site.xml"]
    for name in listed:
        answer = requests.get(f"{secure_hdfs.config_uri}/{name}", timeout=10)
        assert answer.content == (secure_hdfs.conf_dir / name).read_bytes()
        assert b"keytab" not in answer.content
        assert b"secret" not in answer.content
    for path in ("/../secrets/http", "/ssl-server.xml", "/core-site.xml/x"):
        answer = requests.get(secure_hdfs.config_uri + path, timeout=10)
        assert answer.status_code == 404


def test_nobody_else_can_read_the_secrets(secure_hdfs: Hdfs) -> None:
    folder = secure_hdfs.cluster.folder
    assert (folder / "secrets").stat().st_mode & 0o077 == 0
    secrets = [*(folder / "secrets").rglob("*"), *(folder / "conf").glob("*.xml")]
    assert {"http", "server.p12", "ssl-server.xml"} <= {path.name for path in secrets}
    assert not [path for path in secrets if path.stat().st_mode & 0o077]
    password = (folder / "conf" / "ssl-server.xml").read_text()
    (password,) = re.findall(r"keypassword</name>\s*<value>(.*?)<", password)
    for daemon in secure_hdfs.cluster.daemons:
        assert password not in daemon.log.read_text(errors="replace")
        assert password not in command_line(daemon.pid or 0)


def test_a_namenode_that_dies_is_reported_with_the_end_of_its_log(
    hadoop: str, kdc: Kdc, tmp_path: Path
) -> None:
    cluster = SecureHdfs(tmp_path, folders.make(tmp_path, {}, kdc.directory), hadoop)
    version = tmp_path / "namenode" / "current" / "VERSION"
    version.parent.mkdir(parents=True)
    version.write_text("layoutVersion=broken\n")
    with pytest.raises(HdfsError) as error:
        cluster.start_namenode()
    assert str(error.value).startswith("namenode ended unexpectedly; the log '")
    assert f"{cluster.namenode.log}" in str(error.value)
    assert "Exception" in str(error.value)
