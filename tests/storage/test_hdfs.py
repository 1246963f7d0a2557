"""HDFS by its own protocol: the contract on a real secure one, URLs, data."""

import errno
import hashlib
import os
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from poets.storage import exists, join, open_storage, read_bytes, read_url
from poets.storage.calls import deadline
from poets.storage.publish import write_atomically
from tests.storage.contract import StorageContract, model, names_below
from tests.storage.hadoop_confs import bare_environment
from tests.storage.hdfs_users import as_user, become, configured, folder_url, path_of
from tools.hdfs.configuration import hdfs_site

__all__ = [  # fixtures
    "as_user",
    "bare_environment",
    "become",
    "configured",
    "folder_url",
    "model",
]

ROOT = Path(__file__).parents[2]
SOON_S = 3.0


class TestHdfs(StorageContract):
    """`hdfs://default`, by NameNode and DataNodes; the real client reads it too."""

    @pytest.fixture
    def refused_url(self, as_user):
        as_user("tensorflow")
        return "hdfs://default/of_the_superuser/model"

    @pytest.fixture
    def as_seen(self, secure_hdfs, tmp_path):
        def seen(url: str) -> bytes:
            copy = tmp_path / uuid.uuid4().hex
            secure_hdfs.dfs("-get", path_of(url), str(copy)).check_returncode()
            return copy.read_bytes()

        return seen


# What URLs mean, and what a cluster's configuration says.


def test_urls_of_one_cluster_are_one_place(secure_hdfs, folder_url):
    write_atomically(join(folder_url, "graph"), b"x")
    path = path_of(folder_url)
    for root in ("hdfs://default", "hdfs://", secure_hdfs.url):
        assert read_url(f"{root}{path}/graph") == b"x"
    filesystems = [open_storage(f"{root}{path}")[0] for root in ("hdfs://default",) * 2]
    assert filesystems[0] == filesystems[1]
    assert path_of("hdfs://default") == "/user/tensorflow"


def test_a_dead_namenode_of_two_is_passed_over(
    secure_hdfs, folder_url, configured, closed_port
):
    live = secure_hdfs.url.removeprefix("hdfs://")
    for addresses in ((f"localhost:{closed_port}", live), (live, "localhost:1")):
        configured(
            **{
                "dfs.nameservices": "Flowers",
                "dfs.ha.namenodes.Flowers": "nn1, nn2",
                "dfs.namenode.rpc-address.Flowers.nn1": addresses[0],
                "dfs.namenode.rpc-address.Flowers.nn2": addresses[1],
                "dfs.client.failover.proxy.provider.Flowers": (
                    "org.apache.hadoop.hdfs.server.namenode.ha."
                    "ConfiguredFailoverProxyProvider"
                ),
            }
        )
        url = f"hdfs://Flowers{path_of(folder_url)}/graph"
        with deadline(SOON_S):
            write_atomically(url, b"x")
            assert read_url(url) == b"x"


def test_a_mount_table_leads_to_the_cluster(secure_hdfs, folder_url, configured):
    target = f"{secure_hdfs.url}{path_of(folder_url)}"
    table = "fs.viewfs.mounttable.flowers"
    configured(
        **{f"{table}.link./here": target, f"{table}.linkFallback": f"{target}/else"}
    )
    write_atomically("viewfs://flowers/here/a/graph", b"x")
    assert read_url("viewfs://flowers/here/a/graph") == b"x"
    assert names_below("viewfs://flowers/here") == ["a/graph"]
    assert names_below(folder_url) == ["a/graph"]


def test_replication_and_permissions_are_as_configured(
    secure_hdfs, folder_url, configured
):
    write_atomically(join(folder_url, "1", "graph"), b"x")
    configured(**{"dfs.replication": "1", "fs.permissions.umask-mode": "027"})
    write_atomically(join(folder_url, "2", "graph"), b"x")
    found = {}
    for url in (folder_url, join(folder_url, "1"), join(folder_url, "2")):
        filesystem, path = open_storage(url)
        for name, attributes in filesystem.handler.attributes(path).items():
            found[f"{path}/{name}".removeprefix(path_of(folder_url))] = attributes
    listed = secure_hdfs.dfs("-ls", "-R", path_of(folder_url)).stdout.splitlines()
    for line in listed:
        mode, replication, owner, group, *_, path = line.split()
        attributes = found.pop(path.removeprefix(path_of(folder_url)))
        assert attributes.permissions == mode[1:]
        assert str(attributes.replication) == replication.replace("-", "0")
        assert (attributes.owner, attributes.group) == (owner, group)
        expected = {"1": ("rw-r--r--", "rwxr-xr-x"), "2": ("rw-r-----", "rwxr-x---")}
        in_folder = path.removeprefix(path_of(folder_url)).split("/")[1]
        assert attributes.permissions in expected[in_folder]
    assert not found


# Data.


