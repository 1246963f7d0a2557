"""What the HDFS client gets of a configuration of Hadoop."""

import re
import subprocess

import pytest

from poets.errors import StorageError
from poets.storage.hadoop.client_conf import (
    client_conf,
    kerberos_is_on,
    modes,
    replication,
)
from poets.storage.hadoop.url import Location, locate
from tests.storage.hadoop_confs import made_conf


def test_the_client_gets_lists_without_blanks_and_addresses_with_ports():
    known = made_conf(**{"mapreduce.x": "1"})
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
    known = made_conf(**({"hadoop.security.authentication": given} if given else {}))
    made = client_conf(known, Location("hdfs://h:1", "/", ("h:1",)), with_login)
    assert kerberos_is_on(made) == is_on


def test_replication_and_permissions_come_from_the_configuration():
    assert (replication(made_conf()), modes(made_conf())) == (None, (0o644, 0o755))
    known = made_conf(**{"dfs.replication": "2", "fs.permissions.umask-mode": "077"})
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
        act(made_conf(**{key: value}))
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
    known = made_conf(**{"fs.permissions.umask-mode": text})
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
