"""The web interface of HDFS, on a real secure one: the contract, Kerberos, threads."""

import contextlib
import hashlib
import os
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pyarrow.fs
import pytest

from poets.errors import NotAuthenticatedError, StorageError
from poets.kerberos import login
from poets.storage import exists, join, open_storage, read_bytes, read_url
from poets.storage.calls import deadline
from poets.storage.publish import check_writable, write_atomically
from tests.storage.at_once import AtOnceInSoak, publisher
from tests.storage.contract import StorageContract, model, names_below
from tests.storage.hadoop_confs import bare_environment, web_client
from tests.storage.publisher import content

__all__ = ["bare_environment", "model", "web_client"]  # fixtures


@pytest.fixture
def as_user(secure_hdfs, monkeypatch) -> Callable[[str], None]:
    """Makes this process one of the cluster's users."""

    def change(user: str) -> None:
        for name, value in secure_hdfs.environment(user).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("POETS_CA_FILE", str(secure_hdfs.ca_file))

    return change


@pytest.fixture
def make_folder(as_user) -> Callable[[str], str]:
    """Makes an empty folder of `tensorflow` and returns its URL."""

    def make(root: str) -> str:
        as_user("tensorflow")
        url = f"{root}/tensorflow/{uuid.uuid4().hex}"
        filesystem, path = open_storage(url)
        filesystem.create_dir(path)
        return url

    return make


@pytest.fixture
def web_url(secure_hdfs, make_folder) -> str:
    """An empty folder, by the NameNode's web interface."""
    return make_folder(secure_hdfs.webhdfs_url)


class WebContract(StorageContract):
    """What is written by the web interface is read by RPC."""

    @pytest.fixture
    def refused_url(self, root):
        return f"{root}/of_the_superuser/model"

    @pytest.fixture
    def folder_url(self, root, make_folder):
        return make_folder(root)

    @pytest.fixture
    def as_seen(self, root, secure_hdfs):
        return lambda url: read_url(secure_hdfs.url + url.removeprefix(root))


class TestWebHdfs(WebContract):
    """`webhdfs://`, by NameNode and DataNodes."""

    @pytest.fixture
    def root(self, secure_hdfs):
        return secure_hdfs.webhdfs_url


@pytest.mark.soak
class TestSWebHdfs(WebContract):
    """`swebhdfs://`, the same with TLS."""

    @pytest.fixture
    def root(self, secure_hdfs):
        return secure_hdfs.swebhdfs_url


class TestHttpFs(AtOnceInSoak, WebContract):
    """HttpFS, which gives and takes the data itself."""

    keeps_folders = False
    test_readers_find_results_at_all_times = None  # they do not, as the next one says

    @pytest.fixture
    def root(self, secure_hdfs):
        return secure_hdfs.httpfs_url

    def test_readers_never_see_half_a_file(self, folder_url):
        """HttpFS cannot replace a file in one step: for a moment there is none."""
        url = join(folder_url, "graph")
        with publisher("file", folder_url) as process:
            assert process.stdout.readline() == "0\n", process.communicate()
            seen = set()
            while len(seen) < 5:
                with contextlib.suppress(FileNotFoundError):
                    data = read_bytes(*open_storage(url))
                    assert data == content("graph", data[0])
                    seen.add(data[0])


def test_files_come_and_go_through_tls(secure_hdfs, make_folder):
    url = join(make_folder(secure_hdfs.swebhdfs_url), "graph")
    for data in (b"first", b"second" * 100_000):
        write_atomically(url, data)
        assert read_url(url) == data


def test_the_configuration_names_the_web_interface(secure_hdfs, web_url):
    path = web_url.removeprefix(secure_hdfs.webhdfs_url)
    write_atomically(join(web_url, "graph"), b"x")
    for url in (f"webhdfs://default{path}", f"webhdfs://{path}"):
        assert read_url(join(url, "graph")) == b"x"
    _, home = open_storage("webhdfs://default")
    assert home == "/user/tensorflow"


def test_attributes_are_as_the_real_client_lists_them(secure_hdfs, web_url):
    write_atomically(join(web_url, "graph"), b"x")
    filesystem, path = open_storage(web_url)
    attributes = filesystem.handler.attributes(path)["graph"]
    (line,) = (
        line.split()
        for line in secure_hdfs.dfs("-ls", path).stdout.splitlines()
        if line.endswith("/graph")
    )
    assert [f"-{attributes.permissions}", str(attributes.replication)] == line[:2]
    assert [attributes.owner, attributes.group] == line[2:4]


