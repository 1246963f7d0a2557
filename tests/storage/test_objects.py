"""Object stores: the contract on a real S3 server, errors."""

import json
import os
import socket
import ssl
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pyarrow.fs
import pytest
import requests

from poets.errors import NotAuthenticatedError, StorageError
from poets.storage import exists, join, kind_of, open_storage, read_bytes, read_url
from poets.storage.publish import Publication, check_writable, write_atomically
from tests.certificates import write_certificate
from tests.storage.at_once import AtOnceInSoak
from tests.storage.contract import StorageContract, model, names_below

__all__ = ["model"]  # a fixture of the contract

SECRET = "wJalrXUtnFEMI/K7MDENG"


class TestS3(StorageContract):
    """A bucket of moto's server."""

    renames_exclusively = False  # what is called a rename is a copy

    @pytest.fixture
    def folder_url(self, s3):
        return f"s3://{s3.make_bucket()}/folder"

    @pytest.fixture
    def refused_url(self, s3):
        return "s3://no-such-bucket/folder"

    @pytest.fixture
    def as_seen(self, s3):
        def read(url):
            bucket, _, key = url.removeprefix("s3://").partition("/")
            return s3.client().get_object(Bucket=bucket, Key=key)["Body"].read()

        return read


class TestGs(AtOnceInSoak, StorageContract):
    """A bucket of Google's, as gcp-storage-emulator has it."""

    renames_exclusively = False

    @pytest.fixture
    def folder_url(self, gs):
        name = f"poets-{uuid.uuid4().hex[:12]}"
        requests.post(f"{gs}/storage/v1/b", json={"name": name}).raise_for_status()
        return f"gs://{name}/folder"

    @pytest.fixture
    def refused_url(self, gs):
        return "gs://no-such-bucket/folder"

    @pytest.fixture
    def as_seen(self, gs):
        def read(url):
            bucket, _, key = url.removeprefix("gs://").partition("/")
            place = f"{gs}/download/storage/v1/b/{bucket}/o/{quote(key, safe='')}"
            answer = requests.get(place, params={"alt": "media"})
            answer.raise_for_status()
            return answer.content

        return read


KEYS = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": SECRET}


def test_a_url_names_bucket_and_key_verbatim(s3):
    for url in ("s3://b/a b#c?d%41/käse", "S3://b/a b#c?d%41/käse/"):
        filesystem, path = open_storage(url)
        assert path == "b/a b#c?d%41/käse"
    assert filesystem.type_name == "py::s3"


def test_a_process_has_one_client(s3):
    assert open_storage("s3://one/a")[0] is open_storage("s3://other/b")[0]


def test_a_bucket_that_does_not_exist_is_reported(s3):
    url = "s3://no-such-bucket/flowers"
    text = "the bucket 'no-such-bucket' does not exist; make it, or name another"
    for act, verb in (
        (kind_of, "access"),
        (exists, "access"),
        (check_writable, "write"),
    ):
        with pytest.raises(StorageError, match=f"cannot {verb} 's3://no-such-bucket/"):
            act(url)
        with pytest.raises(StorageError, match=text):
            act(url)
    filesystem, path = open_storage(url)
    with pytest.raises(FileNotFoundError, match=text):
        filesystem.get_file_info(pyarrow.fs.FileSelector(path, recursive=True))


def test_objects_that_others_put_are_folders_and_files(s3):
    bucket = s3.make_bucket()
    names = ["daisy/1.jpg", "daisy/2#?%41 ü.jpg", "roses/deep/er/3.jpg"]
    for name in names:
        s3.client().put_object(Bucket=bucket, Key=f"flowers/{name}", Body=b"x")
    url = f"s3://{bucket}/flowers"
    assert names_below(url) == names
    assert kind_of(url) == kind_of(f"s3://{bucket}") == pyarrow.fs.FileType.Directory
    for name in names:
        assert read_url(join(url, name)) == b"x"


def test_a_bucket_is_not_emptied(s3):
    bucket = s3.make_bucket()
    write_atomically(f"s3://{bucket}/a", b"x")
    filesystem, path = open_storage(f"s3://{bucket}")
    with pytest.raises(OSError, match="refusing to empty a bucket"):
        filesystem.delete_dir(path)
    assert names_below(f"s3://{bucket}") == ["a"]


