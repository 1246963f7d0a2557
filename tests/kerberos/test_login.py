"""Logging in: caches of one's own, tickets that renew themselves, no secret shown."""

import importlib.util
import logging
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from poets.errors import KerberosError
from poets.kerberos.libkrb5 import Login, get_tgt
from poets.kerberos.login import close, current_login

ROOT = Path(__file__).parents[2]


@pytest.fixture
def logged_in(environment, kdc, keytab):
    """Sets the variables by which tensorflow logs in."""
    environment.setenv("KRB5_CONFIG", str(kdc.krb5_conf))
    environment.setenv("POETS_KERBEROS_PRINCIPAL", "tensorflow@LOCAL")
    environment.setenv("KRB5_CLIENT_KTNAME", str(keytab))
    yield environment
    kdc.start()


def the_login() -> Login:
    login = current_login()
    assert login is not None
    return login


def mode(path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def run(code: str) -> str:
    """Runs Python in another process and returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import os\nfrom poets.kerberos.login "
         f"import close, current_login\n{code}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nobody_logs_in_unasked(environment):
    assert current_login() is None
    assert "POETS_KERBEROS_DIR" not in os.environ


def test_a_keytab_has_a_private_cache(logged_in, keytab, kinit):
    login = the_login()
    folder = Path(os.environ["POETS_KERBEROS_DIR"])
    assert login == Login("tensorflow@LOCAL", str(keytab), os.environ["KRB5CCNAME"])
    assert login.cache is not None
    assert re.fullmatch(
        rf"FILE:{re.escape(str(folder))}/ccache\.{os.getpid()}\.\d+", login.cache
    )
    kinit(login.cache, login.principal)
    assert mode(folder) == 0o700
    assert {mode(path) for path in folder.iterdir()} == {0o600}
    assert current_login() is login


def test_a_task_logs_in_by_its_options(environment, kdc, tmp_path):
    (tmp_path / "hdfs.keytab").write_bytes(
        kdc.keytab("task", ["tensorflow@LOCAL"]).read_bytes()
    )
    host, port = kdc.address.split(":")
    environment.setenv("MESOS_SANDBOX", str(tmp_path))
    for name, value in {
        "ENABLED": "true",
        "PRIMARY": "tensorflow",
        "REALM": "LOCAL",
        "KDC_HOSTNAME": host,
        "KDC_PORT": port,
    }.items():
        environment.setenv(f"SECURITY_KERBEROS_{name}", value)
    login = the_login()
    assert login.keytab == str(tmp_path / "hdfs.keytab")
    assert os.environ["KRB5_CLIENT_KTNAME"] == login.keytab
    conf = Path(os.environ["KRB5_CONFIG"])
    assert conf.parent == Path(os.environ["POETS_KERBEROS_DIR"])
    assert get_tgt(login, 30).principal == "tensorflow@LOCAL"
    child = run("print(current_login().cache, os.environ['KRB5_CONFIG'])")
    cache, used = child.split()
    assert used == str(conf)
    assert Path(cache.removeprefix("FILE:")).parent == conf.parent
    assert cache != login.cache
    assert conf.exists()


def test_an_existing_cache_is_left_alone(environment, kdc, kinit, tmp_path):
    cache = tmp_path / "cc"
    kinit(cache, "alice@LOCAL")
    before = cache.read_bytes()
    environment.setenv("KRB5CCNAME", f"FILE:{cache}")
    login = the_login()
    assert login == Login(None, None, f"FILE:{cache}")
    assert login.owner() == "alice@LOCAL"
    assert get_tgt(login, 30).principal == "alice@LOCAL"
    close()
    assert cache.read_bytes() == before
    assert os.environ["KRB5CCNAME"] == f"FILE:{cache}"
    assert "POETS_KERBEROS_DIR" not in os.environ


def test_a_cache_that_is_not_there_has_no_owner(environment, tmp_path):
    environment.setenv("KRB5CCNAME", f"FILE:{tmp_path}/none")
    assert the_login().owner() is None


def test_another_principal_gets_another_cache(logged_in):
    first = the_login()
    logged_in.setenv("POETS_KERBEROS_PRINCIPAL", "alice@LOCAL")
    second = the_login()
    assert second.principal == "alice@LOCAL"
    assert second.cache != first.cache
    assert get_tgt(first, 30).principal == "tensorflow@LOCAL"
    assert get_tgt(second, 30).principal == "alice@LOCAL"


def test_after_close_nothing_is_left(logged_in, keytab, kinit, tmp_path):
    first = the_login()
    kinit(first.cache, first.principal)
    close()
    assert list((tmp_path / "temporary").iterdir()) == []
    assert "KRB5CCNAME" not in os.environ
    assert "POETS_KERBEROS_DIR" not in os.environ
    assert os.environ["KRB5_CLIENT_KTNAME"] == str(keytab)
    close()
    again = the_login()
    assert again.cache != first.cache
    assert get_tgt(again, 30).principal == "tensorflow@LOCAL"


@pytest.mark.parametrize(("bits", "warns"), [(0o600, 0), (0o400, 0), (0o640, 1)])
def test_a_keytab_open_to_others_is_warned_about_once(
    bits, warns, logged_in, keytab, caplog
):
    keytab.chmod(bits)
    for _ in range(3):
        the_login()
    said = [
        record.message for record in caplog.records if record.levelname == "WARNING"
    ]
    assert said == warns * [
        f"keytab {keytab} is open to others (mode {bits:04o}), who could act as its "
        "principals; chmod 600 it"
    ]
    child = "import logging\nlogging.basicConfig()\ncurrent_login()"
    done = subprocess.run(
        [sys.executable, "-c", f"from poets.kerberos.login import *\n{child}"],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert "open to others" not in done.stderr


@pytest.fixture
def short(kdc, logged_in):
    """Logs in as one whose tickets last 3 seconds."""
    kdc.add(["short@LOCAL"], max_life="3s")
    keytab = kdc.keytab("short", ["short@LOCAL"])
    logged_in.setenv("POETS_KERBEROS_PRINCIPAL", "short@LOCAL")
    logged_in.setenv("KRB5_CLIENT_KTNAME", str(keytab))
    return the_login()


def test_gssapi_renews_by_the_variables_alone(short, require, wait_until):
    require("gssapi", importlib.util.find_spec("gssapi"))
    import gssapi

    def lifetime_s():
        return gssapi.Credentials(usage="initiate").lifetime

    # As hdfs-native and requests do: a new credential for each connection.
    assert 0 <= lifetime_s() <= 3
    end = time.time() + 5
    wait_until(lambda: time.time() > end)
    assert 0 <= lifetime_s() <= 3
    owner = gssapi.Credentials(usage="initiate").name
    assert str(owner) == "short@LOCAL"


def test_no_key_is_shown_or_left(logged_in, kdc, keytab, kinit, caplog):
    listed = subprocess.run(
        ["klist", "-k", "-K", keytab], capture_output=True, text=True, check=True
    )
    keys = [bytes.fromhex(k) for k in re.findall(r"0x([0-9a-f]{32,})", listed.stdout)]
    assert len(keys) == 6
    caplog.set_level(logging.DEBUG)
    keytab.chmod(0o644)
    login = the_login()
    kinit(login.cache, login.principal)
    kdc.stop()
    with pytest.raises(KerberosError) as caught:
        get_tgt(login, 30)
    shown = "\n".join(
        [caplog.text, repr(login), repr(caught.value), *map(str, os.environ.items())]
    )
    folder = Path(os.environ["POETS_KERBEROS_DIR"])
    files = b"".join(path.read_bytes() for path in folder.iterdir())
    assert str(keytab) in shown
    for key in keys:
        assert key.hex() not in shown
        assert repr(key)[2:-1] not in shown
        assert key not in files
