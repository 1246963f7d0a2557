"""HDFS that fails: servers that are away, silent or wrong, blocks that are lost."""

import os
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from poets.errors import NotAuthenticatedError, StorageError
from poets.storage import join, open_storage, read_bytes, read_url
from poets.storage.calls import deadline
from poets.storage.publish import write_atomically
from poets.storage.reading import is_of_one_file
from tests.command import silent_server
from tests.storage.hadoop_confs import bare_environment
from tests.storage.hdfs_users import (
    administer,
    as_user,
    become,
    configured,
    folder_url,
)

__all__ = ["as_user", "bare_environment", "become", "configured", "folder_url"]

ROOT = Path(__file__).parents[2]


def test_a_silent_server_is_left_at_the_deadline(as_user):
    as_user("tensorflow")
    with (
        silent_server() as port,
        deadline(0.5),
        pytest.raises(TimeoutError, match=r"reading the file took more than 0\.5 s: "),
    ):
        read_bytes(*open_storage(f"hdfs://localhost:{port}/graph"))


def test_a_port_that_nobody_listens_on_is_reported(as_user, closed_port):
    as_user("tensorflow")
    url = f"hdfs://localhost:{closed_port}/graph"
    with (
        deadline(1.5),
        pytest.raises(StorageError, match=r"tried [2-9] times in 1 s") as caught,
    ):
        read_url(url)
    assert f"nothing listens at localhost:{closed_port}; " in str(caught.value)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_a_host_that_does_not_exist_is_reported_at_once(as_user):
    as_user("tensorflow")
    with pytest.raises(StorageError, match="host name of .*invalid:8020 is not known"):
        read_url("hdfs://no-such-host.invalid/graph")


def test_the_web_port_is_reported(secure_hdfs, as_user):
    as_user("tensorflow")
    web = secure_hdfs.webhdfs_url.removeprefix("webhdfs://")
    with pytest.raises(NotAuthenticatedError, match="9870 is the web's"):
        read_bytes(*open_storage(f"hdfs://{web}/graph"))


UNPROTECTED = """
import sys
from poets.errors import StorageError
from poets.storage import join, read_url
from poets.storage.publish import write_atomically
for act in (
    lambda: read_url(join(sys.argv[1], "graph")),
    lambda: write_atomically(join(sys.argv[1], "other"), b"x"),
):
    try:
        act()
    except StorageError as error:
        print(error)
"""


def test_data_protection_that_does_not_fit_is_reported(folder_url, configured):
    write_atomically(join(folder_url, "graph"), b"x")
    configured(without="dfs.data.transfer.protection")
    # In a process of its own: the client keeps connections to DataNodes for a while.
    done = subprocess.run(
        [sys.executable, "-c", UNPROTECTED, folder_url],
        cwd=ROOT,
        env={**os.environ, "POETS_STORAGE_TIMEOUT_S": "3"},
        timeout=300,
        check=True,
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["cannot", "read"],
        ["cannot", "write"],
    ]
    for line in lines:
        assert "dfs.data.transfer.protection must be the cluster's, here it is" in line
        assert "not set" in line


def test_safe_mode_is_waited_for(secure_hdfs, folder_url, wait_until, caplog):
    url = join(folder_url, "graph")
    administer(secure_hdfs, "-safemode", "enter")
    try:
        with (
            deadline(0.3),
            pytest.raises(StorageError, match="the NameNode is in safe mode"),
        ):
            write_atomically(url, b"x")
        with ThreadPoolExecutor(1) as pool:
            written = pool.submit(write_atomically, url, b"x")
            wait_until(lambda: "trying again" in caplog.text)  # it has seen it
            assert not written.done()
            administer(secure_hdfs, "-safemode", "leave")
            written.result(timeout=300)
    except BaseException:
        administer(secure_hdfs, "-safemode", "leave")
        raise
    assert read_url(url) == b"x"


def test_a_killed_datanode_is_passed_over(secure_hdfs, folder_url):
    filesystem, path = open_storage(folder_url)
    contents = {f"{path}/{i}": os.urandom(1000) for i in range(40)}
    with ThreadPoolExecutor(16) as pool:
        list(
            pool.map(
                filesystem.handler.write_bytes, *zip(*contents.items(), strict=True)
            )
        )
        with filesystem.open_input_file(f"{path}/0") as open_before:
            assert open_before.read(10) == contents[f"{path}/0"][:10]
            secure_hdfs.kill_datanode(0)
            try:
                assert open_before.read() == contents[f"{path}/0"][10:]
                found = pool.map(lambda path: read_bytes(filesystem, path), contents)
                assert list(found) == list(contents.values())
                for i in range(5):
                    write_atomically(join(folder_url, "after", str(i)), b"x")
            finally:
                secure_hdfs.start_all()
    filesystem, path = open_storage(join(folder_url, "after"))
    assert read_bytes(filesystem, f"{path}/4") == b"x"
    assert {a.replication for a in filesystem.handler.attributes(path).values()} == {3}


def test_a_length_without_the_last_block_is_not_believed(folder_url):
    """What a client sees of a file that was closed before its block was counted."""
    url = join(folder_url, "new")
    write_atomically(url, b"abc")
    filesystem, path = open_storage(url)
    backend = filesystem.handler.backend
    backend._check_length(path, 3)
    with pytest.raises(ConnectionRefusedError, match="0 of 3 bytes can be read; wait"):
        backend._check_length(path, 0)


def test_a_file_whose_blocks_are_lost_is_named(secure_hdfs, folder_url, monkeypatch):
    monkeypatch.setenv("POETS_STORAGE_TIMEOUT_S", "5")
    content, url = uuid.uuid4().bytes, join(folder_url, "1.jpg")
    write_atomically(url, content)
    for block in Path(secure_hdfs.cluster.folder).rglob("blk_*"):
        if block.suffix != ".meta" and block.read_bytes() == content:
            block.unlink()
    with pytest.raises(StorageError) as caught:
        read_url(url)
    error = caught.value.__cause__
    assert str(caught.value).startswith(f"cannot read {url!r}: ")
    assert "hdfs fsck" in str(caught.value)
    assert isinstance(error, OSError)
    assert not is_of_one_file(error)
