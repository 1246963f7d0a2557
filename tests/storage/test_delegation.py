"""Which delegation token a URL gets, and what it is called for hdfs-native."""

import logging

import pytest

from poets.errors import ConfigError, NotAuthenticatedError
from poets.kerberos import login
from poets.kerberos.tokens import RPC_KIND, TOKEN_FILE, WEB_KINDS
from poets.storage.hadoop.conf import HadoopConf
from poets.storage.hadoop.tokens import addressed, rpc_token, web_token, why_none
from poets.storage.hadoop.url import locate, web_addresses
from tests.tokens import made_up, write_tokens

HA = {
    "fs.defaultFS": "hdfs://ns",
    "dfs.ha.namenodes.ns": "a, b",
    "dfs.namenode.rpc-address.ns.a": "127.0.0.1:8020",
    "dfs.namenode.rpc-address.ns.b": "127.0.0.2:8020",
    "dfs.namenode.http-address.ns.a": "127.0.0.1:9870",
    "dfs.namenode.http-address.ns.b": "127.0.0.2:9870",
}
ONE = {
    "fs.defaultFS": "hdfs://localhost:8020",
    "dfs.namenode.http-address": "localhost:9870",
}
MOUNTS = {
    "fs.viewfs.mounttable.m.linkFallback": "hdfs://localhost:8020/",
    "fs.viewfs.mounttable.m.link./a": "hdfs://LOCALHOST:9000/a",
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    """Nobody's Kerberos but that of the test."""
    for name in login.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    yield
    login.close()


@pytest.fixture
def given(tmp_path, monkeypatch):
    """Hands tokens for these services, or made before, to the job."""

    def give(*tokens) -> str:
        made = [made_up(each) if isinstance(each, str) else each for each in tokens]
        path = write_tokens(tmp_path / "tokens", *made)
        monkeypatch.setenv(TOKEN_FILE, path)
        return path

    return give


def conf(values: dict[str, str]) -> HadoopConf:
    return HadoopConf({key: (value, "x.xml") for key, value in values.items()}, (), "x")


@pytest.mark.parametrize(
    ("url", "service", "values", "root"),
    [
        ("hdfs://localhost:8020/", "localhost:8020", {}, None),
        ("hdfs://localhost/", "127.0.0.1:8020", {}, "hdfs://127.0.0.1:8020"),
        ("hdfs://127.0.0.1:8020/", "localhost:8020", {}, "hdfs://localhost:8020"),
        ("hdfs://LocalHost:8020/", "localhost:8020", {}, "hdfs://localhost:8020"),
        ("hdfs:///", "127.0.0.1:8020", ONE, "hdfs://127.0.0.1:8020"),
        ("hdfs://default", "127.0.0.1:8020", ONE, "hdfs://127.0.0.1:8020"),
        ("hdfs://ns/", "ha-hdfs:ns", HA, "hdfs://ns"),
        ("hdfs://default/", "ha-hdfs:ns", HA, "hdfs://ns"),
        ("hdfs://localhost:8020/", "ha-hdfs:ns", HA, "hdfs://ns"),
        ("hdfs://ns/", "localhost:8020", HA, "hdfs://localhost:8020"),
    ],
)
def test_a_token_is_found_by_name_and_address(given, url, service, values, root):
    given("127.0.0.9:1", service)
    token = rpc_token(url, conf(values))
    assert (token.kind, token.service) == (RPC_KIND, service)
    location = locate(url, conf(values), "alice")
    assert addressed(location, conf(values)) == (root or location.root, {})


@pytest.mark.parametrize(
    ("url", "service", "values"),
    [
        ("hdfs://localhost:8020/", "localhost:8021", {}),
        ("hdfs://localhost:8020/", "127.0.0.2:8020", {}),
        ("hdfs://localhost:8020/", "no-such-host.invalid:8020", {}),
        ("hdfs://localhost:8020/", "ha-hdfs:ns", {}),
        ("hdfs://localhost:8020/", "", {}),
        ("hdfs://ns/", "ha-hdfs:NS", HA),
        ("hdfs://localhost:8020/", made_up("localhost:8020", "kms-dt"), {}),
        ("hdfs://localhost:8020/", made_up("localhost:8020", WEB_KINDS[0]), {}),
    ],
)
def test_a_token_for_another_service_is_not_taken(given, url, service, values):
    path = given(service)
    assert rpc_token(url, conf(values)) is None
    why = why_none(url, conf(values))
    assert why.startswith(f"{path!r} ({TOKEN_FILE}) has no token for ")
    location = locate(url, conf(values), "alice")
    assert addressed(location, conf(values)) == (location.root, {})


@pytest.mark.parametrize(
    ("url", "token", "values"),
    [
        ("webhdfs://localhost/", made_up("127.0.0.1:9870", WEB_KINDS[0]), {}),
        ("swebhdfs://127.0.0.1/", made_up("localhost:9871", WEB_KINDS[1]), {}),
        ("webhdfs://localhost:14000/", made_up("127.0.0.1:14000", WEB_KINDS[0]), {}),
        ("webhdfs://default/", made_up("127.0.0.1:9870", WEB_KINDS[0]), ONE),
        ("webhdfs://ns/", made_up("ha-webhdfs:ns", WEB_KINDS[0]), HA),
        ("webhdfs://default/", made_up("127.0.0.1:8020"), ONE),
        ("webhdfs://127.0.0.1:9870/", made_up("127.0.0.1:8020"), ONE),
        ("webhdfs://ns/", made_up("ha-hdfs:ns"), HA),
    ],
)
def test_the_web_takes_its_tokens_and_those_of_rpc(given, url, token, values):
    given(made_up("127.0.0.9:1"), token)
    assert web_token(web_addresses(url, conf(values)), url, conf(values)) == token


def test_httpfs_takes_no_token_of_the_name_node(given):
    given("127.0.0.1:8020")
    url = "webhdfs://localhost:14000/"
    assert web_token(web_addresses(url, conf(ONE)), url, conf(ONE)) is None


def test_links_of_a_mount_table_get_the_names_of_their_tokens(given):
    given("127.0.0.1:9000")
    token = rpc_token("viewfs://m/a", conf(MOUNTS))
    assert token.service == "127.0.0.1:9000"
    location = locate("viewfs://m/a", conf(MOUNTS), "alice")
    assert addressed(location, conf(MOUNTS)) == (
        "viewfs://m",
        {
            "fs.viewfs.mounttable.m.linkFallback": "hdfs://localhost:8020/",
            "fs.viewfs.mounttable.m.link./a": "hdfs://127.0.0.1:9000/a",
        },
    )


def test_of_two_tokens_the_one_that_lasts_is_taken(given):
    services = ("localhost:8020", "127.0.0.1:8020")
    last = made_up(services[0], ends_in_s=900)
    given(made_up(services[0], ends_in_s=-5), last, made_up(services[1], ends_in_s=700))
    assert rpc_token("hdfs://localhost:8020/", conf({})) == last


def test_an_ended_token_is_reported_with_its_owner_and_end(given):
    path = given(made_up("127.0.0.1:8020", ends_in_s=-3600))
    with pytest.raises(NotAuthenticatedError) as caught:
        rpc_token("hdfs://localhost:8020/", conf({}))
    text = caught.value.strerror
    assert text.startswith(
        f"the token of alice@LOCAL for 127.0.0.1:8020 in {path!r} ({TOKEN_FILE}) "
        "expired at 20"
    )
    assert text.endswith(
        "; get a new one (hdfs fetchdt), or give a keytab (--kerberos_principal, "
        "--kerberos_keytab)"
    )


def test_a_principal_that_is_given_goes_before_a_token(tmp_path, monkeypatch):
    monkeypatch.setenv(TOKEN_FILE, str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="cannot read delegation tokens from"):
        rpc_token("hdfs://localhost:8020/", conf({}))
    monkeypatch.setenv("POETS_KERBEROS_PRINCIPAL", "bob@LOCAL")
    assert rpc_token("hdfs://localhost:8020/", conf({})) is None
    assert why_none("hdfs://localhost:8020/", conf({})) == ""


def test_a_ticket_cache_does_not_go_before_a_token(given, monkeypatch):
    given("localhost:8020")
    monkeypatch.setenv("KRB5CCNAME", "FILE:/no/cache")
    assert rpc_token("hdfs://localhost:8020/", conf({})) is not None


@pytest.mark.parametrize("enabled", ["true", "false"])
def test_a_task_without_a_keytab_takes_the_tokens(
    given, monkeypatch, tmp_path, enabled
):
    given("localhost:8020")
    monkeypatch.setenv("SECURITY_KERBEROS_ENABLED", enabled)
    monkeypatch.setenv("SECURITY_KERBEROS_REALM", "LOCAL")
    monkeypatch.setenv("KRB5_CONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("KRB5CCNAME", "")
    monkeypatch.setenv("MESOS_SANDBOX", str(tmp_path))
    assert rpc_token("hdfs://localhost:8020/", conf({})).owner == "alice@LOCAL"


def test_a_cluster_without_kerberos_takes_no_token(given):
    given("localhost:8020")
    values = {"hadoop.security.authentication": "simple"}
    assert rpc_token("hdfs://localhost:8020/", conf(values)) is None


def test_a_file_that_others_may_read_is_warned_about(given, tmp_path, caplog):
    path = given("localhost:8020")
    (tmp_path / "tokens").chmod(0o644)
    with caplog.at_level(logging.WARNING):
        rpc_token("hdfs://localhost:8020/", conf({}))
        rpc_token("hdfs://localhost:8020/", conf({}))
    assert caplog.messages == [
        f"delegation tokens in {path} are open to others (mode 0644), who could act as "
        "their owner; chmod 600 it"
    ]