@pytest.mark.parametrize("root", ["webhdfs_url", "httpfs_url"])
def test_a_long_file_is_written_and_read_in_parts(secure_hdfs, make_folder, root):
    url = join(make_folder(getattr(secure_hdfs, root)), "long")
    filesystem, path = open_storage(url)
    data = os.urandom(1 << 20) * 40
    with filesystem.open_output_stream(path) as stream:
        for start in range(0, len(data), 7 << 20):
            stream.write(data[start : start + (7 << 20)])
    with filesystem.open_input_file(path) as file:
        assert file.size() == len(data)
        assert hashlib.sha256(file.read()).digest() == hashlib.sha256(data).digest()
        assert file.read_at(100, 33 << 20) == data[33 << 20 :][:100]
    filesystem.handler.write_bytes(path, data[1:])
    assert read_bytes(filesystem, path) == data[1:]


@pytest.mark.parametrize("root", ["webhdfs_url", "httpfs_url"])
def test_a_writer_that_fails_leaves_no_file(secure_hdfs, make_folder, root):
    url = make_folder(getattr(secure_hdfs, root))
    filesystem, path = open_storage(url)
    with (  # noqa: PT012, closing is part of it
        pytest.raises(KeyError),
        filesystem.open_output_stream(f"{path}/half") as stream,
    ):
        stream.write(bytes(20 << 20))
        raise KeyError
    assert names_below(url) == []


@pytest.mark.parametrize("times", [5, pytest.param(40, marks=pytest.mark.soak)])
def test_cold_threads_sign_in_at_once(secure_hdfs, web_url, times):
    """Of a shared GSS context, threads would make failures and crashes."""
    path = web_url.removeprefix(secure_hdfs.webhdfs_url)
    for _ in range(times):
        login.close()  # no ticket, no cookie, no connection
        filesystem, _ = open_storage(web_url)
        barrier = threading.Barrier(32)

        def look(_, filesystem=filesystem, barrier=barrier):
            barrier.wait(300)
            return filesystem.get_file_info(path).type

        with ThreadPoolExecutor(32) as pool:
            assert set(pool.map(look, range(32))) == {pyarrow.fs.FileType.Directory}


@pytest.mark.soak
def test_32_threads_read_400_files(web_url):
    filesystem, root = open_storage(web_url)
    written = {f"{root}/{i:03}.jpg": bytes([i % 251]) * (10 * i) for i in range(400)}
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(filesystem.handler.write_bytes, written, written.values()))
    with ThreadPoolExecutor(32) as pool:
        read = pool.map(lambda path: read_bytes(filesystem, path), written)
        assert list(read) == list(written.values())


@pytest.mark.parametrize(
    "cookie", ["u=hdfs&p=hdfs/localhost@LOCAL&t=kerberos&e=1&s=AAAA", "of another"]
)
def test_a_cookie_that_is_not_taken_is_replaced(web_url, cookie):
    filesystem, path = open_storage(web_url)
    client = filesystem.handler.backend.client
    session = client._session
    for act in (
        lambda: filesystem.get_file_info(path),
        lambda: filesystem.handler.write_bytes(f"{path}/graph", b"x"),
        lambda: read_bytes(filesystem, f"{path}/graph"),
    ):
        client._token = None  # it would do without
        session.cookies.clear()
        session.cookies.set("hadoop.auth", cookie, domain="localhost.local", path="/")
        act()
        assert cookie not in session.cookies.values()


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_a_token_that_is_not_taken_is_replaced(web_url, is_cancelled):
    filesystem, path = open_storage(web_url)
    client = filesystem.handler.backend.client
    for act in (
        lambda: filesystem.handler.write_bytes(f"{path}/graph", b"x"),
        lambda: read_bytes(filesystem, f"{path}/graph"),
    ):
        write_atomically(join(web_url, "other"), b"")
        stale = client._token
        if is_cancelled:
            params = {"op": "CANCELDELEGATIONTOKEN", "token": stale}
            answer = client._session.put(f"{client.urls[0]}/webhdfs/v1/", params=params)
            assert answer.ok
        else:
            client._token = stale = "bm90IGEgdG9rZW4"
        act()
        assert client._token != stale


