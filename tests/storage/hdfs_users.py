"""An HDFS for tests of its client: users, a folder, changes of the configuration."""

import shutil
import uuid
from collections.abc import Callable

import pytest

from poets.storage import open_storage
from tools.hdfs.shell import DFS_ADMIN, run_hadoop


@pytest.fixture
def become(monkeypatch) -> Callable[..., None]:
    """Makes this process a user of an HDFS."""

    def change(user: str, hdfs) -> None:
        for name, value in hdfs.environment(user).items():
            monkeypatch.setenv(name, value)

    return change


@pytest.fixture
def as_user(secure_hdfs, become) -> Callable[[str], None]:
    """Makes this process one of the cluster's users."""
    return lambda user: become(user, secure_hdfs)


@pytest.fixture
def folder_url(as_user) -> str:
    """An empty folder of `tensorflow`."""
    as_user("tensorflow")
    url = f"hdfs://default/tensorflow/{uuid.uuid4().hex}"
    filesystem, path = open_storage(url)
    filesystem.create_dir(path)
    return url


@pytest.fixture
def configured(secure_hdfs, tmp_path, monkeypatch) -> Callable[..., None]:
    """Changes the client's configuration: hdfs-site.xml gets more, or lacks a key."""

    def change(without: str | None = None, **more: str) -> None:
        folder = tmp_path / uuid.uuid4().hex
        shutil.copytree(secure_hdfs.conf_dir, folder)
        file = folder / "hdfs-site.xml"
        text = file.read_text()
        if without:
            assert f"<name>{without}</name>" in text
            text = text.replace(f"<name>{without}</name>", "<name>unused</name>")
        added = "".join(
            f"<property><name>{name}</name><value>{value}</value></property>"
            for name, value in more.items()
        )
        file.write_text(text.replace("</configuration>", f"{added}</configuration>"))
        monkeypatch.setenv("POETS_HADOOP_CONF", str(folder))

    return change


def path_of(url: str) -> str:
    return open_storage(url)[1]


def administer(hdfs, *arguments: str) -> None:
    """Runs the real `hdfs dfsadmin`."""
    done = run_hadoop(
        hdfs.cluster, arguments, main_class=DFS_ADMIN, capture=True, timeout_s=300
    )
    assert done.returncode == 0, done.stderr
