"""A real secure HDFS by delegation tokens alone, as YARN, Spark and Oozie have them.

Hadoop's own `hdfs fetchdt` gets the tokens as alice. Nothing else here could
authenticate: no keytab, and a ticket cache that does not exist.
"""

import os
import uuid
from pathlib import Path

import pytest

from poets.errors import NotAuthenticatedError, StorageError
from poets.kerberos import login
from poets.kerberos.tokens import TOKEN_FILE, read_tokens
from poets.storage import open_storage, read_url
from poets.storage.hadoop import native
from poets.storage.publish import write_atomically
from tests import retraining
from tests.command import OURS, run_poets
from tests.doctor.ended import steps_of
from tests.secure import Hdfs
from tests.tokens import made_up, protobuf, renamed, write_tokens
from tools.hdfs.shell import run_hadoop

FETCH = "org.apache.hadoop.hdfs.tools.DelegationTokenFetcher"
FOLDER = "/user/alice/tokens"
RETRAIN = "from poets.cli import main; main()"


@pytest.fixture(scope="module")
def fetchdt(secure_hdfs: Hdfs):
    """Runs `hdfs fetchdt` as alice; returns the file that its last word names."""

    def run(*words: str, to: Path) -> str:
        done = run_hadoop(
            secure_hdfs.cluster,
            [*words, to.as_uri()],
            principal="alice@LOCAL",
            keytab=secure_hdfs.keytab("alice"),
            main_class=FETCH,
            capture=True,
            timeout_s=60,
        )
        assert done.returncode == 0, done.stderr
        to.chmod(0o600)
        return str(to)

    return run


@pytest.fixture(scope="module")
def files(secure_hdfs: Hdfs, fetchdt, tmp_path_factory) -> dict[str, str]:
    """Files of tokens: "rpc" and "web" as fetched; "host" and "protobuf" made of it."""
    secure_hdfs.cluster.make_folder(FOLDER, "alice:alice")
    folder = tmp_path_factory.mktemp("tokens")
    web = secure_hdfs.webhdfs_url.replace("webhdfs", "http")
    found = {
        "rpc": fetchdt("--renewer", "bob", to=folder / "rpc"),
        "web": fetchdt("--webservice", web, to=folder / "web"),
    }
    (token,) = read_tokens(found["rpc"])
    named = renamed(token, token.service.replace("127.0.0.1", "localhost"))
    found["host"] = write_tokens(folder / "host", made_up("127.0.0.9:1"), named)
    Path(folder / "protobuf").write_bytes(protobuf([token]))
    return found | {"protobuf": str(folder / "protobuf")}


@pytest.fixture
def environment(secure_hdfs: Hdfs, tmp_path):
    """Returns the variables of a job that has nothing but a file of tokens."""

    def of(path: str) -> dict[str, str]:
        return {
            "POETS_HADOOP_CONF": str(secure_hdfs.conf_dir),
            "POETS_CA_FILE": str(secure_hdfs.ca_file),
            "KRB5_CONFIG": str(secure_hdfs.krb5_conf),
            "KRB5CCNAME": f"FILE:{tmp_path}/none",
            TOKEN_FILE: path,
        }

    return of