def test_a_file_longer_than_a_block_is_the_same_for_the_real_client(
    secure_hdfs, folder_url
):
    url = join(folder_url, "long")
    filesystem, path = open_storage(url)
    data = os.urandom(1 << 20) * 17
    with filesystem.open_output_stream(path) as stream:
        for start in range(0, len(data), 7 << 20):
            stream.write(data[start : start + (7 << 20)])
    border = int(hdfs_site(secure_hdfs.cluster.settings)["dfs.blocksize"])
    assert border < len(data)
    assert hashlib.sha256(read_url(url)).digest() == hashlib.sha256(data).digest()
    with filesystem.open_input_file(path) as file:
        assert file.size() == len(data)
        assert file.read_at(10, border - 5) == data[border - 5 : border + 5]
        file.seek(len(data) - 3)
        assert file.read(10) == data[-3:]
        assert file.read(10) == b""
    filesystem.copy_file(path, f"{path}.copy")
    assert read_url(f"{url}.copy") == data
    summed = secure_hdfs.dfs("-checksum", path, f"{path}.copy").stdout.splitlines()
    one, other = (line.split("\t")[1:] for line in summed)
    assert one == other


def test_a_file_whose_block_failed_is_not_there(folder_url):
    url = join(folder_url, "half")
    filesystem, path = open_storage(url)
    with (  # noqa: PT012, the block is what is tested
        pytest.raises(KeyboardInterrupt),
        filesystem.open_output_stream(path) as stream,
    ):
        stream.write(b"x" * 1000)
        raise KeyboardInterrupt
    assert not exists(url)
    try:
        raise ValueError
    except ValueError:  # that a file is written while one handles an error is fine
        with filesystem.open_output_stream(path) as stream:
            stream.write(b"x")
    assert read_url(url) == b"x"


def test_a_deleted_file_is_not_found(folder_url):
    url = join(folder_url, "graph")
    write_atomically(url, b"x")
    filesystem, path = open_storage(url)
    filesystem.delete_file(path)
    with pytest.raises(FileNotFoundError):
        read_bytes(filesystem, path)


def test_many_threads_read_at_once(folder_url):
    filesystem, path = open_storage(folder_url)
    contents = {f"{path}/{i}": os.urandom(i * 100) for i in range(64)}
    with ThreadPoolExecutor(32) as pool:
        for written in [
            pool.submit(filesystem.handler.write_bytes, *item)
            for item in contents.items()
        ]:
            written.result()
        paths = list(contents) * 10
        found = pool.map(lambda path: read_bytes(filesystem, path), paths)
        assert all(map(bytes.__eq__, found, (contents[path] for path in paths)))


def test_what_pyarrow_offers_beyond_reading_and_writing(folder_url):
    filesystem, path = open_storage(folder_url)
    write_atomically(join(folder_url, "a", "b", "file"), b"x")
    for act, number in (
        (lambda: filesystem.open_append_stream(f"{path}/a/b/file"), errno.ENOTSUP),
        (
            lambda: filesystem.delete_dir_contents("/", accept_root_dir=True),
            errno.EPERM,
        ),
        (lambda: filesystem.delete_file(f"{path}/a"), errno.EISDIR),
        (lambda: filesystem.delete_dir(f"{path}/a/b/file"), errno.ENOTDIR),
        (lambda: filesystem.delete_dir(f"{path}/nothing"), errno.ENOENT),
        (lambda: filesystem.move(f"{path}/a", f"{path}/a/b"), errno.EINVAL),
        (lambda: filesystem.open_output_stream(f"{path}/n/file"), errno.ENOENT),
        (lambda: filesystem.open_output_stream(f"{path}/a"), errno.EISDIR),
        (lambda: filesystem.create_dir(f"{path}/a/b/file"), errno.ENOTDIR),
        (lambda: filesystem.create_dir(f"{path}/n/m", recursive=False), errno.ENOENT),
        (lambda: filesystem.open_output_stream(f"{path}/a:b"), errno.EINVAL),
    ):
        with pytest.raises(OSError) as caught:  # noqa: PT011, errno is checked
            act()
        assert caught.value.errno == number
    filesystem.delete_dir_contents(f"{path}/a")
    filesystem.delete_dir_contents(f"{path}/nothing", missing_dir_ok=True)
    assert names_below(folder_url) == []


# Processes, and clusters that protect data otherwise.


FORKED = """
import os, sys, warnings
warnings.simplefilter("ignore")  # that a process with threads forks
from poets.kerberos import login
from poets.storage import open_storage, read_bytes
filesystem, path = open_storage(sys.argv[1])
assert read_bytes(filesystem, path) == b"x"
child = os.fork()
assert read_bytes(filesystem, path) == b"x"
if not child:
    assert read_bytes(*open_storage(sys.argv[1])) == b"x"
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert read_bytes(filesystem, path) == b"x"
"""


def test_a_forked_process_has_a_client_of_its_own(folder_url):
    url = join(folder_url, "graph")
    write_atomically(url, b"x")
    environment = {**os.environ, "POETS_STORAGE_TIMEOUT_S": "20"}
    subprocess.run(
        [sys.executable, "-c", FORKED, url],
        cwd=ROOT,
        env=environment,
        timeout=300,
        check=True,
    )


@pytest.mark.soak  # between the weakest and the strongest
def test_integrity_works(start_hdfs, become):
    _works(start_hdfs(protection="integrity"), become)


def test_privacy_works(private_hdfs, become):
    _works(private_hdfs, become)


def _works(hdfs, become):
    become("tensorflow", hdfs)
    data = os.urandom(3 << 20)
    write_atomically("hdfs://default/tensorflow/graph", data)
    assert read_url("hdfs://default/tensorflow/graph") == data
    assert names_below("hdfs://default/tensorflow") == ["graph"]
