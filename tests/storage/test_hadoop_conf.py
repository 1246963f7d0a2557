"""Hadoop's configuration, from folders and over HTTP, and what URLs mean by it."""

import re
import subprocess
from pathlib import Path

import pytest

from poets.errors import StorageError
from poets.storage.calls import deadline
from poets.storage.hadoop.client_conf import (
    client_conf,
    kerberos_is_on,
    modes,
    replication,
)
from poets.storage.hadoop.conf import HadoopConf, load_conf
from poets.storage.hadoop.url import Location, locate
from poets.storage.hadoop.user import system_user

VARIABLES = (
    *("POETS_HADOOP_CONF", "HDFS_CORE_SITE_URI", "HDFS_HDFS_SITE_URI"),
    *("HADOOP_CONF_DIR", "HADOOP_HOME", "POETS_STORAGE_TIMEOUT_S"),
)
EMPTY = "<configuration/>"


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def properties(more: str = "", **values: str) -> str:
    """Returns a configuration file; `_` in a name means a dot."""
    made = "".join(
        f"<property><name>{name.replace('_', '.')}</name><value>{value}</value>"
        "</property>"
        for name, value in values.items()
    )
    return f"<?xml version='1.0'?>\n<configuration>{made}{more}</configuration>\n"


@pytest.fixture
def conf_of(tmp_path, monkeypatch):
    """Loads a folder with these texts of core-site.xml and hdfs-site.xml."""
    count = iter(range(100))

    def load(core: str = EMPTY, hdfs: str = EMPTY, **others: str) -> HadoopConf:
        folder = tmp_path / f"conf{next(count)}"
        folder.mkdir()
        (folder / "core-site.xml").write_text(core, "utf-8")
        (folder / "hdfs-site.xml").write_text(hdfs, "utf-8")
        for name, text in others.items():
            (folder / f"{name}.xml").write_text(text, "utf-8")
        monkeypatch.setenv("POETS_HADOOP_CONF", str(folder))
        return load_conf()

    return load


# Where it comes from.


def write(folder: Path, name: str) -> None:
    folder.mkdir(parents=True)
    (folder / "core-site.xml").write_text(properties(fs_defaultFS=f"hdfs://{name}"))
    (folder / "hdfs-site.xml").write_text(EMPTY)


def test_the_first_source_that_is_set_wins(tmp_path, monkeypatch, web_server):
    write(tmp_path / "home" / "etc" / "hadoop", "home")
    write(tmp_path / "dir", "dir")
    write(tmp_path / "flag", "flag")
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
    write(tmp_path / "conf", "a")
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


# What URLs mean.


HA = {
    "dfs.nameservices": "Flowers",
    "dfs.ha.namenodes.Flowers": "nn1, nn2",
    "dfs.namenode.rpc-address.Flowers.nn1": "a:9000",
    "dfs.namenode.rpc-address.Flowers.nn2": "b",
    "dfs.namenode.rpc-address.single": "c:9001",
    "fs.viewfs.mounttable.table.linkFallback": "hdfs://c/",
    "fs.viewfs.mounttable.bare.link./a": "hdfs://c/",
}


def conf(default: str | None = None, **more: str) -> HadoopConf:
    values = HA | more | ({"fs.defaultFS": default} if default else {})
    raw = {key: (value, "hdfs-site.xml") for key, value in values.items()}
    return HadoopConf(raw, ("hdfs-site.xml",), "POETS_HADOOP_CONF")


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
    assert locate(url, conf(default), "me") == Location(root, path, nodes)


def test_what_may_be_a_password_is_not_shown():
    with pytest.raises(StorageError) as caught:
        locate("hdfs://alice:secret@host/p", conf(None), "me")
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
        locate(url, conf(default), "me")


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
    known = conf(**{"dfs.ha.namenodes.Roses": "x,y"})
    with pytest.raises(StorageError) as caught:
        locate("hdfs://Roses/p", known, "me")
    assert str(caught.value) == (
        "cannot open 'hdfs://Roses/p': dfs.namenode.rpc-address.Roses.x, "
        "dfs.namenode.rpc-address.Roses.y is not set, although hdfs-site.xml names "
        "these NameNodes; add it there"
    )


# What the client gets.


