"""Spark's executors on a real secure HDFS: by delegation tokens, and by nothing else.

The driver has alice's keytab, in its JVM and in Python. The executors run in the same
local-cluster as all tests of Spark.
"""

import importlib
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from poets.data.dataset import find_images
from poets.errors import ConfigError
from poets.features.compute import compute_bottlenecks
from poets.features.pool import Pool
from poets.features.store import list_parts
from poets.kerberos import login
from poets.kerberos.tokens import TOKEN_FILE, read_tokens
from poets.storage.hadoop.conf import load_conf
from tests.packs import ours_parquet, ours_tar

pytest_plugins = ["tests.spark_session"]
FOLDER = "/user/alice/spark"
SOAK = pytest.mark.soak
PROCESS = "poets.features.process"


@pytest.fixture
def hdfs(request, private_hdfs):
    """The HDFS of most tests, or one of the test's own by fields of its settings."""
    found = private_hdfs
    if wanted := getattr(request, "param", {}):
        found = request.getfixturevalue("start_hdfs")(**wanted)
    found.cluster.make_folder(FOLDER, "alice:alice")
    return found


@pytest.fixture
def images(hdfs, large_images):
    """The URL of the large pictures, in HDFS."""
    hdfs.cluster.put(large_images, f"{FOLDER}/images")
    return f"hdfs://default{FOLDER}/images"


@pytest.fixture
def as_alice(hdfs, monkeypatch):
    """Logs this process in as alice."""
    for name, value in hdfs.environment("alice").items():
        monkeypatch.setenv(name, value)
    yield
    login.close()


@pytest.fixture
def hadoop_of(spark_session):
    """Hadoop's package in the driver's JVM."""
    return spark_session._jvm.org.apache.hadoop


@pytest.fixture
def jvm_as_alice(spark_session, hdfs, hadoop_of):
    """Logs the driver's JVM in, as spark-submit does before it starts a driver."""
    jvm, context = spark_session._jvm, spark_session.sparkContext
    key = "java.security.krb5.conf"
    jvm.System.setProperty(key, str(hdfs.krb5_conf))
    conf = context._jsc.hadoopConfiguration()
    for name in ("core-site.xml", "hdfs-site.xml"):
        conf.addResource(hadoop_of.fs.Path(f"file://{hdfs.conf_dir}/{name}"))
    user = hadoop_of.security.UserGroupInformation
    user.setConfiguration(conf)
    user.loginUserFromKeytab("alice@LOCAL", str(hdfs.keytab("alice")))
    yield conf
    user.setConfiguration(hadoop_of.conf.Configuration(False))
    jvm.System.clearProperty(key)


@pytest.fixture
def on_spark(spark, spark_session, images, network):
    """Computes the pictures in HDFS into a new store there."""
    with Pool(1) as pool:
        workers = spark.SparkWorkers(spark_session, pool)

        def compute(store):
            found = find_images(images)
            spec = replace(network.spec(images, store), packs=found.packs)
            return compute_bottlenecks(found.images, spec, workers)

        yield compute


