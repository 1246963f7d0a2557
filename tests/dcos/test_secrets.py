"""Keytabs as secrets: found by name, private in the sandbox, gone afterwards."""

import json

import pytest

from poets.dcos.options import read_options
from poets.dcos.secrets import keytab_of, placed
from poets.errors import ConfigError

KEYTAB = b"\5\2keys"
NAME = "__dcos_base64__hdfs_keytab"


@pytest.fixture(autouse=True)
def _no_kerberos_here(monkeypatch):
    for name in ("KRB5_CLIENT_KTNAME", "KRB5CCNAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def options(tmp_path):
    def make(enabled=True, name=NAME):
        kerberos = {"enabled": enabled, "keytab_secret": name}
        path = tmp_path / "options.json"
        path.write_text(json.dumps({"service": {"security": {"kerberos": kerberos}}}))
        return read_options(str(path), [], [])

    return make


@pytest.fixture
def secrets(tmp_path):
    folder = tmp_path / "secrets"
    (folder / "hdfs").mkdir(parents=True)
    (folder / NAME).write_bytes(KEYTAB)
    (folder / "hdfs" / "keytab").write_bytes(KEYTAB)
    (folder / "text").write_text("BQI=")
    (tmp_path / "outside").write_bytes(KEYTAB)
    return folder


@pytest.mark.parametrize("name", [NAME, "hdfs/keytab"])
def test_a_secret_is_the_file_of_its_name(options, secrets, name):
    assert keytab_of(options(name=name), str(secrets)) == KEYTAB


def test_without_kerberos_no_secret_is_needed(options):
    assert keytab_of(options(enabled=False), None) is None


@pytest.mark.parametrize("variable", ["KRB5_CLIENT_KTNAME", "KRB5CCNAME"])
def test_who_has_credentials_already_needs_no_secret(options, monkeypatch, variable):
    monkeypatch.setenv(variable, "FILE:/somewhere")
    assert keytab_of(options(), None) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (NAME[:-1], "No such file or directory in --secrets .* which holds '__dcos"),
        ("../outside", "its name leads out of --secrets"),
        ("hdfs", "Is a directory in --secrets"),
        ("text", "is not a keytab; store the file that kadmin's ktadd wrote, not enc"),
    ],
)
def test_a_wrong_secret_is_reported(options, secrets, name, text):
    with pytest.raises(ConfigError, match=text) as caught:
        keytab_of(options(name=name), str(secrets))
    assert repr(name) in str(caught.value)
    assert "keys" not in str(caught.value)


def test_without_a_folder_of_secrets_it_is_asked_for(options):
    with pytest.raises(ConfigError, match="give the folder that holds it with --sec"):
        keytab_of(options(), None)


def test_a_keytab_is_private_and_gone_afterwards(tmp_path):
    sandboxes = [tmp_path / name for name in ("worker-0", "worker-1")]
    for sandbox in sandboxes:
        sandbox.mkdir()
    planted = sandboxes[0] / "kerberos.keytab"
    planted.symlink_to(tmp_path / "elsewhere")

    def interrupted():
        with placed(KEYTAB, sandboxes):
            for sandbox in sandboxes:
                path = sandbox / "kerberos.keytab"
                assert path.read_bytes() == KEYTAB
                assert path.stat().st_mode & 0o777 == 0o600
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [list(sandbox.iterdir()) for sandbox in sandboxes] == [[], []]
    assert not (tmp_path / "elsewhere").exists()


def test_without_a_keytab_nothing_is_placed(tmp_path):
    with placed(None, [tmp_path]):
        assert list(tmp_path.iterdir()) == []
