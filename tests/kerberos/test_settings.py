"""What the environment says: flags, a DC/OS task's variables, MIT's own."""

import base64
import re

import pytest

from poets.errors import ConfigError
from poets.kerberos.keytab import KeytabError
from poets.kerberos.krb5_conf import krb5_conf_text
from poets.kerberos.settings import Settings, read_settings


@pytest.fixture
def task(kdc, environment, tmp_path):
    """The variables of a DC/OS task whose sandbox has no keytab yet."""
    environment.setenv("KRB5CCNAME", "")
    host, port = kdc.address.split(":")
    return {
        "SECURITY_KERBEROS_ENABLED": "true",
        "SECURITY_KERBEROS_PRIMARY": "tensorflow",
        "SECURITY_KERBEROS_REALM": "LOCAL",
        "SECURITY_KERBEROS_KDC_HOSTNAME": host,
        "SECURITY_KERBEROS_KDC_PORT": port,
        "MESOS_SANDBOX": str(tmp_path),
    }


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"KRB5_CONFIG": "/etc/krb5.conf"},
        {"KRB5CCNAME": "", "KRB5_CLIENT_KTNAME": "", "POETS_KERBEROS_PRINCIPAL": ""},
        {"SECURITY_KERBEROS_ENABLED": "false", "SECURITY_KERBEROS_REALM": "LOCAL"},
        {"SECURITY_KERBEROS_PRIMARY": "tensorflow", "MESOS_SANDBOX": "/"},
    ],
)
def test_nobody_asks_for_kerberos(environment):
    assert read_settings(environment) is None


def test_principal_and_keytab_of_the_flags(keytab):
    given = {
        "POETS_KERBEROS_PRINCIPAL": "alice@LOCAL",
        "KRB5_CLIENT_KTNAME": f"FILE:{keytab}",
        "KRB5CCNAME": "FILE:/somewhere",
    }
    assert read_settings(given) == Settings("alice@LOCAL", str(keytab), None, None)


def test_a_relative_keytab_becomes_absolute(keytab, monkeypatch):
    monkeypatch.chdir(keytab.parent)
    given = {
        "POETS_KERBEROS_PRINCIPAL": "alice@LOCAL",
        "KRB5_CLIENT_KTNAME": keytab.name,
    }
    settings = read_settings(given)
    assert settings is not None
    assert settings.keytab == str(keytab)


def test_the_realm_of_a_principal_is_the_default_one(kdc, keytab):
    given = {
        "POETS_KERBEROS_PRINCIPAL": "hdfs/localhost",
        "KRB5_CLIENT_KTNAME": str(keytab),
        "KRB5_CONFIG": str(kdc.krb5_conf),
    }
    settings = read_settings(given)
    assert settings is not None
    assert settings.principal == "hdfs/localhost@LOCAL"


@pytest.mark.parametrize("name", ["alice", "alice@", "@LOCAL", "a@b@"])
def test_a_principal_without_a_realm_is_reported(name, tmp_path):
    given = {
        "POETS_KERBEROS_PRINCIPAL": name,
        "KRB5_CONFIG": str(tmp_path / "absent"),
    }
    with pytest.raises(ConfigError) as caught:
        read_settings(given)
    assert str(caught.value) == (
        f"no realm in principal {name!r}, and none in krb5.conf; give it like "
        f"'{name.partition('@')[0]}@EXAMPLE.COM' (--kerberos_principal), or name "
        "default_realm in krb5.conf (KRB5_CONFIG)"
    )


@pytest.mark.parametrize("name", ["DIR:/keys", "MEMORY:x", "SRVTAB:/x"])
def test_a_keytab_that_is_not_a_file_is_reported(name):
    with pytest.raises(ConfigError) as caught:
        read_settings({"KRB5_CLIENT_KTNAME": name})
    assert str(caught.value) == (
        f"the keytab {name!r} is not a file; give the path of one (--kerberos_keytab, "
        "KRB5_CLIENT_KTNAME)"
    )


def test_a_cache_is_used_as_it_is():
    given = {"KRB5CCNAME": "KEYRING:persistent:0"}
    assert read_settings(given) == Settings(None, None, "KEYRING:persistent:0", None)
    given["POETS_KERBEROS_PRINCIPAL"] = "alice@LOCAL"
    assert read_settings(given) == Settings(
        "alice@LOCAL", None, "KEYRING:persistent:0", None
    )