def children(executors):
    """Returns the id and the environment of each process of the executors."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
            if PROCESS not in words or not is_below(int(entry.name), executors):
                continue
            lines = (entry / "environ").read_bytes().decode().split("\0")
        except OSError:
            continue
        found[int(entry.name)] = dict(line.split("=", 1) for line in lines if line)
    return found


def is_below(pid, ancestors):
    while pid > 1 and pid not in ancestors:
        stat = Path(f"/proc/{pid}/stat").read_text()
        pid = int(stat.rpartition(")")[2].split()[1])
    return pid in ancestors


def test_executors_read_and_write_with_tokens_alone(
    as_alice, jvm_as_alice, on_spark, executors, hdfs, large_images, network
):
    store = f"hdfs://default{FOLDER}/store"
    found = on_spark(store)
    local = find_images(str(large_images)).images
    assert (len(found.kept), found.skipped) == (len(local), ())
    started = children(executors())
    assert started
    for pid, variables in started.items():
        assert "/tensorflow/" not in Path(f"/proc/{pid}/maps").read_text()
        assert not {"KRB5_CLIENT_KTNAME", "POETS_KERBEROS_PRINCIPAL"} & set(variables)
        path = variables[TOKEN_FILE]
        (token,) = read_tokens(path)
        assert (token.owner, os.stat(path).st_mode & 0o777) == ("alice@LOCAL", 0o600)
    left = hdfs.dfs("-stat", "%u %n", f"{FOLDER}/store/*", user="alice").stdout
    lines = left.splitlines()
    assert len(lines) > 1
    assert all(line.startswith("alice part-") for line in lines)


@pytest.mark.parametrize(
    ("hdfs", "end"),
    [({}, "cancel"), pytest.param({"token_life_s": 20}, "expire", marks=SOAK)],
    indirect=["hdfs"],
)
def test_a_pass_outlives_its_tokens(
    end,
    as_alice,
    jvm_as_alice,
    on_spark,
    executors,
    hadoop_of,
    spark,
    spark_session,
    in_the_middle,
    wait_until,
    monkeypatch,
    tmp_path,
):
    given, path = [], tmp_path / "tokens"

    def tokens_for(*arguments, earlier=spark.tokens_for):
        given.append(earlier(*arguments))
        return given[-1]

    def cancel():
        file = spark_session._jvm.java.io.File(str(path))
        read = hadoop_of.security.Credentials.readTokenStorageFile(file, jvm_as_alice)
        for token in read_tokens(str(path)):
            read.getToken(hadoop_of.io.Text(token.service)).cancel(jvm_as_alice)

    def expire():
        (token,) = read_tokens(str(path))
        wait_until(lambda: time.time() > token.issued_s + 21)

    def lose_tokens():
        """The NameNode refuses the tokens, and connections that have them are lost."""
        path.write_bytes(given[0])
        stopped = children(executors())
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        {"cancel": cancel, "expire": expire}[end]()
        for pid in stopped:
            os.kill(pid, signal.SIGKILL)

    monkeypatch.setattr(spark, "tokens_for", tokens_for)
    store = f"hdfs://default{FOLDER}/outlived"
    in_the_middle(lambda: list_parts(store), lose_tokens)
    found = on_spark(store)
    assert (found.skipped, len(found.kept)) == ((), found.computed)
    assert len(set(given)) == 2


@pytest.mark.parametrize("write", [ours_tar, ours_parquet])
def test_tasks_prefer_the_hosts_of_their_packs(
    write,
    as_alice,
    jvm_as_alice,
    hdfs,
    spark,
    spark_session,
    network,
    pictures,
    tmp_path,
):
    names = [f"{('daisy', 'roses')[n % 2]}/{n}.jpg" for n in range(len(pictures))]
    write(tmp_path, dict(zip(names, pictures, strict=True)))
    folder = f"{FOLDER}/{write.__name__}"
    hdfs.cluster.put(tmp_path, folder)
    found = find_images(f"hdfs://default{folder}")
    store = f"hdfs://default{folder}_store"
    spec = network.spec(f"hdfs://default{folder}", store)
    spec = replace(spec, packs=found.packs)
    locality = importlib.import_module("poets.workers.locality")
    near = locality.PackHosts(spec, load_conf(), spark_session.sparkContext)
    chunk = [SimpleNamespace(place=image.place) for image in found.images]
    assert near.of(chunk) == ("localhost",)
    with Pool(1) as pool:
        workers = spark.SparkWorkers(spark_session, pool)
        extraction = compute_bottlenecks(found.images, spec, workers)
    assert (extraction.computed, extraction.skipped) == (len(pictures), ())


def test_spark_must_know_that_the_cluster_has_kerberos(as_alice, spark, spark_session):
    with pytest.raises(ConfigError, match="set HADOOP_CONF_DIR to the folder"):
        spark.tokens_for(["hdfs://default/"], load_conf(), spark_session.sparkContext)