def test_of_a_saved_model_the_graph_comes_last(s3, model):
    """So who finds it finds what it needs, and what an earlier one had is gone."""
    url = f"s3://{s3.make_bucket()}/saved/1"
    for stale in ("assets/words", "variables/old"):
        write_atomically(join(url, *stale.split("/")), b"old")
    for i in range(20):
        (model / "variables" / f"shard{i}").write_bytes(b"")
    with Publication() as publication:
        publication.add_folder(url, str(model))
        publication.commit()
    filesystem, root = open_storage(url)
    infos = filesystem.get_file_info(pyarrow.fs.FileSelector(root, recursive=True))
    times = {
        info.path[len(root) + 1 :]: info.mtime
        for info in infos
        if info.type == pyarrow.fs.FileType.File
    }
    assert len(times) == 22
    assert max(times.values()) == times["saved_model.pb"]


def test_a_large_object_is_written_whole(s3):
    """In several parts, which a store joins at the end."""
    url = f"s3://{s3.make_bucket()}/model"
    data = os.urandom(1 << 20) * 25
    write_atomically(url, data)
    assert read_url(url) == data
    filesystem, path = open_storage(url)
    with filesystem.open_input_file(path) as file:
        assert file.size() == len(data)
        assert file.read_at(10, len(data) - 5) == data[-5:]


def test_a_writer_that_fails_leaves_no_object(s3):
    filesystem, root = open_storage(f"s3://{s3.make_bucket()}/folder")
    with (  # noqa: PT012, the block is what is tested
        pytest.raises(KeyError),
        filesystem.open_output_stream(f"{root}/half") as stream,
    ):
        stream.write(b"half")
        raise KeyError
    assert filesystem.get_file_info(f"{root}/half").type == pyarrow.fs.FileType.NotFound


@pytest.fixture
def guarded(s3, monkeypatch):
    """A bucket of a store that knows its users; returns a way to become one."""
    bucket, iam = s3.make_bucket(), s3.client("iam")
    s3.client().put_object(Bucket=bucket, Key="flowers/1.jpg", Body=b"x")
    iam.create_user(UserName=bucket)
    key = iam.create_access_key(UserName=bucket)["AccessKey"]
    reads = {"Effect": "Allow", "Resource": "*", "Action": ["s3:Get*", "s3:List*"]}
    iam.put_user_policy(
        UserName=bucket,
        PolicyName="reads",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [reads]}),
    )

    def check_users(after):
        url = f"http://{s3.address}/moto-api/reset-auth"
        requests.post(url, data=after, timeout=300).raise_for_status()

    def become(access_key=key["AccessKeyId"], secret_key=key["SecretAccessKey"]):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret_key)
        return f"s3://{bucket}/flowers"

    check_users(b"0")
    yield become
    check_users(b"inf")


def test_who_may_only_read_is_reported_when_writing(guarded):
    url = guarded()
    assert read_url(join(url, "1.jpg")) == b"x"
    assert names_below(url) == ["1.jpg"]
    with pytest.raises(StorageError) as caught:
        check_writable(url)
    assert "permission denied by the store: the keys are wrong, or " in str(
        caught.value
    )
    assert "AWS_ACCESS_KEY_ID" in str(caught.value)
    assert type(caught.value.__cause__) is PermissionError


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (
            {"secret_key": SECRET},
            "the secret key does not belong to the access key; see ",
        ),
        (
            {"access_key": "AKIAOTHER"},
            "the store does not know this access key; see AWS_",
        ),
    ],
)
def test_wrong_keys_are_distinguished_from_missing_rights(guarded, keys, text):
    url = guarded(**keys)
    for act in (kind_of, check_writable):
        with pytest.raises(StorageError, match=text) as caught:
            act(url)
        assert isinstance(caught.value.__cause__, NotAuthenticatedError)
        assert SECRET not in str(caught.value)
    filesystem, path = open_storage(url)
    with pytest.raises(NotAuthenticatedError, match=text):
        filesystem.get_file_info(pyarrow.fs.FileSelector(path))
    with pytest.raises(NotAuthenticatedError, match=text):
        read_bytes(filesystem, f"{path}/1.jpg")