def test_a_task_gets_krb5_conf_and_the_keytab_of_its_principal(kdc, task, tmp_path):
    for name, principal in (("a", "alice@LOCAL"), ("t", "tensorflow@LOCAL")):
        held = kdc.keytab(name, [principal]).read_bytes()
        (tmp_path / f"{name}.keytab").write_bytes(held)
    (tmp_path / "torn.keytab").write_bytes(b"\5\2\0\0\1")
    (tmp_path / "notes.txt").write_text("no keytab")
    assert read_settings(task) == Settings(
        "tensorflow@LOCAL",
        str(tmp_path / "t.keytab"),
        None,
        krb5_conf_text("LOCAL", [kdc.address]),
    )
    task["POETS_KERBEROS_PRINCIPAL"] = "alice"
    settings = read_settings(task)
    assert settings is not None
    assert (settings.principal, settings.keytab) == (
        "alice@LOCAL",
        str(tmp_path / "a.keytab"),
    )


def test_the_primary_of_a_task_is_tensorflow_unless_set(task, keytab):
    del task["SECURITY_KERBEROS_PRIMARY"]
    task["KRB5_CLIENT_KTNAME"] = str(keytab)
    settings = read_settings(task)
    assert settings is not None
    assert settings.principal == "tensorflow@LOCAL"


def test_a_task_without_a_kdc_uses_the_configuration_that_is_there(task, keytab, kdc):
    for name in ("KDC_HOSTNAME", "KDC_PORT", "REALM"):
        del task[f"SECURITY_KERBEROS_{name}"]
    task |= {"KRB5_CONFIG": str(kdc.krb5_conf), "KRB5_CLIENT_KTNAME": str(keytab)}
    assert read_settings(task) == Settings("tensorflow@LOCAL", str(keytab), None, None)


def test_the_port_of_a_task_is_88_unless_set(task, keytab):
    del task["SECURITY_KERBEROS_KDC_PORT"]
    task["KRB5_CLIENT_KTNAME"] = str(keytab)
    settings = read_settings(task)
    assert settings is not None
    assert "    kdc = 127.0.0.1\n" in (settings.krb5_conf or "")


def test_all_that_does_not_fit_together_is_reported_at_once(task):
    task["SECURITY_KERBEROS_KDC_PORT"] = "99999"
    del task["SECURITY_KERBEROS_REALM"]
    with pytest.raises(ConfigError) as caught:
        read_settings(task)
    assert str(caught.value) == (
        "service.security.kerberos: 2 problems\n"
        "  - kdc.port is '99999', which is not a port; give 1 to 65535\n"
        "  - kdc.hostname is set and realm is not; give both"
    )


def test_a_port_needs_a_host(task):
    del task["SECURITY_KERBEROS_KDC_HOSTNAME"]
    with pytest.raises(
        ConfigError, match=r"kdc\.port is set and kdc\.hostname is not; give both"
    ):
        read_settings(task)


def test_a_task_without_its_keytab_is_reported_what_there_is(
    kdc, task, tmp_path, caplog
):
    held = kdc.keytab("a", ["alice@LOCAL", "hdfs/localhost@LOCAL"]).read_bytes()
    (tmp_path / "a.keytab").write_bytes(held)
    (tmp_path / "b.keytab").write_bytes(base64.b64encode(held))
    with pytest.raises(ConfigError) as caught:
        read_settings(task)
    assert str(caught.value) == (
        "no keytab of 'tensorflow@LOCAL': KRB5_CLIENT_KTNAME is not set, and the "
        f"*.keytab files in {str(tmp_path)!r} are a.keytab of alice@LOCAL, "
        "hdfs/localhost@LOCAL; name its secret in "
        "service.security.kerberos.keytab_secret"
    )
    found = "b.keytab' is not a keytab: it is encoded in base64; decode it"
    assert found in caplog.text


def test_a_task_without_a_sandbox_is_reported(task):
    del task["MESOS_SANDBOX"]
    with pytest.raises(
        ConfigError, match=re.escape("*.keytab files in '$MESOS_SANDBOX' are none;")
    ):
        read_settings(task)


def test_a_wrapper_that_ran_kinit_needs_no_keytab(task, kinit, tmp_path, environment):
    kinit(tmp_path / "cc", "tensorflow@LOCAL")
    environment.setenv("KRB5CCNAME", f"FILE:{tmp_path / 'cc'}")  # in place of /tmp
    settings = read_settings(task)
    assert settings is not None
    assert (settings.principal, settings.keytab, settings.cache) == (
        "tensorflow@LOCAL",
        None,
        None,
    )


def test_a_keytab_without_the_principal_is_reported(keytab):
    given = {
        "POETS_KERBEROS_PRINCIPAL": "bob@LOCAL",
        "KRB5_CLIENT_KTNAME": str(keytab),
    }
    with pytest.raises(KeytabError, match="has no key of 'bob@LOCAL', but of tensorfl"):
        read_settings(given)
