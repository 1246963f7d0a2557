"""Who asks a Hadoop cluster: names, users without one, users who act for another.

On the real one `tensorflow` may act for `alice` alone.
"""

import os
import uuid

import pytest

from poets.errors import ConfigError, NotAuthenticatedError, StorageError
from poets.kerberos.libkrb5 import Login
from poets.storage import open_storage
from poets.storage.hadoop.conf import HadoopConf
from poets.storage.hadoop.user import User, current_user
from poets.storage.publish import write_atomically
from tests.storage.hadoop_confs import bare_environment

__all__ = ["bare_environment"]  # a fixture, for each test

NAMELESS = 54321  # no system has a name for it
INTERFACES = ("url", "webhdfs_url", "swebhdfs_url", "httpfs_url")


@pytest.fixture(autouse=True)
def _homeless(bare_environment, monkeypatch):
    monkeypatch.delenv("HOME", raising=False)


@pytest.fixture
def nameless(monkeypatch):
    """The user id of this process has no name; USER and LOGNAME are not asked."""
    monkeypatch.setattr(os, "geteuid", lambda: NAMELESS)
    monkeypatch.setenv("USER", "mallory")
    monkeypatch.setenv("LOGNAME", "mallory")


@pytest.fixture
def need_web(require):
    """The web interface's client is an extra."""
    try:
        import hdfs  # noqa: F401
        import requests_kerberos  # noqa: F401
    except ModuleNotFoundError:
        require("webhdfs", False)


@pytest.mark.parametrize("url", ["hdfs://h:1/p", "webhdfs://h:1/p"])
@pytest.mark.parametrize("empty", [False, True], ids=["unset", "empty"])
def test_a_cluster_that_goes_by_names_needs_one(
    nameless, need_web, monkeypatch, url, empty
):
    if empty:
        monkeypatch.setenv("HADOOP_USER_NAME", "")
    with pytest.raises(ConfigError) as caught:
        open_storage(url)
    assert str(caught.value) == (
        "cannot log in to HDFS: user id 54321 has no name on this machine, and a "
        "cluster without Kerberos needs one; set HADOOP_USER_NAME"
    )
    assert caught.value.exit_code == 2
    monkeypatch.setenv("HADOOP_USER_NAME", "carol")
    assert open_storage(url)[1] == "/p"
    assert open_storage(url.removesuffix("/p"))[1] == "/user/carol"


def test_a_cluster_with_kerberos_needs_no_name(nameless, monkeypatch, tmp_path):
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path}/none")  # nobody's own tickets
    found = current_user(Login("alice/host@LOCAL", None, None), with_kerberos=True)
    assert (found.name, found.home) == ("alice/host@LOCAL", "alice")
    assert current_user(None, with_kerberos=True).name == str(NAMELESS)  # no ticket


def test_a_variable_of_the_configuration_without_a_value_stays(nameless):
    raw = {"a": ("/tmp/${user.name}", "core-site.xml")}
    assert HadoopConf(raw, ("core-site.xml",), "")["a"] == "/tmp/${user.name}"


def test_the_home_folder_is_that_of_whom_it_acts_for(monkeypatch):
    monkeypatch.setenv("HADOOP_PROXY_USER", "alice")
    found = current_user(Login("tensorflow@LOCAL", None, None), with_kerberos=True)
    assert found == User("tensorflow@LOCAL", "alice")
    assert (found.home, found.short_name) == ("alice", "tensorflow")
    assert f"{found} {found!r}" == (
        "tensorflow@LOCAL acting for alice 'tensorflow@LOCAL acting for alice'"
    )


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch):
    monkeypatch.setenv("HADOOP_PROXY_USER", "")  # hdfs-native would act for ""
    assert current_user(Login("a@LOCAL", None, None), True) == User("a@LOCAL")
    assert "HADOOP_PROXY_USER" not in os.environ


def test_hdfs_does_not_act_for_another_without_kerberos(monkeypatch):
    monkeypatch.setenv("HADOOP_USER_NAME", "carol")
    monkeypatch.setenv("HADOOP_PROXY_USER", "alice")
    with pytest.raises(ConfigError) as caught:
        open_storage("hdfs://h:1/p")
    assert str(caught.value) == (
        "cannot act for 'alice' (HADOOP_PROXY_USER): hdfs:// does that with Kerberos "
        "only, and hadoop.security.authentication is not 'kerberos'; give the "
        "cluster's configuration with --hadoop_conf, or, if it trusts any name, set "
        "HADOOP_USER_NAME=alice and unset HADOOP_PROXY_USER"
    )


@pytest.fixture
def acting_for(secure_hdfs, need_web, monkeypatch):
    """Makes this process tensorflow, who acts for another user."""
    for name, value in secure_hdfs.environment("tensorflow").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("POETS_CA_FILE", str(secure_hdfs.ca_file))
    secure_hdfs.cluster.make_folder("/user/alice", "alice:alice")
    return lambda user: monkeypatch.setenv("HADOOP_PROXY_USER", user)


@pytest.mark.parametrize("interface", INTERFACES)
def test_files_belong_to_whom_it_acts_for(secure_hdfs, acting_for, interface):
    acting_for("alice")
    root = getattr(secure_hdfs, interface)
    assert open_storage(root)[1] == "/user/alice"
    filesystem, folder = open_storage(f"{root}/user/alice")
    name = uuid.uuid4().hex
    write_atomically(f"{root}/user/alice/{name}", b"graph")
    assert filesystem.handler.attributes(folder)[name].owner == "alice"
    for _ in range(2):  # the second by the token of the first
        assert filesystem.handler.read_bytes(f"{folder}/{name}") == b"graph"
    with pytest.raises(
        StorageError, match="we are 'tensorflow@LOCAL acting for alice'"
    ):
        write_atomically(f"{root}/tensorflow/{name}", b"graph")


@pytest.mark.parametrize("interface", INTERFACES)
def test_who_may_not_act_for_another_is_reported_both_names(
    secure_hdfs, acting_for, interface
):
    acting_for("bob")
    filesystem, path = open_storage(f"{getattr(secure_hdfs, interface)}/tensorflow")
    with pytest.raises(NotAuthenticatedError) as caught:
        filesystem.get_file_info(path)
    text = caught.value.strerror
    assert "does not let 'tensorflow@LOCAL' act for 'bob' (HADOOP_PROXY_USER); " in text
    assert "unset HADOOP_PROXY_USER, or have the cluster allow it by " in text
    assert "hadoop.proxyuser.tensorflow.hosts" in text
    assert "port" not in text
