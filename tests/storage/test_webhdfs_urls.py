"""Addresses of web interfaces: what URLs of WebHDFS and configurations name."""

import pytest

from poets.errors import StorageError
from poets.storage import open_storage
from tests.storage.hadoop_confs import bare_environment, web_client
from tests.storage.played_webhdfs import (
    configure,
    configure_service,
    named_user,
)

__all__ = ["bare_environment", "named_user", "web_client"]  # fixtures, for each test


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("webhdfs://nn/p", ["http://nn:9870"]),
        ("swebhdfs://nn/p", ["https://nn:9871"]),
        ("WEBHDFS://nn:14000/p", ["http://nn:14000"]),
        ("webhdfs://[::1]:9870/p", ["http://[::1]:9870"]),
        ("webhdfs://Flowers/p", ["http://a:50070", "http://b:9870"]),
        ("webhdfs://default/p", ["http://a:50070", "http://b:9870"]),
        ("webhdfs:///p", ["http://a:50070", "http://b:9870"]),
    ],
)
def test_urls_name_addresses(url, addresses, tmp_path, monkeypatch):
    configure_service(tmp_path, monkeypatch, "Flowers", {"1": "a:50070", "2": "b"})
    filesystem, path = open_storage(url)
    assert filesystem.handler.backend.client.urls == addresses
    assert path == "/p"


@pytest.mark.parametrize(
    ("values", "addresses"),
    [
        ({}, ["http://nn:9870"]),
        ({"dfs.namenode.http-address": "web:50070"}, ["http://web:50070"]),
        ({"dfs.namenode.http-address": "0.0.0.0:50070"}, ["http://nn:50070"]),
    ],
)
def test_the_default_cluster_has_its_web_address(
    values, addresses, tmp_path, monkeypatch
):
    configure(tmp_path, monkeypatch, {"fs.defaultFS": "hdfs://nn:8020", **values})
    filesystem, _ = open_storage("webhdfs://default/p")
    assert filesystem.handler.backend.client.urls == addresses


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("webhdfs://default/p", "fs.defaultFS is not set"),
        ("webhdfs://alice:secret@nn:9870/p", "is not a host"),
        ("webhdfs://nn:port/p", "is not a host"),
    ],
)
def test_urls_that_name_no_cluster_are_reported(url, text):
    with pytest.raises(StorageError, match=text):
        open_storage(url)


def test_a_name_service_without_web_addresses_is_reported(tmp_path, monkeypatch):
    configure(
        tmp_path,
        monkeypatch,
        {
            "dfs.ha.namenodes.flowers": "1",
            "dfs.namenode.rpc-address.flowers.1": "nn:8020",
        },
    )
    with pytest.raises(
        StorageError, match="dfs.namenode.http-address.flowers.1 is not set, although"
    ):
        open_storage("webhdfs://flowers/p")


def test_a_ca_file_that_is_missing_is_reported(monkeypatch):
    monkeypatch.setenv("POETS_CA_FILE", "/nowhere/ca.pem")
    with pytest.raises(StorageError, match="no file '/nowhere/ca.pem'; correct POETS_"):
        open_storage("swebhdfs://nn/p")