def test_a_store_that_is_down_is_reported(store_settings, closed_port, monkeypatch):
    store_settings(**KEYS, S3_ENDPOINT=f"127.0.0.1:{closed_port}", S3_USE_HTTPS="0")
    monkeypatch.setenv("POETS_STORAGE_TIMEOUT_S", "1")
    with pytest.raises(
        StorageError, match="nothing listens at the store's address; see the endpoint"
    ) as caught:
        read_url("s3://bucket/key")
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_a_store_that_breaks_off_is_asked_again(store_settings, monkeypatch):
    """As one that restarts does."""
    answers = []

    class Breaks(_Answers):
        def do_HEAD(self):
            answers.append(len(answers))
            if len(answers) <= 2:
                self.close_connection = True
            elif len(answers) == 3:
                self.answer(503, b"")
            else:
                super().do_HEAD()

    with _served(Breaks) as address:
        store_settings(**KEYS, S3_ENDPOINT=address, S3_USE_HTTPS="0")
        assert read_url("s3://bucket/key") == b"hello"
    assert len(answers) == 4


def test_a_small_object_is_written_by_one_plain_request(store_settings):
    """Without the trailing checksums that stores other than AWS's may not know."""
    requests = []

    class Takes(_Answers):
        def do_PUT(self):
            length = int(self.headers["Content-Length"])
            requests.append((self.path, self.rfile.read(length)))
            self.answer(200, b"")

    with _served(Takes) as address:
        store_settings(**KEYS, S3_ENDPOINT=address, S3_USE_HTTPS="0")
        filesystem, path = open_storage("s3://bucket/a b#c")
        filesystem.handler.write_bytes(path, b"hello")
    assert requests == [("/bucket/a%20b%23c", b"hello")]


def test_an_answer_that_breaks_off_is_no_file(store_settings, monkeypatch):
    class Short(_Answers):
        def do_GET(self):
            self.send_response(206)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hel")
            self.close_connection = True

    monkeypatch.setenv("POETS_STORAGE_TIMEOUT_S", "1")
    with _served(Short) as address:
        store_settings(**KEYS, S3_ENDPOINT=address, S3_USE_HTTPS="0")
        with pytest.raises(StorageError, match="cannot read .*connection to the store"):
            read_url("s3://bucket/key")


def test_certificates_are_verified_unless_reported_otherwise(store_settings, tmp_path):
    certificate, key = write_certificate(tmp_path, "IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with _served(_Answers, context) as address:
        store_settings(**KEYS, S3_ENDPOINT=address)
        with pytest.raises(
            StorageError, match="no encrypted connection: .*AWS_CA_BUNDLE"
        ):
            read_url("s3://bucket/key")
        store_settings(**KEYS, S3_ENDPOINT=address, AWS_CA_BUNDLE=str(certificate))
        assert read_url("s3://bucket/key") == b"hello"
        store_settings(**KEYS, S3_ENDPOINT=address, S3_VERIFY_SSL="0")
        assert read_url("s3://bucket/key") == b"hello"


def test_a_silent_store_is_given_up(store_settings, monkeypatch):
    monkeypatch.setenv("POETS_STORAGE_TIMEOUT_S", "0.5")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = "127.0.0.1:{1}".format(*silent.getsockname())
        store_settings(**KEYS, S3_ENDPOINT=address, S3_USE_HTTPS="0")
        with pytest.raises(StorageError, match="took more than 0.5 s") as caught:
            read_url("s3://bucket/key")
        assert isinstance(caught.value.__cause__, TimeoutError)


class _Answers(BaseHTTPRequestHandler):
    """A store in which each object is "hello"."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):  # noqa: N802, the base class names it
        self.answer(200, b"hello")

    def do_GET(self):  # noqa: N802
        self.answer(206, b"hello")

    def answer(self, status, data):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *args):
        """Keeps the tests' output clean."""


class _served:  # noqa: N801, used as a function
    """Runs a server on loopback for a block; gives its host:port."""

    def __init__(self, handler, context=None):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        if context:
            wrap = context.wrap_socket
            self._server.socket = wrap(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self):
        self._thread.start()
        return f"127.0.0.1:{self._server.server_port}"

    def __exit__(self, *exception):
        self._server.shutdown()
        self._thread.join(300)
        self._server.server_close()
