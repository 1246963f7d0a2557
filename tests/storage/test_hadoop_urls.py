"""What URLs of HDFS mean by a configuration of Hadoop."""

import pytest

from poets.errors import StorageError
from poets.storage.hadoop.conf import load_conf
from poets.storage.hadoop.url import Location, locate
from tests.storage.hadoop_confs import bare_environment, made_conf

__all__ = ["bare_environment"]  # a fixture, for each test


@pytest.mark.parametrize(
    ("url", "default", "root", "path", "nodes"),
    [
        ("hdfs://h:1/p/q", None, "hdfs://h:1", "/p/q", ("h:1",)),
        ("hdfs://h/p", None, "hdfs://h:8020", "/p", ("h:8020",)),
        ("HDFS://h/p/", None, "hdfs://h:8020", "/p", ("h:8020",)),
        ("hdfs://h/", None, "hdfs://h:8020", "/", ("h:8020",)),
        ("hdfs://h//p//q/./r/..", None, "hdfs://h:8020", "/p/q", ("h:8020",)),
        ("hdfs://[::1]:1/p", None, "hdfs://[::1]:1", "/p", ("[::1]:1",)),
        ("hdfs:///p", "hdfs://d", "hdfs://d:8020", "/p", ("d:8020",)),
        ("hdfs://default/p", "hdfs://d:1/", "hdfs://d:1", "/p", ("d:1",)),
        ("hdfs://default", "hdfs://d:1", "hdfs://d:1", "/user/me", ("d:1",)),
        ("hdfs://h", None, "hdfs://h:8020", "/user/me", ("h:8020",)),
        ("hdfs:///p", "hdfs://Flowers", "hdfs://Flowers", "/p", ("a:9000", "b:8020")),
        (
            *("hdfs://Flowers/a#b?c;d%41 e", None, "hdfs://Flowers", "/a#b?c;d%41 e"),
            ("a:9000", "b:8020"),
        ),
        ("hdfs://single/p", None, "hdfs://c:9001", "/p", ("c:9001",)),
        ("viewfs://table/p", None, "viewfs://table", "/p", ()),
        ("viewfs:///p", "viewfs://table", "viewfs://table", "/p", ()),
        ("hdfs://default/p", "viewfs://table", "viewfs://table", "/p", ()),
    ],
)
def test_urls(url, default, root, path, nodes):
    assert locate(url, made_conf(default), "me") == Location(root, path, nodes)


def test_what_may_be_a_password_is_not_shown():
    with pytest.raises(StorageError) as caught:
        locate("hdfs://alice:secret@host/p", made_conf(None), "me")
    assert "a URL of 'host'" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "default", "found"),
    [
        ("hdfs:///p", None, "fs.defaultFS is not set .read hdfs-site.xml.; give the"),
        ("hdfs:///p", "s3a://bucket", "fs.defaultFS is 's3a://bucket' .*is not HDFS"),
        ("hdfs:///p", "hdfs://${host}", "'..host.' is not an address of a NameNode"),
        (
            "hdfs://h:port/p",
            None,
            "'h:port' is not an address of a NameNode; give host:",
        ),
        ("hdfs://h:99999/p", None, "'h:99999' is not an address"),
        ("hdfs://me@h/p", None, "a URL of 'h': it names a user before '@'"),
        ("viewfs://other/p", None, r"no fs.viewfs.mounttable.other.link\.\.\. is set"),
        ("viewfs:///p", "hdfs://h", r"no fs.viewfs.mounttable.default.link"),
        ("viewfs://bare/p", None, r"bare.linkFallback is not set"),
        ("hdfs://h/a\0b", None, "found a NUL"),
    ],
)
def test_urls_that_mean_nothing_are_reported(url, default, found):
    with pytest.raises(StorageError, match=f"cannot open .*{found}"):
        locate(url, made_conf(default), "me")


def test_without_a_configuration_it_is_reported_what_was_searched():
    with pytest.raises(StorageError) as caught:
        locate("hdfs:///p", load_conf(), "me")
    assert str(caught.value) == (
        "cannot open 'hdfs:///p': fs.defaultFS is not set (read no file: "
        "POETS_HADOOP_CONF, HDFS_CORE_SITE_URI, HADOOP_CONF_DIR and HADOOP_HOME are "
        "not set); give the cluster's configuration with --hadoop_conf, or write the "
        "NameNode's host and port into the URL"
    )


def test_a_namenode_without_an_address_is_reported():
    known = made_conf(**{"dfs.ha.namenodes.Roses": "x,y"})
    with pytest.raises(StorageError) as caught:
        locate("hdfs://Roses/p", known, "me")
    assert str(caught.value) == (
        "cannot open 'hdfs://Roses/p': dfs.namenode.rpc-address.Roses.x, "
        "dfs.namenode.rpc-address.Roses.y is not set, although hdfs-site.xml names "
        "these NameNodes; add it there"
    )
