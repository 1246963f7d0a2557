"""HDFS by its own protocol: the contract on a real secure one, and its faults."""

import errno
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from poets.errors import NotAuthenticatedError, StorageError
from poets.kerberos import login
from poets.storage import exists, join, open_storage, read_bytes, read_url
from poets.storage.calls import deadline
from poets.storage.publish import check_writable, write_atomically
from poets.storage.reading import is_of_one_file
from tests.storage.contract import StorageContract, model, names_below
from tools.hdfs.configuration import hdfs_site
from tools.hdfs.shell import DFS_ADMIN, run_hadoop

__all__ = ["model"]  # a fixture of the contract

ROOT = Path(__file__).parents[2]
VARIABLES = (
    *("POETS_HADOOP_CONF", "HDFS_CORE_SITE_URI", "HDFS_HDFS_SITE_URI"),
    *("HADOOP_CONF_DIR", "HADOOP_HOME", "HADOOP_USER_NAME", "HADOOP_PROXY_USER"),
    *login.VARIABLES,
    *("POETS_STORAGE_TIMEOUT_S", "HADOOP_TOKEN_FILE_LOCATION"),
)
SOON_S = 3.0


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """Nothing of this machine's own Hadoop and Kerberos; tickets are removed."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    yield
    login.close()


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


# Who may do what.


def test_a_forbidden_folder_is_reported_with_its_owner(folder_url, as_user):
    write_atomically(join(folder_url, "graph"), b"x")
    as_user("alice")
    assert read_url(join(folder_url, "graph")) == b"x"
    with pytest.raises(StorageError) as caught:
        check_writable(folder_url)
    assert isinstance(caught.value.__cause__, PermissionError)
    path = path_of(folder_url)
    assert (
        f"'alice' may not write in {path!r}, which belongs to tensorflow:tensorflow "
        "with drwxr-xr-x; ask its owner, or name another folder "
        "(we are 'alice@LOCAL')"
    ) in str(caught.value)


def test_a_client_that_does_not_authenticate_is_reported_at_once(
    secure_hdfs, monkeypatch
):
    with pytest.raises(NotAuthenticatedError) as caught:
        read_bytes(*open_storage(f"{secure_hdfs.url}/tensorflow/graph"))
    assert "hadoop.security.authentication is not 'kerberos'" in str(caught.value)
    assert "--hadoop_conf" in str(caught.value)


def test_a_principal_without_a_rule_is_reported_at_once(as_user):
    as_user("nobody_knows")
    with pytest.raises(NotAuthenticatedError) as caught:
        read_bytes(*open_storage("hdfs://default/tensorflow/graph"))
    assert "'nobody_knows@LOCAL' (hadoop.security.auth_to_local)" in str(caught.value)


def test_a_client_without_a_ticket_is_reported_at_once(as_user, monkeypatch, tmp_path):
    as_user("tensorflow")
    monkeypatch.delenv("KRB5_CLIENT_KTNAME")
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path}/none")
    with pytest.raises(NotAuthenticatedError) as caught:
        read_bytes(*open_storage("hdfs://default/tensorflow/graph"))
    assert "no ticket for 'tensorflow@LOCAL': No credentials cache" in str(caught.value)


def test_a_keytab_that_is_older_than_the_key_is_reported(
    as_user, monkeypatch, kdc, tmp_path
):
    as_user("stale")
    stale = tmp_path / "stale.keytab"
    stale.write_bytes(kdc.user("stale").read_bytes())
    kdc.kadmin("cpw", "-randkey", "stale@LOCAL")
    monkeypatch.setenv("KRB5_CLIENT_KTNAME", str(stale))
    with pytest.raises(NotAuthenticatedError, match="export the keytab again"):
        read_bytes(*open_storage("hdfs://default/tensorflow/graph"))


def test_a_quota_is_reported(secure_hdfs, folder_url):
    path = path_of(folder_url)
    administer(secure_hdfs, "-setQuota", "1", path)
    with pytest.raises(StorageError, match="quota .*of directory .*exceeded") as got:
        write_atomically(join(folder_url, "graph"), b"x")
    assert got.value.__cause__.errno == errno.EDQUOT


# Faults.


def test_a_deleted_file_is_not_found(folder_url):
    url = join(folder_url, "graph")
    write_atomically(url, b"x")
    filesystem, path = open_storage(url)
    filesystem.delete_file(path)
    with pytest.raises(FileNotFoundError):
        read_bytes(filesystem, path)


@pytest.fixture
def silent_server():
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"localhost:{server.getsockname()[1]}"


def test_a_silent_server_is_left_at_the_deadline(as_user, silent_server):
    as_user("tensorflow")
    filesystem, path = open_storage(f"hdfs://{silent_server}/graph")
    with (
        deadline(0.5),
        pytest.raises(TimeoutError, match=r"reading the file took more than 0\.5 s: "),
    ):
        read_bytes(filesystem, path)


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