def test_the_client_gets_lists_without_blanks_and_addresses_with_ports():
    known = conf(**{"mapreduce.x": "1"})
    made = client_conf(known, locate("hdfs://Flowers/", known, "me"), with_login=False)
    assert made["dfs.ha.namenodes.Flowers"] == "nn1,nn2"
    assert made["dfs.namenode.rpc-address.Flowers.nn2"] == "b:8020"
    assert made["dfs.client.failover.max.attempts"] == "2"
    assert "mapreduce.x" not in made


@pytest.mark.parametrize(
    ("given", "with_login", "is_on"),
    [
        (None, False, False),
        (None, True, True),
        ("simple", True, False),
        ("Kerberos", False, True),
    ],
)
def test_kerberos_is_on_where_it_is_asked_for(given, with_login, is_on):
    known = conf(**({"hadoop.security.authentication": given} if given else {}))
    made = client_conf(known, Location("hdfs://h:1", "/", ("h:1",)), with_login)
    assert kerberos_is_on(made) == is_on


def test_replication_and_permissions_come_from_the_configuration():
    assert (replication(conf()), modes(conf())) == (None, (0o644, 0o755))
    known = conf(**{"dfs.replication": "2", "fs.permissions.umask-mode": "077"})
    assert (replication(known), modes(known)) == (2, (0o600, 0o700))


@pytest.mark.parametrize(
    ("act", "key", "value", "kind"),
    [
        (replication, "dfs.replication", "0", "a whole number, 1 or more"),
        (replication, "dfs.replication", "three", "a whole number, 1 or more"),
        (
            modes,
            "fs.permissions.umask-mode",
            "22",
            "three octal digits such as 022, or",
        ),
    ],
)
def test_numbers_that_are_none_are_reported(act, key, value, kind):
    with pytest.raises(StorageError) as caught:
        act(conf(**{key: value}))
    assert f"{key} is {value!r} in hdfs-site.xml; give {kind}" in str(caught.value)


UMASKS = {  # as Hadoop understands them; None: it refuses
    **{"022": 0o022, "0022": 0o022, "00027": 0o027, "  077 ": 0o077, "000": 0},
    **{"22": None, "1022": None, "888": None, "+022": None, "-022": None, "0o22": None},
    **{"": None, "u": None, "rwx": None, "0 22": None, "022,": None, "\u0660": None},
    **{"u=rwx,g=rx,o=": 0o027, "a=rx": 0o222, "+rx": 0o222, "ug=rw,o-": 0o117},
    **{"a=rwx": 0, "uga=r": 0o337, "u=rwx,go=rx": 0o022, "u==rwx,go+-+rx": 0o022},
    **{"g-w": 0o777, "=": 0o777, "o+r": 0o773, "u=rwx": 0o077, "u=r,u+w": 0o577},
    **{" u=rwx, g=rx ,o= ": 0o027, "u=rwx,": 0o077, "u=rwx, ,g=rx": 0o027},
    **{"u=rwx g=rx": None, ",u=rwx": None, "u=rwx;g=rx": None, "x=rwx": None},
    **{"u=rwxt": None, "u=rwX": None, "+t": None, "u=rwx,g": None, "u=rwx,022": None},
}


@pytest.mark.parametrize(("text", "umask"), UMASKS.items())
def test_the_umask_is_what_hadoop_takes(text, umask):
    known = conf(**{"fs.permissions.umask-mode": text})
    if umask is not None:
        assert modes(known) == (0o666 & ~umask, 0o777 & ~umask)
        return
    with pytest.raises(
        StorageError, match=re.escape(f"umask-mode is {text.strip()!r}")
    ):
        modes(known)


def test_hadoop_itself_takes_these_umasks(hadoop, tmp_path):
    (tmp_path / "Umasks.java").write_text(UMASKS_IN_JAVA)
    command = ["java", "-cp", hadoop, str(tmp_path / "Umasks.java"), *UMASKS]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120)
    expected = ["none" if mask is None else f"{mask:o}" for mask in UMASKS.values()]
    assert done.stdout.split() == expected


UMASKS_IN_JAVA = """
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.permission.FsPermission;

public class Umasks {
  public static void main(String[] texts) {
    for (String text : texts) {
      Configuration conf = new Configuration(false);
      conf.set("dfs.umaskmode", text);  // sets fs.permissions.umask-mode
      try {
        System.out.println(Integer.toOctalString(FsPermission.getUMask(conf).toShort()));
      } catch (IllegalArgumentException refused) {
        System.out.println("none");
      }
    }
  }
}
"""


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