def test_who_has_no_ticket_is_reported(secure_hdfs, monkeypatch):
    monkeypatch.setenv("POETS_HADOOP_CONF", str(secure_hdfs.conf_dir))
    monkeypatch.setenv("KRB5_CONFIG", str(secure_hdfs.krb5_conf))
    monkeypatch.setenv("KRB5CCNAME", "FILE:/nowhere/tickets")
    with pytest.raises(StorageError, match="/nowhere/tickets.*run kinit") as caught:
        exists(f"{secure_hdfs.webhdfs_url}/tensorflow")
    assert isinstance(caught.value.__cause__, NotAuthenticatedError)


def test_who_does_not_ask_for_kerberos_is_reported(secure_hdfs):
    url = f"{secure_hdfs.webhdfs_url}/tensorflow"
    with pytest.raises(StorageError, match="requires authentication .*--hadoop_conf"):
        exists(url)


def test_a_name_that_the_kdc_does_not_know_is_reported(secure_hdfs, as_user):
    as_user("tensorflow")
    url = secure_hdfs.webhdfs_url.replace("localhost", "127.0.0.1")
    with pytest.raises(StorageError, match="HTTP/127.0.0.1") as caught:
        exists(f"{url}/tensorflow")
    assert "use the host name that the server's own principal has" in str(caught.value)
    assert isinstance(caught.value.__cause__, NotAuthenticatedError)


@pytest.mark.parametrize("root", ["webhdfs_url", "swebhdfs_url", "httpfs_url"])
def test_what_is_forbidden_is_not_taken_for_missing(
    secure_hdfs, make_folder, as_user, root
):
    url = make_folder(getattr(secure_hdfs, root))
    write_atomically(join(url, "graph"), b"x")
    filesystem, path = open_storage(url)
    secure_hdfs.change(("set_permission", path, 0o700))
    as_user("alice")
    filesystem, _ = open_storage(url)
    long = bytes(8 << 20)  # the refusal comes while it is sent
    for act in (
        lambda: exists(join(url, "graph")),
        lambda: names_below(url),
        lambda: write_atomically(join(url, "graph"), b"y"),
        lambda: filesystem.handler.write_bytes(f"{path}/graph", long),
    ):
        with pytest.raises(OSError, match="'alice' may not ") as caught:
            act()
        assert f"{path!r}, which belongs to tensorflow:" in str(caught.value)
    as_user("tensorflow")
    assert read_url(join(url, "graph")) == b"x"


def test_a_ca_that_is_not_trusted_is_reported(secure_hdfs, as_user, monkeypatch):
    as_user("tensorflow")
    monkeypatch.delenv("POETS_CA_FILE")
    url = f"{secure_hdfs.swebhdfs_url}/tensorflow"
    with pytest.raises(StorageError, match="CERTIFICATE_VERIFY_FAILED") as one:
        exists(url)
    assert "name the cluster's CA file in POETS_CA_FILE" in str(one.value)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(secure_hdfs.ca_file))
    assert exists(url)


def test_tls_where_there_is_none_is_reported(secure_hdfs, as_user):
    as_user("tensorflow")
    with pytest.raises(StorageError, match="no TLS with localhost:.*9871"):
        exists(f"s{secure_hdfs.webhdfs_url}/tensorflow")


def test_a_restarted_namenode_is_waited_for(secure_hdfs, web_url):
    """By the web and by RPC; and it has its address and its files again."""
    path = web_url.removeprefix(secure_hdfs.webhdfs_url)
    urls = [f"{web_url}/graph", f"{secure_hdfs.url}{path}/graph"]
    write_atomically(urls[0], b"x")
    restarted = threading.Event()

    def read_on(url: str) -> None:
        filesystem, path = open_storage(url)
        while not restarted.is_set():
            assert read_bytes(filesystem, path) == b"x"
        assert read_bytes(filesystem, path) == b"x"

    with ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(read_on, urls[1]) for _ in range(4)]
        try:
            secure_hdfs.stop_namenode()
            texts = ("nothing answers at .*tried ", "nothing listens at .*tried ")
            for url, text in zip(urls, texts, strict=True):
                with deadline(1), pytest.raises(StorageError, match=text) as caught:
                    read_url(url)
                assert isinstance(caught.value.__cause__, ConnectionRefusedError)
            readers.append(pool.submit(read_on, urls[0]))
        finally:
            secure_hdfs.start_namenode()
            restarted.set()
        for reader in readers:
            reader.result(timeout=300)


def test_a_folder_may_be_checked_by_the_preflight(web_url):
    check_writable(join(web_url, "deep", "er"))
    assert names_below(web_url) == []
