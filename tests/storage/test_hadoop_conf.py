"""Hadoop's configuration, from folders and over HTTP, and how it is read."""

from pathlib import Path

import pytest

from poets.errors import StorageError
from poets.storage.calls import deadline
from poets.storage.hadoop.client_conf import modes
from poets.storage.hadoop.conf import HadoopConf, load_conf
from poets.storage.hadoop.user import system_user
from tests.storage.hadoop_confs import (
    EMPTY,
    bare_environment,
    properties,
    write_conf,
)

__all__ = ["bare_environment"]  # a fixture, for each test


@pytest.fixture
def conf_of(tmp_path, monkeypatch):
    """Loads a folder with these texts of core-site.xml and hdfs-site.xml."""
    count = iter(range(100))

    def load(core: str = EMPTY, hdfs: str = EMPTY, **others: str) -> HadoopConf:
        folder = tmp_path / f"conf{next(count)}"
        write_conf(folder, core, hdfs)
        for name, text in others.items():
            (folder / f"{name}.xml").write_text(text, "utf-8")
        monkeypatch.setenv("POETS_HADOOP_CONF", str(folder))
        return load_conf()

    return load


# Where it comes from.


def test_the_first_source_that_is_set_wins(tmp_path, monkeypatch, web_server):
    write_conf(
        tmp_path / "home" / "etc" / "hadoop", properties(fs_defaultFS="hdfs://home")
    )
    write_conf(tmp_path / "dir", properties(fs_defaultFS="hdfs://dir"))
    write_conf(tmp_path / "flag", properties(fs_defaultFS="hdfs://flag"))
    web_server.files["/core.xml"] = properties(fs_defaultFS="hdfs://uri").encode()
    web_server.files["/hdfs.xml"] = EMPTY.encode()
    assert dict(load_conf()) == {}
    assert load_conf().sources == ()
    for variables, name in (
        ({"HADOOP_HOME": str(tmp_path / "home")}, "home"),
        ({"HADOOP_CONF_DIR": f"{tmp_path}/dir/"}, "dir"),
        (
            {
                "HDFS_CORE_SITE_URI": web_server.url("/core.xml"),
                "HDFS_HDFS_SITE_URI": web_server.url("/hdfs.xml"),
            },
            "uri",
        ),
        ({"POETS_HADOOP_CONF": str(tmp_path / "flag")}, "flag"),
    ):
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        assert load_conf()["fs.defaultFS"] == f"hdfs://{name}"
    assert load_conf() is load_conf()
    flag = tmp_path / "flag"
    assert load_conf().sources == (f"{flag}/core-site.xml", f"{flag}/hdfs-site.xml")
    assert load_conf().source_of("fs.defaultFS") == f"{flag}/core-site.xml"


@pytest.mark.parametrize("variable", ["POETS_HADOOP_CONF", "HADOOP_CONF_DIR"])
def test_a_file_that_the_source_lacks_is_reported(tmp_path, monkeypatch, variable):
    write_conf(tmp_path / "conf", properties(fs_defaultFS="hdfs://a"))
    (tmp_path / "conf" / "hdfs-site.xml").unlink()
    monkeypatch.setenv(variable, str(tmp_path / "conf"))
    with pytest.raises(StorageError) as caught:
        load_conf()
    assert str(caught.value) == (
        f"cannot read '{tmp_path}/conf/hdfs-site.xml': no such file or directory; "
        f"{variable} names it; check whether that is right"
    )


def test_one_uri_of_two_is_reported(monkeypatch):
    monkeypatch.setenv("HDFS_CORE_SITE_URI", "http://there/core-site.xml")
    with pytest.raises(StorageError, match="HDFS_HDFS_SITE_URI is not set, but"):
        load_conf()


# Over HTTP.


def test_a_folder_of_a_web_server_is_read(monkeypatch, web_server):
    web_server.files["/v1/endpoints/core-site.xml"] = properties(a="1").encode()
    web_server.files["/v1/endpoints/hdfs-site.xml"] = properties(b="2").encode()
    monkeypatch.setenv("POETS_HADOOP_CONF", web_server.url("/v1/endpoints"))
    web_server.statuses = [503]  # once: it is tried again
    assert dict(load_conf()) == {"a": "1", "b": "2"}
    assert load_conf().source_of("b") == web_server.url("/v1/endpoints/hdfs-site.xml")


@pytest.mark.parametrize(
    ("status", "content", "found"),
    [
        (404, b"", "the server answered 404 Not Found; POETS_HADOOP_CONF names it"),
        (403, b"", "the server answered 403 Forbidden; "),
        (200, b"<html><body>Log in</body></html>", "found <html> where a Hadoop "),
        (200, b"Log in", "it is not an XML file .* begins with 'Log in'"),
    ],
)
def test_what_a_web_server_has_not_is_reported(
    monkeypatch, web_server, status, content, found
):
    if status == 200:
        web_server.files["/core-site.xml"] = content
    else:
        web_server.statuses = [status]
    monkeypatch.setenv("POETS_HADOOP_CONF", web_server.url())
    with pytest.raises(StorageError, match=f"/core-site.xml': {found}"):
        load_conf()


def test_a_web_server_that_is_down_is_reported(monkeypatch, closed_port):
    url = f"http://me:secret@127.0.0.1:{closed_port}"
    monkeypatch.setenv("POETS_HADOOP_CONF", url)
    with (
        deadline(0.5),
        pytest.raises(StorageError, match="connection refused .tried") as caught,
    ):
        load_conf()
    assert "secret" not in str(caught.value)


# How it is read.