@pytest.fixture
def as_job(environment, monkeypatch):
    """Makes this process a job that has nothing but a file of tokens."""

    def become(path: str) -> None:
        for name in (*login.VARIABLES, "HADOOP_USER_NAME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment(path).items():
            monkeypatch.setenv(name, value)

    yield become
    login.close()


def by_address(url: str) -> str:
    return url.replace("localhost", "127.0.0.1")


@pytest.mark.parametrize(
    ("name", "root"),
    [
        ("rpc", lambda hdfs: hdfs.url),
        ("rpc", lambda hdfs: by_address(hdfs.url)),
        ("rpc", lambda hdfs: "hdfs://default"),
        ("rpc", lambda hdfs: hdfs.webhdfs_url),
        ("protobuf", lambda hdfs: hdfs.url),
        ("host", lambda hdfs: hdfs.url),
        ("host", lambda hdfs: by_address(hdfs.url)),
        ("web", lambda hdfs: hdfs.webhdfs_url),
        ("web", lambda hdfs: by_address(hdfs.webhdfs_url)),
        ("web", lambda hdfs: "webhdfs://default"),
    ],
)
def test_a_token_alone_reads_and_writes(as_job, files, secure_hdfs, name, root):
    as_job(files[name])
    url = f"{root(secure_hdfs)}{FOLDER}/{uuid.uuid4().hex}"
    write_atomically(url, b"petals")  # nobody else may write there
    assert read_url(url) == b"petals"


def test_a_job_runs_on_a_token_alone(
    files, environment, secure_hdfs, nursery, tmp_path
):
    images = retraining.write_images(tmp_path / "images")
    secure_hdfs.cluster.put(images, f"{FOLDER}/images")
    out = f"hdfs://default{FOLDER}/job"
    flags = {
        "image_dir": f"hdfs://default{FOLDER}/images",
        "architecture": "scattering_96",
        "how_many_training_steps": 20,
        "output_graph": f"{out}/retrained_graph.pb",
        "output_labels": f"{out}/retrained_labels.txt",
        "bottleneck_dir": f"{out}/bottlenecks",
        "summaries_dir": str(tmp_path / "summaries"),
        "model_dir": str(tmp_path / "models"),
    }
    words = [f"--{name}={value}" for name, value in flags.items()]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    with (tmp_path / "log").open("wb") as log:
        variables = kept | environment(files["rpc"])
        task = nursery.start(RETRAIN, variables, log, ["retrain", *words])
    code = task.wait()
    said = task.log.read_text()
    assert code == 0, said
    assert "Traceback" not in said
    (token,) = read_tokens(files["rpc"])
    for secret in (token.password, token.identifier):
        assert secret.hex() not in said
        assert repr(secret)[2:-1] not in said
    left = secure_hdfs.dfs("-stat", "%u %n", f"{FOLDER}/job/*", user="alice").stdout
    assert "alice metrics.json" in left


def test_the_doctor_shows_whose_token_it_is(files, environment):
    ended = run_poets(["doctor", f"hdfs://default{FOLDER}"], environment(files["rpc"]))
    assert ended.code == 0, ended
    (token,) = read_tokens(files["rpc"])
    steps = steps_of(ended)
    assert [steps[name] for name in ("token", "NameNode")] == ["ok", "ok"]
    tickets = ("keytab", "krb5.conf", "KDC", "ticket", "service ticket")
    assert {steps[name] for name in tickets} == {"left out"}
    assert f"of alice@LOCAL for {token.service}, until 20" in ended.out
    assert "bob may renew it" in ended.out
    assert f"from {files['rpc']}" in ended.out
    assert "HDFS_DELEGATION_TOKEN" in ended.out
    assert "it answers alice@LOCAL" in ended.out


@pytest.mark.parametrize(
    ("make", "step", "found"),
    [
        (lambda path: None, "token", "no such file or directory"),
        (lambda path: path.write_bytes(b"HDTS\0\1\x0fx"), "token", "it ends too early"),
        (
            lambda path: write_tokens(path, made_up("10.0.0.1:8020")),
            "ticket",
            "has no token for localhost:",
        ),
    ],
)
@pytest.mark.parametrize("verb", ["doctor", "retrain"])
def test_what_is_wrong_with_the_file_is_reported(
    environment, tmp_path, make, step, found, verb
):
    make(tmp_path / "tokens")
    url = f"hdfs://default{FOLDER}"
    outputs = ("output_graph", "output_labels", "bottleneck_dir", "summaries_dir")
    words = [f"--image_dir={url}", *(f"--{name}={url}/{name}" for name in outputs)]
    words = [url] if verb == "doctor" else [*words, f"--model_dir={tmp_path}"]
    ended = run_poets([verb, *words], environment(str(tmp_path / "tokens")))
    assert ended.code != 0
    told = ended.out + ended.err
    assert found in told
    assert "(hdfs fetchdt)" in told
    if verb == "doctor":
        assert steps_of(ended)[step] == "FAILED"


def test_a_token_that_the_name_node_cancels_ends_the_job(
    as_job, files, fetchdt, tmp_path
):
    path = fetchdt(to=tmp_path / "tokens")
    as_job(path)
    url = f"hdfs://default{FOLDER}/{uuid.uuid4().hex}"
    write_atomically(url, b"petals")
    fetchdt("--cancel", to=tmp_path / "tokens")
    native._backends.clear()  # the next connection
    with pytest.raises(StorageError) as caught:
        read_url(url)
    text = str(caught.value)
    assert " does not accept us as 'alice@LOCAL': InvalidToken: " in text
    assert f"its delegation token in {path!r} was cancelled" in text
    assert "get a new one (hdfs fetchdt), or give a keytab" in text


def test_a_file_that_vanishes_is_named(as_job, files, tmp_path):
    path = tmp_path / "tokens"
    path.write_bytes(Path(files["rpc"]).read_bytes())
    as_job(str(path))
    filesystem, folder = open_storage(f"hdfs://default{FOLDER}")
    path.unlink()
    with pytest.raises(NotAuthenticatedError, match="cannot read delegation tokens"):
        filesystem.get_file_info(folder)


def test_a_keytab_that_is_given_goes_before_a_token(files, environment, secure_hdfs):
    given = secure_hdfs.environment("tensorflow") | {TOKEN_FILE: files["rpc"]}
    ended = run_poets(["doctor", "hdfs://default/"], environment(files["rpc"]) | given)
    assert ended.code == 0, ended
    assert steps_of(ended)["token"] == "left out"
    assert "but the principal tensorflow@LOCAL is given" in ended.out
    assert "it answers tensorflow@LOCAL" in ended.out
