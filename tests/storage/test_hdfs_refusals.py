"""HDFS refuses a client: permissions, Kerberos, quotas; who we are and what to do."""

import errno

import pytest

from poets.errors import NotAuthenticatedError, StorageError
from poets.storage import join, open_storage, read_bytes, read_url
from poets.storage.publish import check_writable, write_atomically
from tests.storage.hadoop_confs import bare_environment
from tests.storage.hdfs_users import administer, as_user, become, folder_url, path_of

__all__ = ["as_user", "bare_environment", "become", "folder_url"]  # fixtures


def test_a_forbidden_folder_is_reported_with_its_owner(folder_url, as_user):
    write_atomically(join(folder_url, "graph"), b"x")
    as_user("alice")
    assert read_url(join(folder_url, "graph")) == b"x"
    with pytest.raises(StorageError) as caught:
        check_writable(folder_url)
    assert isinstance(caught.value.__cause__, PermissionError)
    path = path_of(folder_url)
    assert (
        f"'alice' may not write in {path!r}, which belongs to tensorflow:tensorflow "
        "with drwxr-xr-x; ask its owner, or name another folder "
        "(we are 'alice@LOCAL')"
    ) in str(caught.value)


def test_a_client_that_does_not_authenticate_is_reported_at_once(
    secure_hdfs, monkeypatch
):
    with pytest.raises(NotAuthenticatedError) as caught:
        read_bytes(*open_storage(f"{secure_hdfs.url}/tensorflow/graph"))
    assert "hadoop.security.authentication is not 'kerberos'" in str(caught.value)
    assert "--hadoop_conf" in str(caught.value)


def test_a_principal_without_a_rule_is_reported_at_once(as_user):
    as_user("nobody_knows")
    with pytest.raises(NotAuthenticatedError) as caught:
        read_bytes(*open_storage("hdfs://default/tensorflow/graph"))
    assert "'nobody_knows@LOCAL' (hadoop.security.auth_to_local)" in str(caught.value)


def test_a_client_without_a_ticket_is_reported_at_once(as_user, monkeypatch, tmp_path):
    as_user("tensorflow")
    monkeypatch.delenv("KRB5_CLIENT_KTNAME")
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path}/none")
    with pytest.raises(NotAuthenticatedError) as caught:
        read_bytes(*open_storage("hdfs://default/tensorflow/graph"))
    assert "no ticket for 'tensorflow@LOCAL': No credentials cache" in str(caught.value)


def test_a_keytab_that_is_older_than_the_key_is_reported(
    as_user, monkeypatch, kdc, tmp_path
):
    as_user("stale")
    stale = tmp_path / "stale.keytab"
    stale.write_bytes(kdc.user("stale").read_bytes())
    kdc.kadmin("cpw", "-randkey", "stale@LOCAL")
    monkeypatch.setenv("KRB5_CLIENT_KTNAME", str(stale))
    with pytest.raises(NotAuthenticatedError, match="export the keytab again"):
        read_bytes(*open_storage("hdfs://default/tensorflow/graph"))


def test_a_quota_is_reported(secure_hdfs, folder_url):
    path = path_of(folder_url)
    administer(secure_hdfs, "-setQuota", "1", path)
    with pytest.raises(StorageError, match="quota .*of directory .*exceeded") as got:
        write_atomically(join(folder_url, "graph"), b"x")
    assert got.value.__cause__.errno == errno.EDQUOT