def test_later_files_win_but_not_over_what_is_final(conf_of):
    final = (
        "<property><name>b</name><value>core</value><final> true </final></property>"
    )
    conf = conf_of(
        properties(final, a="core", c="core"), properties(a="hdfs", b="hdfs")
    )
    assert dict(conf) == {"a": "hdfs", "b": "core", "c": "core"}
    assert [Path(conf.source_of(key)).name for key in "abc"] == [
        "hdfs-site.xml",
        "core-site.xml",
        "core-site.xml",
    ]


def test_values_are_trimmed_and_properties_without_one_describe(conf_of):
    more = (
        "<property name='d' value=' 4 '/><property><name>e</name></property>"
        "<property><name>f</name><value/></property>"
        "<!-- <property><name>g</name><value>7</value></property> -->"
    )
    conf = conf_of(properties(more, a="\n  1 2\t"))
    assert dict(conf) == {"a": "1 2", "d": "4", "f": ""}


def test_variables_are_replaced(conf_of, monkeypatch):
    monkeypatch.setenv("POETS_TEST_PORT", "8021")
    monkeypatch.delenv("POETS_TEST_NOTHING", raising=False)
    conf = conf_of(
        properties(
            a="${b}/${c}",
            b="b${c}",
            c="c",
            d="${b${e}}",
            e="",
            f="${env.POETS_TEST_PORT}",
            g="${env.POETS_TEST_NOTHING:-x}${env.POETS_TEST_NOTHING-y}",
            h="${nothing} ${c}",
            i="${user.name}",
            j="$c $ {c} ${}",
        )
    )
    assert conf["a"] == "bc/c"
    assert conf["d"] == "bc"
    assert conf["f"] == "8021"
    assert conf["g"] == "xy"
    assert conf["h"] == "${nothing} c"
    assert conf["i"] == (system_user() or "${user.name}")
    assert conf["j"] == "$c $ {c} ${}"


def test_variables_are_replaced_twenty_deep_and_no_deeper(conf_of):
    def chain(length: int) -> dict[str, str]:
        return {f"k{i}": f"${{k{i + 1}}}" for i in range(length)} | {f"k{length}": "x"}

    assert conf_of(properties(**chain(19)))["k0"] == "x"
    conf = conf_of(properties(**chain(25), b="${b}!"))
    for key in ("k0", "b"):
        with pytest.raises(StorageError, match=f"value of '{key}' has variables more"):
            conf[key]


INCLUDE = (
    "<xi:include xmlns:xi='http://www.w3.org/2001/XInclude' href='{}'>{}</xi:include>"
)


def test_files_are_included(conf_of, tmp_path):
    conf = conf_of(
        properties(INCLUDE.format("other.xml", ""), a="1"),
        other=properties(INCLUDE.format("more.xml", ""), b="2"),
        more=properties(c="3"),
    )
    assert dict(conf) == {"a": "1", "b": "2", "c": "3"}
    assert [Path(source).stem for source in conf.sources] == [
        *("core-site", "other", "more", "hdfs-site"),
    ]


def test_files_are_included_over_http(monkeypatch, web_server):
    text = properties(INCLUDE.format("../other.xml", ""))
    web_server.files = {
        "/conf/core-site.xml": text.encode(),
        "/conf/hdfs-site.xml": EMPTY.encode(),
        "/other.xml": properties(a="1").encode(),
    }
    monkeypatch.setenv("POETS_HADOOP_CONF", web_server.url("/conf/"))
    assert dict(load_conf()) == {"a": "1"}


def test_a_missing_include_is_reported_unless_it_has_a_fallback(conf_of):
    with pytest.raises(StorageError, match="none.xml': no such file"):
        conf_of(properties(INCLUDE.format("none.xml", "")))
    fallback = (
        "<xi:fallback><property><name>a</name><value>1</value></property></xi:fallback>"
    )
    assert dict(conf_of(properties(INCLUDE.format("none.xml", fallback)))) == {"a": "1"}


def test_a_file_that_includes_itself_is_reported(conf_of):
    with pytest.raises(StorageError, match=r"includes 'core-site\.xml', itself"):
        conf_of(
            properties(INCLUDE.format("other.xml", "")),
            other=properties(INCLUDE.format("core-site.xml", "")),
        )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "it is not an XML file .no element found"),
        ("<configuration>", "it is not an XML file"),
        ("<config/>", "found <config> where a Hadoop configuration has"),
        (
            "<!DOCTYPE a [<!ENTITY b 'c'>]><configuration>&b;</configuration>",
            "a document type, which is not allowed",
        ),
        (
            properties("<property><value>1</value></property>"),
            "found a <property> without a <name>",
        ),
    ],
)
def test_what_is_no_configuration_is_reported(conf_of, text, found):
    with pytest.raises(StorageError, match=f"core-site.xml': {found}|{found}"):
        conf_of(text)


def test_an_old_name_of_a_key_sets_the_new_one(conf_of):
    found = conf_of(
        properties(fs_default_name="hdfs://old", fs_defaultFS="hdfs://new"),
        properties(dfs_umaskmode="u=rwx,g=rx,o=", of_the_name="${fs.default.name}"),
    )
    assert found["fs.defaultFS"] == found["of.the.name"] == "hdfs://new"
    assert modes(found) == (0o640, 0o750)
    assert found.source_of("fs.permissions.umask-mode").endswith("hdfs-site.xml")
    last = conf_of(properties(fs_defaultFS="hdfs://a", fs_default_name="hdfs://b"))
    assert last["fs.defaultFS"] == "hdfs://b"
